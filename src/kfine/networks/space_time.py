"""A U-Net over (frame, row, column): each frame by itself in space, then a short step along time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import ChannelNorm, ResidualBlock, Stage
from kfine.networks.unet import UShape

EMBEDDING = 128  # width of the embedding of a noise level


class SpaceTimeUNet(UShape):
    """Map (batch, inputs, frame, row, column) to (batch, outputs, frame, row, column).

    Factorised (Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018): 3x3 convolutions within each
    frame, frames folded into the batch, and a convolution of three frames within each residual block, which
    starts at zero: a fresh network treats frames one by one.  Any number of frames, rows and columns from 1
    up; what the strides do not divide is padded inside and cropped again.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        widths: channels a level; each level halves the grid, starting from half of the input's.
        blocks: residual blocks a level, on the way down and again on the way up.
        levels: whether the network takes a noise level.
    """

    def __init__(
        self, *, inputs: int, outputs: int, widths: Sequence[int], blocks: int, levels: bool
    ) -> None:
        embedding = EMBEDDING if levels else None

        def block(width: int) -> ResidualBlock:
            return ResidualBlock(width, norm=ChannelNorm, embedding=embedding, between=TimeStep(width))

        super().__init__(
            inputs=inputs,
            outputs=outputs,
            widths=widths,
            stage=lambda width: Stage(block(width) for _ in range(blocks)),
            embedding=embedding,
            norm=ChannelNorm,
        )
        # Channels last in memory: a position's channels lie together, as ChannelNorm and TimeStep take them.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor, level: Tensor | None = None, *, cyclic: bool) -> Tensor:
        """Return the network's output on the grid of `x`.

        Args:
            x: (batch, inputs, frame, row, column).
            level: (batch,), the noise level ln(sigma) / 4 (Karras et al. 2022, table 1); None for a network
                without levels.
            cyclic: whether the frame after the last one is the first one; otherwise the first and the last
                frame stand in for what lies beyond them.

        Returns:
            (batch, outputs, frame, row, column).
        """
        batch, _, frames = x.shape[:3]
        embedded = self._embedded(level)
        if embedded is not None:
            embedded = embedded.repeat_interleave(frames, dim=0)
        around = neighbours(frames, batch=batch, cyclic=cyclic).to(x.device)
        h = self._through(x.transpose(1, 2).flatten(0, 1), embedded, around)
        return h.unflatten(0, (batch, frames)).transpose(1, 2)


class TimeStep(nn.Module):
    """Add to each frame a 1x1 convolution of the frame before, itself and the frame after; starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 3 * width))

    def forward(self, h: Tensor, around: Tensor) -> Tensor:
        """Return (image, width, row, column) from `h` of that shape and `around` (2, image): see `neighbours`."""
        v = h.movedim(1, -1)
        before, after = around
        return h + F.linear(torch.cat([v[before], v, v[after]], dim=-1), self.weight).movedim(-1, 1)


def neighbours(frames: int, *, batch: int, cyclic: bool) -> Tensor:
    """Return where the frames before and after each one lie: (2, batch * frame), frames counting fastest.

    >>> neighbours(3, batch=1, cyclic=True).tolist()
    [[2, 0, 1], [1, 2, 0]]
    >>> neighbours(3, batch=1, cyclic=False).tolist()
    [[0, 0, 1], [1, 2, 2]]
    """
    frame = torch.arange(frames)
    around = torch.stack([frame - 1, frame + 1])
    around = around % frames if cyclic else around.clamp(0, frames - 1)
    return (around[:, None] + frames * torch.arange(batch)[:, None]).flatten(1)
