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


class PlaneStem(Stem):
    """First convolution of images and of channels that are constant over an image, each in squares of 2x2 pixels.

    The convolution of a constant, with zeros around the image, has nine values: in the corners, along the edges and
    within.  They are computed alone, so that the facts of a scan cost no time.

    Args:
        inputs: channels, constant ones included.
        width: channels of the output.
        constant: the range of the constant channels among the inputs.
    """

    def __init__(self, inputs: int, width: int, *, constant: range = range(0)) -> None:
        super().__init__(inputs * 4, width, 3, padding=1)
        self.constant = constant

    def forward(self, x: Tensor, constants: Tensor | None = None) -> Tensor:
        """Return the features (batch, width, row / 2, column / 2).

        Args:
            x: (batch, channel, row, column), the channels that are not constant; rows and columns are even.
            constants: (batch, channel); None without constant channels.
        """
        squares = F.pixel_unshuffle(x, 2)
        if constants is None:
            return super().forward(squares)
        first, last = 4 * self.constant.start, 4 * self.constant.stop
        with torch.autocast(x.device.type, enabled=False):
            squares = squares.float().contiguous(memory_format=torch.channels_last)
            varying = torch.cat([self.weight[:, :first], self.weight[:, last:]], dim=1)
            h = F.conv2d(squares, varying, self.bias, padding=1)
            rows, columns = h.shape[2:]
            small = constants.float()[..., None, None].expand(-1, -1, min(rows, 3), min(columns, 3))
            constant = self.weight[:, first:last].unflatten(1, (-1, 4)).sum(2)
            nine = F.conv2d(small, constant, padding=1).movedim(1, -1)
            return h + _stretched(_stretched(nine, rows, 1), columns, 2).movedim(-1, 1)


def _stretched(x: Tensor, size: int, dim: int) -> Tensor:
    """Return `x` with the second of three entries along `dim` repeated, so that there are `size` entries."""
    if x.shape[dim] == size:
        return x
    first, inner, last = x.split(1, dim)
    return torch.cat([first, inner.repeat_interleave(size - 2, dim), last], dim)


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
        h = self.conv1(activated(self.norm1(x), keep=x))
        h = self.norm2(h if self.between is None else self.between(h, context))
        if self.film is not None:
            h = modulated(h, *self.film(embedded).chunk(2, dim=1))
        return added(x, self.conv2(activated(h)))


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


def modulated(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return (1 + scale) h + shift in channels-last memory, in place of `h` where no gradient needs it (FiLM).

    The bfloat16 kernel of a CPU processes 64 contiguous numbers at once, and fewer one by one.  Factors repeated along
    a row make a whole row contiguous: at 48 channels the operation takes a third of the time.

    Args:
        h: (batch, channel, row, column).
        scale: (batch, channel).
        shift: (batch, channel).
    """
    rows, columns = h.shape[2:]
    flat = h.movedim(1, -1).reshape(len(h), rows, -1)
    factor, offset = (each.to(h.dtype)[:, None].repeat(1, 1, columns) for each in (1 + scale, shift))
    out = None if torch.is_grad_enabled() else flat
    return torch.addcmul(offset, flat, factor, out=out).view(len(h), rows, columns, -1).movedim(-1, 1)


def added(x: Tensor, h: Tensor) -> Tensor:
    """Return x + h in the type of `x`, in place of the converted `h` where no gradient needs it."""
    h = h.to(x.dtype)
    return h + x if torch.is_grad_enabled() else h.add_(x)


def activated(h: Tensor, *, keep: Tensor | None = None) -> Tensor:
    """Return SiLU of `h`, in place of `h` where no gradient needs it and `h` is not `keep`.

    Without new memory the cores of a CPU load less, and the kernel has no pages to clear.
    """
    return F.silu(h, inplace=h is not keep and not torch.is_grad_enabled())


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
