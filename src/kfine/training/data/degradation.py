"""Random low-resolution scans for training: k-space crop, fewer frames, noise; or photographic degradation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kfine.degradation.photographic import blindly_degraded, on_kspace_grid
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.training.config import PieceConfig

Rng = np.random.Generator


@dataclass(frozen=True)
class Degradation:
    """Degradation of one item.

    Attributes:
        every: one of so many frames is measured.
        parts: measured fractions of k-space along rows and columns.
        noise: standard deviation in model units.
        photographic: factor of a degradation by blur, resizing, noise and JPEG, with `parts` its inverse; 0: none.
    """

    every: int
    parts: tuple[float, float]
    noise: float = 0.0
    photographic: int = 0

    @property
    def exact(self) -> bool:
        """Whether the measured k-space is exactly that of the image."""
        return self.noise == 0 and not self.photographic

    def of(self, matrix: tuple[int, int]) -> Degradation:
        """Return the degradation with `parts` rounded to whole lines of k-space of an image of `matrix`."""
        if self.photographic:
            low = matrix[0] // self.photographic, matrix[1] // self.photographic
        else:
            low = measured_matrix(matrix, self.parts)
        return replace(self, parts=(low[0] / matrix[0], low[1] / matrix[1]))


def drawn_degradation(
    config: PieceConfig, rng: Rng, *, every: Sequence[int] = (), time_only: float = 0.0
) -> Degradation:
    """Return a random degradation.

    Args:
        config: its ranges.
        rng: source of all randomness.
        every: one of these numbers is drawn, and one of so many frames is measured; (): all frames are measured.
        time_only: fraction of the scans with fewer frames that have the full matrix.
    """
    step = int(rng.choice(every)) if every else 1
    if rng.random() < config.photographic:
        scale = config.photographic_scale
        return Degradation(step, (1 / scale, 1 / scale), photographic=scale)
    low, high = (math.log(factor) for factor in config.scale)
    first, second = (math.exp(-rng.uniform(low, high)) for _ in range(2))
    parts = ((first, first), (first, first), (first, second), (first, 1.0), (1.0, first))[rng.integers(5)]
    if step > 1 and rng.random() < time_only:
        parts = (1.0, 1.0)
    noisy = config.noise > 0 and rng.integers(4) == 0
    return Degradation(step, parts, noise=config.noise * rng.uniform() if noisy else 0.0)


def leaving_two(every: Sequence[int], *, frames: int) -> list[int]:
    """Return the numbers of `every` for which two or more of `frames` are measured, one of `every` frames each.

    >>> leaving_two((1, 2, 4, 8), frames=10), leaving_two((1, 2), frames=1)
    ([1, 2, 4], [1])
    """
    return [step for step in every if step == 1 or step <= frames // 2]


def zero_filled(frames: Tensor, degradation: Degradation, rng: Rng) -> Tensor:
    """Return the zero-filled scan of the measured `frames` (frame, row, column), in model units."""
    high = frames.shape[-2], frames.shape[-1]
    if degradation.photographic:
        small = blindly_degraded(((frames + 1) / 2).numpy(), scale=degradation.photographic, rng=rng)
        low = on_kspace_grid(torch.from_numpy(small), high) * 2 - 1
        crop = KSpaceCrop(high, (low.shape[-2], low.shape[-1]), real=True)
        return crop.pseudo_inverse(measurement_of(low, crop))
    if min(degradation.parts) == 1 and not degradation.noise:
        return frames
    crop = KSpaceCrop(high, measured_matrix(high, degradation.parts), real=True)
    if degradation.noise:
        noise = rng.standard_normal(frames.shape, dtype=np.float32)
        frames = frames + degradation.noise * torch.from_numpy(noise)
    return crop.pseudo_inverse(crop(frames))


def measured_matrix(high: tuple[int, int], parts: tuple[float, float]) -> tuple[int, int]:
    """Return the matrix of a scan that measures these fractions of the k-space of an image of matrix `high`.

    >>> measured_matrix((96, 64), (0.5, 1.0))
    (48, 64)
    """
    rows, columns = (min(n, max(1, round(n * part))) for n, part in zip(high, parts, strict=True))
    return rows, columns
