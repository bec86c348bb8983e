"""Blocks of convolutional networks: residual blocks, norms, embedding of a noise level, padding."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAGNIFIED = 8.0  # the residual of a prediction is about an eighth of the contrast of an image

Layer = TypeVar("Layer", bound=nn.Module)


class Norm(Protocol):
    """Builder of the normalisation of `width` channels, with a learned scale and shift if `affine`."""

    def __call__(self, width: int, *, affine: bool = True) -> nn.Module:
        """Return the module."""


def no_norm(width: int, *, affine: bool = True) -> nn.Module:
    """Return the identity, which preserves the contrast of an image, as in EDSR (Lim et al., CVPRW 2017)."""
    return nn.Identity()


class ChannelNorm(nn.LayerNorm):
    """Normalisation over the channels of each position alone, as in NAFNet (Chen et al., ECCV 2022).

    The output at a position depends on its surroundings only, so a network trained on patches has the same output in
    whole images (decision 7).
    """

    def __init__(self, width: int, *, affine: bool = True) -> None:
        super().__init__(width, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (batch, channel, row, column) normalised."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Stem(nn.Conv2d):
    """First convolution, always in float32: of the 8 bits of bfloat16, brightness leaves two or three to contrast."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of images `x` (batch, channel, row, column)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection; an optional embedding scales and shifts between them (FiLM).

    Args:
        width: channels.
        norm: builder of the normalisation before each convolution.
        embedding: width of the embedding; None for a block without embedding.
        between: a module called with (features, context) after the first convolution; its result replaces the features.
    """

    def __init__(
        self,
        width: int,
        *,
        norm: Norm,
        embedding: int | None = None,
        between: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(width, affine=embedding is None)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.between = between
        self.conv2 = zeroed(nn.Conv2d(width, width, 3, padding=1))
        self.film = None if embedding is None else nn.Linear(embedding, 2 * width)

    def forward(self, x: Tensor, embedded: Tensor | None = None, context: Any = None) -> Tensor:
        """Return the output of the block, of the shape of `x` (batch, width, row, column)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.norm2(h if self.between is None else self.between(h, context))
        if self.film is not None:
            scale, shift = self.film(embedded)[..., None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        return x + self.conv2(F.silu(h))


class Stage(nn.ModuleList):
    """Sequence of residual blocks of one level."""

    def forward(self, h: Tensor, embedded: Tensor | None = None, context: Any = None) -> Tensor:
        """Return the output of the stage, of the shape of `h` (batch, width, row, column)."""
        for block in self:
            h = block(h, embedded, context)
        return h


class LevelEmbedding(nn.Module):
    """Sines and cosines of a level of about [0, 1], through two layers: (batch,) to (batch, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, level: Tensor) -> Tensor:
        """Return the embedding (batch, width) of `level` (batch,)."""
        half = self.width // 2
        octaves = torch.arange(half, device=level.device, dtype=torch.float32) / half
        # The factor 1000 corresponds to a thousand time steps over [0, 1] (Ho et al. 2020).
        angles = 1000.0 * level.float()[:, None] * torch.exp(-math.log(10000.0) * octaves)
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))


def zeroed(layer: Layer) -> Layer:
    """Return `layer` with all parameters 0, so that a residual block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


@torch.no_grad()
def blind_to_brightness(filters: Tensor, *, gain: float = 5.0) -> None:
    """Initialise `filters` (output, input, row, column) of a first convolution so that they respond to contrast alone.

    The missing detail is a hundredth of the brightness of an image.  The usual initial filters pass the brightness on:
    no activation changes its sign within the image, the network stays linear for hundreds of updates, and learns
    nothing (figures in decision 12).  These filters sum to zero over inputs and positions.

    gain: norm of each filter; 5 gives responses of about 1 to an image in model units.
    """
    filters.normal_()
    filters -= filters.mean((1, 2, 3), keepdim=True)
    filters *= gain / torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True)


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Return `x` (batch, channel, row, column) with rows and columns padded at their ends to multiples of `stride`.

    The padding is a reflection, or for very small images a repetition of the last row and column.
    """
    rows, columns = ((-n) % stride for n in x.shape[-2:])
    if rows == columns == 0:
        return x
    small = rows >= x.shape[-2] or columns >= x.shape[-1]
    return F.pad(x, (0, columns, 0, rows), mode="replicate" if small else "reflect")
