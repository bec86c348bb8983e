"""A convolutional U-Net that works at half resolution behind a pixel-unshuffle, so that it is fast on a CPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Map (batch, in_channels, row, column) and a scalar level in [0, 1] to (batch, out_channels, row, column).

    Fully convolutional: any row and column count from 1 up; sizes that its strides do not divide are padded
    by reflection inside and cropped again.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        widths: channels a level; each level halves the grid, starting from half of the input's.
        blocks: residual blocks a level, on the way down and again on the way up.
        embedding: width of the embedding of the level.
        dropout: probability inside the residual blocks, while training.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        blocks: int,
        embedding: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = 2 * 2 ** (len(widths) - 1)
        self.level = LevelEmbedding(embedding)
        self.stem = nn.Conv2d(in_channels * 4, widths[0], 3, padding=1)

        self.down = nn.ModuleList(Stage(width, blocks, embedding, dropout) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(Stage(width, blocks, embedding, dropout) for width in widths)
        last = _zeroed(nn.Conv2d(widths[0], out_channels * 4, 3, padding=1))
        self.head = nn.Sequential(nn.GroupNorm(8, widths[0]), nn.SiLU(), last)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the network's output on the grid of `x`; `level` is (batch,)."""
        rows, columns = x.shape[-2:]
        embedded = self.level(level)
        h = self.stem(F.pixel_unshuffle(_pad_to_multiple(x, self.stride), 2))
        skips = []
        for depth, stage in enumerate(self.down):
            h = stage(self.shrink[depth - 1](h) if depth else h, embedded)
            skips.append(h)
        for depth in reversed(range(len(self.up))):
            # Skips are added, not concatenated: the decoder's convolutions stay as narrow as the encoder's.
            h = skips[depth] + self.grow[depth](h) if depth < len(self.up) - 1 else h
            h = self.up[depth](h, embedded)
        return F.pixel_shuffle(self.head(h), 2)[..., :rows, :columns]


class Stage(nn.ModuleList):
    """The residual blocks of one level, one after the other."""

    def __init__(self, width: int, blocks: int, embedding: int, dropout: float) -> None:
        super().__init__(ResidualBlock(width, embedding, dropout) for _ in range(blocks))

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Return the stage's output, of the shape of `h` (batch, width, row, column)."""
        for block in self:
            h = block(h, embedded)
        return h


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip; the level scales and shifts the features between them (FiLM)."""

    def __init__(self, width: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width, affine=False)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = _zeroed(nn.Conv2d(width, width, 3, padding=1))
        self.film = nn.Linear(embedding, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Return the block's output, of the shape of `x` (batch, width, row, column)."""
        scale, shift = self.film(embedded)[..., None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(self.norm1(x)))
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return x + self.conv2(self.dropout(F.silu(h)))


class LevelEmbedding(nn.Module):
    """Sines and cosines of a level in [0, 1], through two layers: (batch,) to (batch, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, level: Tensor) -> Tensor:
        """Return the embedding (batch, width) of `level` (batch,)."""
        half = self.width // 2
        octaves = torch.arange(half, device=level.device, dtype=torch.float32) / half
        # The factor 1000 makes the slowest wave vary over [0, 1] as a thousand time steps would (Ho et al. 2020).
        angles = 1000.0 * level.float()[:, None] * torch.exp(-math.log(10000.0) * octaves)
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return `layer` with all parameters 0, so that what follows a skip starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    rows, columns = ((-n) % stride for n in x.shape[-2:])
    if rows == columns == 0:
        return x
    small = rows >= x.shape[-2] or columns >= x.shape[-1]
    return F.pad(x, (0, columns, 0, rows), mode="replicate" if small else "reflect")
