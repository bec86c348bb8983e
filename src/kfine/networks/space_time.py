"""U-Net over (frame, row, column): convolutions within each frame, and short steps along time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import (
    ChannelNorm,
    LevelEmbedding,
    Norm,
    PlaneStem,
    ResidualBlock,
    Stage,
    added,
    pad_to_multiple,
    zeroed,
)

EMBEDDING = 128  # width of the embeddings of noise levels and descriptions


@dataclass(frozen=True)
class Time:
    """Number of consecutive frames in the batch, and whether the first frame follows the last one."""

    frames: int
    cyclic: bool


class SpaceTimeUNet(nn.Module):
    """Map (batch, inputs, frame, row, column) to (batch, outputs, frame, row, column).

    The network is factorised (Tran et al., A Closer Look at Spatiotemporal Convolutions, CVPR 2018): 3x3 convolutions
    within each frame, with frames folded into the batch, and a convolution over three frames within each residual
    block.  The latter starts at zero: an untrained network processes frames separately.  Any number of frames, rows and
    columns is possible; rows and columns are padded to multiples of the stride and cropped again.

    Args:
        inputs: channels of the input, constant ones included.
        outputs: channels of the output.
        widths: channels a level; each level halves the grid, starting from half of that of the input.
        blocks: residual blocks a level, on the way down and again on the way up.
        levels: whether the noise level is an input.
        described: whether an embedding that describes the input is an input.
        time: whether there are steps along time; without, the network is an ordinary U-Net for single images.
        time_blocks: number of blocks of each stage, its last ones, with a step along time; None: all blocks.
        norm: builder of the normalisation before each convolution of the blocks.
        constant: the range of those inputs that are constant over a frame; `forward` takes them apart.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        blocks: int,
        levels: bool,
        described: bool = False,
        time: bool = True,
        time_blocks: int | None = None,
        norm: Norm = ChannelNorm,
        constant: range = range(0),
    ) -> None:
        embedding = EMBEDDING if levels or described else None

        first = 0 if time_blocks is None else blocks - time_blocks

        def block(width: int, number: int) -> ResidualBlock:
            between = TimeStep(width) if time and number >= first else None
            return ResidualBlock(width, norm=norm, embedding=embedding, between=between)

        def stage(width: int) -> Stage:
            return Stage(block(width, number) for number in range(blocks))

        super().__init__()
        self.stride = 2 * 2 ** (len(widths) - 1)
        # Two 3x3 convolutions a block, on the way down and up, at the spacing of each level; stem, head and the grid.
        self.reach = sum(2 * 2 * blocks * 2 ** (depth + 1) for depth in range(len(widths))) + 4 + self.stride
        self.described = described
        self.level = LevelEmbedding(EMBEDDING) if levels else None
        self.stem = PlaneStem(inputs, widths[0], constant=constant)
        self.down = nn.ModuleList(stage(width) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(stage(width) for width in widths)
        last = zeroed(nn.Conv2d(widths[0], outputs * 4, 3, padding=1))
        self.head = nn.Sequential(norm(widths[0]), nn.SiLU(), last)
        # Channels last: the channels of a position are contiguous, as ChannelNorm and TimeStep need them.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self,
        x: Tensor,
        level: Tensor | None = None,
        *,
        cyclic: bool,
        description: Tensor | None = None,
        constants: Tensor | None = None,
    ) -> Tensor:
        """Return the output of the network on the grid of `x`.

        Args:
            x: (batch, channel, frame, row, column), the inputs that are not constant.
            level: (batch,), the noise level ln(sigma) / 4 (Karras et al. 2022, table 1); None for a network
                without levels.
            cyclic: whether the first frame follows the last one; otherwise the first and the last frame are repeated.
            description: (batch, EMBEDDING), an embedding that describes the input; it is added to that of the level.
            constants: (batch, channel), the constant inputs; None for a network without.

        Returns:
            (batch, outputs, frame, row, column).
        """
        batch, _, frames = x.shape[:3]
        embedded, constants = (
            None if each is None else each.repeat_interleave(frames, dim=0)
            for each in (self._embedded(level, description), constants)
        )
        stem = self.stem(pad_to_multiple(x.transpose(1, 2).flatten(0, 1), self.stride), constants)
        h = self._through(stem, embedded, Time(frames, cyclic))[..., : x.shape[-2], : x.shape[-1]]
        return h.unflatten(0, (batch, frames)).transpose(1, 2)

    def _embedded(self, level: Tensor | None, description: Tensor | None) -> Tensor | None:
        """Return the sum of the embeddings, None without any."""
        for value, required, name in (
            (level, self.level is not None, "noise level"),
            (description, self.described, "description"),
        ):
            if (value is not None) != required:
                raise ValueError(f"expected {'a' if required else 'no'} {name}: the network was built so")
        if self.level is None or level is None:
            return description
        embedded: Tensor = self.level(level)
        return embedded if description is None else embedded + description

    def _through(self, h: Tensor, embedded: Tensor | None, time: Time) -> Tensor:
        """Return the padded output (batch, outputs, row, column); blocks are called with (h, embedded, time)."""
        skips = []
        for depth, stage in enumerate(self.down):
            h = stage(self.shrink[depth - 1](h) if depth else h, embedded, time)
            skips.append(h)
        for depth in reversed(range(len(self.up))):
            # Skips are added, not concatenated, which keeps the convolutions of the decoder narrow.
            h = added(skips[depth], self.grow[depth](h)) if depth < len(self.up) - 1 else h
            h = self.up[depth](h, embedded, time)
        return F.pixel_shuffle(self.head(h), 2)


class TimeStep(nn.Module):
    """Step along time: adds to each frame a 1x1 convolution of the frames before, at and after it; starts at zero.

    The step is a matrix product of whole frames.  conv3d and a gather of the neighbours take twice as long on a CPU,
    the gradient of a gather longer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 3 * width))

    def forward(self, h: Tensor, time: Time) -> Tensor:
        """Return (batch * frame, width, row, column) from `h` of that shape; frames vary fastest."""
        width, rows, columns = h.shape[1:]
        v = h.movedim(1, -1).reshape(-1, time.frames, rows * columns, width)
        before, own, after = self.weight.to(h.dtype).t().expand(len(v), -1, -1).chunk(3, dim=1)
        first, last, rest, most = slice(0, 1), slice(-1, None), slice(1, None), slice(None, -1)
        out = torch.baddbmm(v.flatten(1, 2), v.flatten(1, 2), own).view_as(v)
        for into, source, weight in (
            (rest, most, before),
            (first, last if time.cyclic else first, before),
            (most, rest, after),
            (last, first if time.cyclic else last, after),
        ):
            out[:, into].flatten(1, 2).baddbmm_(v[:, source].flatten(1, 2), weight)
        return out.view(-1, rows, columns, width).movedim(-1, 1)
