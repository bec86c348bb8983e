"""The networks of the cine system: regressor and denoiser in space and time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from kfine.networks.residual_ldm import ResidualLDM
from kfine.networks.space_time import SpaceTimeUNet


@final
class CineLDM(ResidualLDM):
    """A `ResidualLDM` of cines, for the methods "cine-regression", "vqgan" (not a method yet) and "cine-ldm".

    Its guide: the measured frame before, the one after, the part of the way between them in [0, 1], and the parts of
    k-space that were measured along rows and columns, in (0, 1].  The regressor goes without the last two: it sees
    how blurred its images are.

    Args:
        regressor: `widths` and `blocks` of its SpaceTimeUNet.
        autoencoder: arguments of the VQGAN, or None.
        denoiser: `widths` and `blocks` of its SpaceTimeUNet, or None; it needs an autoencoder.
    """

    IMAGES: ClassVar[int] = 2
    FACTS: ClassVar[int] = 3
    SEEN: ClassVar[int] = 3

    def __init__(
        self,
        *,
        regressor: Mapping[str, Any],
        autoencoder: Mapping[str, Any] | None = None,
        denoiser: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            regressor=SpaceTimeUNet(inputs=self.SEEN, outputs=1, levels=False, **regressor),
            autoencoder=autoencoder,
            denoiser=denoiser,
            time=True,
        )

    def blend(self, guide: Tensor) -> Tensor:
        """Return the frames before and after, mixed by the part of the way: the optical-flow baseline."""
        before, after, t = guide[:, :3].unbind(1)
        return torch.lerp(before, after, t)
