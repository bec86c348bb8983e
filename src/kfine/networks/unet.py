"""Convolutional U-Nets that work at half resolution behind a pixel-unshuffle, so that they are fast on a CPU."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from kfine.networks.blocks import (
    LevelEmbedding,
    Norm,
    ResidualBlock,
    Stage,
    Stem,
    group_norm,
    pad_to_multiple,
    zeroed,
)


class UShape(nn.Module):
    """Abstract: the parts of a U-Net, and the way through them.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        widths: channels a level; each level halves the grid, starting from half of the input's.
        stage: builds the residual blocks of a level from its width.
        embedding: width of the embedding of a level of noise; none: the network takes no level.
        norm: what builds the normalisation before the last convolution.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        stage: Callable[[int], Stage],
        embedding: int | None,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.stride = 2 * 2 ** (len(widths) - 1)
        self.level = None if embedding is None else LevelEmbedding(embedding)
        self.stem = Stem(inputs * 4, widths[0], 3, padding=1)

        self.down = nn.ModuleList(stage(width) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in itertools.pairwise(widths)
        )
        self.up = nn.ModuleList(stage(width) for width in widths)
        last = zeroed(nn.Conv2d(widths[0], outputs * 4, 3, padding=1))
        self.head = nn.Sequential(norm(widths[0]), nn.SiLU(), last)

    def _embedded(self, level: Tensor | None) -> Tensor | None:
        if (self.level is None) != (level is None):
            raise ValueError(
                f"expected {'no' if self.level is None else 'a'} noise level: the network was built so"
            )
        return None if self.level is None else self.level(level)

    def _through(self, x: Tensor, embedded: Tensor | None, context: Any = None) -> Tensor:
        """Return the output (batch, outputs, row, column); blocks are called with (h, embedded, context)."""
        rows, columns = x.shape[-2:]
        h = self.stem(F.pixel_unshuffle(pad_to_multiple(x, self.stride), 2))
        skips = []
        for depth, stage in enumerate(self.down):
            h = stage(self.shrink[depth - 1](h) if depth else h, embedded, context)
            skips.append(h)
        for depth in reversed(range(len(self.up))):
            # Skips are added, not concatenated: the decoder's convolutions stay as narrow as the encoder's.
            h = skips[depth] + self.grow[depth](h) if depth < len(self.up) - 1 else h
            h = self.up[depth](h, embedded, context)
        return F.pixel_shuffle(self.head(h), 2)[..., :rows, :columns]


class UNet(UShape):
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
        def stage(width: int) -> Stage:
            return Stage(ResidualBlock(width, embedding=embedding, dropout=dropout) for _ in range(blocks))

        super().__init__(
            inputs=in_channels,
            outputs=out_channels,
            widths=widths,
            stage=stage,
            embedding=embedding,
            norm=group_norm,
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the network's output on the grid of `x`; `level` is (batch,)."""
        return self._through(x, self._embedded(level))
