"""Patches of slices: the items of latent diffusion tasks on cines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.image import Image
from kfine.intensity import AIR, Scaling
from kfine.models.domain import TISSUE
from kfine.training.config import PieceConfig
from kfine.training.data.volumes import at_matrix, random_symmetry

MOVING = 0.7  # fraction of the clips' pieces that are centred on moving structures
MARGIN = 16  # pixels around a piece that are used to estimate motion, as far as the image has them

Planes = NDArray[np.float32]
Rng = np.random.Generator


class Item(NamedTuple):
    """One clip, or several stills; after `flat` the axis `image` runs over the whole batch.

    Attributes:
        x: (image, frame, row, column), the truth in model units.
        guide: (image, channel, frame, row, column), see `kfine.methods.regression`.
        kept: (image, frame) bool, the frames that were measured.
        parts: (image, 2), measured fractions of k-space along rows and columns.
        exact: (image,) bool, whether the measured k-space is exactly that of the truth.
        cyclic: whether the frames cover one whole heart beat; equal for all items of a batch.
    """

    x: Tensor
    guide: Tensor
    kept: Tensor
    parts: Tensor
    exact: Tensor
    cyclic: bool | Tensor


def flat(batch: Item) -> Item:
    """Return collated items (batch, image, ...) as one (batch * image, ...)."""
    x, guides, kept, parts, exact = (tensor.flatten(0, 1) for tensor in batch[:5])
    return Item(x, guides, kept, parts, exact, bool(torch.as_tensor(batch.cyclic).all()))


def frames_of(item: Item, chosen: Tensor) -> Item:
    """Return the frames `chosen` from all frames of all images, as images of one frame each."""
    frames = item.x.shape[1]
    clips = chosen // frames
    return Item(
        item.x.flatten(0, 1)[chosen][:, None],
        item.guide.transpose(1, 2).flatten(0, 1)[chosen][:, :, None],
        item.kept.flatten()[chosen][:, None],
        item.parts[clips],
        item.exact[clips],
        False,
    )


@dataclass(frozen=True)
class Cut:
    """A square piece of a plane; a plane that is smaller lies in its middle, surrounded by air.

    Attributes:
        corner: first row and column; negative if the plane is smaller than the piece.
        size: rows and columns of the piece.
        shape: of the plane.
    """

    corner: tuple[int, int]
    size: int
    shape: tuple[int, int]

    def around(self, planes: Tensor) -> Tensor:
        """Return the piece of whole `planes` (..., row, column) with a margin, for the estimation of motion."""
        rows, columns = (slice(max(0, first - MARGIN), first + self.size + MARGIN) for first in self.corner)
        return planes[..., rows, columns].contiguous()

    def inside(self, around: Tensor) -> Tensor:
        """Return the piece (..., size, size) of an output of `around`, with air outside the plane."""
        piece = around.new_full((*around.shape[:-2], self.size, self.size), AIR)
        to, of = [], []
        for first, n in zip(self.corner, self.shape, strict=True):
            low, high = max(0, first), min(n, first + self.size)
            to.append(slice(low - first, high - first))
            skipped = max(0, first - MARGIN)
            of.append(slice(low - skipped, high - skipped))
        piece[..., to[0], to[1]] = around[..., of[0], of[1]]
        return piece

    def guide(self, around: Tensor, *, images: int) -> Tensor:
        """Return the piece (channel, frame, size, size) of a guide; channels after its `images` stay constant."""
        piece = self.inside(around)
        piece[images:] = around[images:, :, :1, :1]
        return piece


def drawn_cut(planes: Planes, size: int, rng: Rng) -> Cut:
    """Return a random piece of `planes` (frame, row, column), centred near moving structures or on any tissue."""
    shape = planes.shape[-2], planes.shape[-1]
    wanted = planes[0] > 2 * TISSUE - 1
    if len(planes) > 1 and rng.random() < MOVING:
        motion = planes.std(0)
        wanted = motion > 0.5 * np.quantile(motion, 0.995)
    places = np.argwhere(wanted)
    centre = places[rng.integers(len(places))] if len(places) else rng.integers(shape)
    corner = []
    for middle, n in zip(centre, shape, strict=True):
        first = int(middle) - size // 2 + int(rng.integers(-size // 4, size // 4 + 1))
        corner.append(min(max(0, first), n - size) if n >= size else (n - size) // 2)
    return Cut((corner[0], corner[1]), size, shape)


def drawn_planes(planes: Planes, image: Image, *, scaling: Scaling, config: PieceConfig, rng: Rng) -> Planes:
    """Return `planes` (frame, row, column) of `image` in model units, at random resolution, brightness and turn."""
    if rng.random() >= config.stored:
        planes = at_matrix(planes, true_matrix(image, rng.uniform(*config.resample)))
    factor = config.brightness ** rng.uniform(-1, 1)
    fine = scaling.to_model(planes * np.float32(factor))
    return random_symmetry(fine, rng) if config.flips else fine


def seen_at(image: Image, config: PieceConfig) -> list[tuple[int, int]]:
    """Return the finest and coarsest matrices to which `drawn_planes` resamples an image."""
    stored = [image.matrix] if config.stored > 0 else []
    return [
        *stored,
        *(true_matrix(image, factor) for factor in config.resample if config.stored < 1),
    ]


def true_matrix(image: Image, factor: float) -> tuple[int, int]:
    """Return `factor` times the matrix with square pixels that are no smaller than the measured ones."""
    stored = image.matrix
    acquired = image.source.acquired_matrix or stored
    spacing = image.voxel_sizes[1:]
    coarsest = max(mm * n / min(n, true) for mm, n, true in zip(spacing, stored, acquired, strict=True))
    rows, columns = (
        min(n, max(1, round(n * mm / coarsest * factor))) for n, mm in zip(stored, spacing, strict=True)
    )
    return rows, columns
