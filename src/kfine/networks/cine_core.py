"""The core network with steps along time: one U-Net that estimates every frame of a cine from its scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kfine.networks.blocks import no_norm
from kfine.networks.core import CHANNELS, CoreNet, Description, core_channels
from kfine.networks.space_time import SpaceTimeUNet

IN_TIME = (
    2  # channels that single images do not have: how far the neighbours are apart, and the part of the way
)


@final
class CineCoreNet(nn.Module):
    """E[x | scan] of every frame of a slice: the frames' blend in time, plus detail in units of the scan's own detail.

    As `kfine.networks.core.CoreNet`, whose weights it starts from (`start_from_core`).  A frame between measured ones
    is shown as the blend of its two neighbours, moved along the motion to its time.  The last residual block of each
    stage takes a step along time, over the frames restored, between its convolutions: through all of them a frame sees
    six others on either side.

    Args:
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.unet = SpaceTimeUNet(
            inputs=2 + CHANNELS + IN_TIME,
            outputs=1,
            widths=widths,
            blocks=blocks,
            levels=False,
            described=True,
            time_blocks=1,
            norm=no_norm,
        )
        self.embedding = Description()

    def forward(
        self, blend: Tensor, apart: Tensor, part: Tensor, unit: Tensor, facts: Tensor, *, cyclic: bool
    ) -> Tensor:
        """Return the estimate (batch, frame, row, column) in model units.

        Args:
            blend: (batch, frame, row, column), zero-filled, in model units: a measured frame, or the blend of the two
                around.
            apart: of the same shape, the difference of the two, 0 at a measured frame.
            part: (batch, frame), how far a frame is on the way from the measured one before to the one after, in
                [0, 1).
            unit: (batch,), of a whole slice, see `kfine.networks.core.detail_unit`.
            facts: (batch, FACTS), of a whole slice, see `kfine.networks.core.Facts.tensor`.
            cyclic: whether the frame after the last one is the first one.
        """
        clips, frames = blend.shape[:2]
        planes = core_channels(
            blend.flatten(0, 1), unit.repeat_interleave(frames), facts.repeat_interleave(frames, 0)
        )
        between = (4 * part * (1 - part))[..., None, None].expand_as(blend)
        in_time = torch.stack([apart / (4 * unit[:, None, None, None]), between], dim=1)
        shown = torch.cat([planes.unflatten(0, (clips, frames)).transpose(1, 2), in_time], dim=1)
        output = self.unet(shown, cyclic=cyclic, description=self.embedding(facts))
        return blend + unit[:, None, None, None] * output[:, 0].float()


@torch.no_grad()
def start_from_core(network: CineCoreNet, core: Mapping[str, Tensor]) -> None:
    """Give `network` the weights `core` of a core network: its estimate of each frame's blend is then the core's.

    Raises:
        RuntimeError: a core network of other widths or blocks.
    """
    weights = dict(core)
    stem = "unet.stem.weight"
    own = torch.zeros_like(network.unet.stem.weight)
    own[:, : weights[stem].shape[1]] = weights[stem]
    steps = {
        name: torch.zeros_like(value) for name, value in network.state_dict().items() if "between" in name
    }
    network.load_state_dict(weights | steps | {stem: own})


def cine_network(core: CoreNet, arguments: Mapping[str, Any]) -> CineCoreNet:
    """Return `core`, a network that was built with `arguments`, as one of cines, in evaluation mode."""
    network = CineCoreNet(**arguments)
    start_from_core(network, core.state_dict())
    return network.eval()
