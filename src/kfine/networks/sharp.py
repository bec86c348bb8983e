"""Sharp images around the core network: the mean image, plus detail, partly made from noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kfine.networks.blocks import no_norm, zeroed
from kfine.networks.core import CHANNELS, CoreNet, Description, core_channels
from kfine.networks.space_time import SpaceTimeUNet

NOISES = 2  # images of white noise that detail is made from


@final
class SharpNet(nn.Module):
    """Make a sharp image of a scan in one evaluation: x = c + unit G(scan, c, noise).

    c is the core network's estimate of E[x | scan], and G a U-Net that starts from the core network's weights and sees
    two images of white noise beside it.  It is trained for the truth's energy of detail at the least squared error
    (`kfine.training.losses.sharp`).  An image drawn from p(x | scan) has twice the mean image's squared error; the
    image of least error among those that look like true ones has less (Freirich, Michaeli and Meir, NeurIPS 2021).

    Args:
        core: arguments of the core network, which is frozen.
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
    """

    def __init__(self, *, core: Mapping[str, Any], widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.unet = SpaceTimeUNet(
            inputs=2 + CHANNELS + 1 + NOISES,
            outputs=1,
            widths=widths,
            blocks=blocks,
            levels=False,
            described=True,
            time=False,
            norm=no_norm,
        )
        self.embedding = Description()
        self.core = CoreNet(**core).requires_grad_(False)

    @torch.no_grad()
    def start_from_core(self) -> None:
        """Take the core network's weights over, and add nothing to the mean at first.

        Raises:
            RuntimeError: the core network has other widths or blocks.
        """
        weights = {name: value.clone() for name, value in self.core.state_dict().items()}
        stem = "unet.stem.weight"
        own = torch.zeros_like(self.unet.stem.weight)
        known = weights[stem].shape[1]
        own[:, :known] = weights[stem]
        own[:, known:].normal_(std=0.1)
        self.load_state_dict(
            weights | {stem: own} | {f"core.{name}": value for name, value in self.core.state_dict().items()}
        )
        zeroed(self.unet.head[-1])  # type: ignore[type-var]

    @torch.no_grad()
    def mean(self, image: Tensor, unit: Tensor, facts: Tensor) -> Tensor:
        """Return the core network's estimate, see `CoreNet.forward`."""
        return self.core(image, unit, facts)

    def forward(self, image: Tensor, unit: Tensor, facts: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
        """Return the sharp image of each plane (batch, row, column) in model units.

        Args:
            image: (batch, row, column), zero-filled, in model units.
            unit: (batch,), see `kfine.networks.core.detail_unit`.
            facts: (batch, FACTS), see `kfine.networks.core.Facts.tensor`.
            mean: (batch, row, column), the core network's estimate.
            noise: (batch, NOISES, row, column), standard normal.
        """
        scale = unit[:, None, None]
        apart = ((image - mean) / scale)[:, None]
        shown = torch.cat([core_channels(image, unit, facts), apart, noise], dim=1)
        output = self.unet(shown[:, :, None], cyclic=False, description=self.embedding(facts))
        return mean + scale * output[:, 0, 0].float()
