"""The networks of the still methods: srresnet, srgan, small-unet and ldm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

from torch import Tensor

from kfine.networks.residual_ldm import ResidualLDM
from kfine.networks.space_time import SpaceTimeUNet
from kfine.networks.srresnet import SRResNet


@final
class StillLDM(ResidualLDM):
    """A `ResidualLDM` of single images; one set of weights for every scale, which is an input (decision 12).

    Its guide: the zero-filled image, and the parts of k-space that were measured along rows and columns, in (0, 1].

    Args:
        regressor: `kind`, "srresnet" or "unet", and that network's own arguments.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its U-Net, or None; it needs an autoencoder.
    """

    IMAGES: ClassVar[int] = 1
    FACTS: ClassVar[int] = 2
    SEEN: ClassVar[int] = 3

    def __init__(
        self,
        *,
        regressor: Mapping[str, Any],
        autoencoder: Mapping[str, Any] | None = None,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            regressor=_regressor(self.SEEN, **regressor),
            autoencoder=autoencoder,
            denoiser=denoiser,
            time=False,
        )

    def blend(self, guide: Tensor) -> Tensor:
        """Return the zero-filled image."""
        return guide[:, 0]


def _regressor(inputs: int, *, kind: str, **arguments: Any) -> SpaceTimeUNet | SRResNet:
    if kind == "srresnet":
        return SRResNet(inputs=inputs, **arguments)
    if kind == "unet":
        return SpaceTimeUNet(inputs=inputs, outputs=1, levels=False, time=False, **arguments)
    raise ValueError(f"expected a regressor of kind srresnet or unet, got {kind!r}")
