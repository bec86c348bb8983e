"""The random low-resolution scans of training: less of k-space, fewer frames, noise; or the photographic kind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kfine.blind_degradation import blindly_degraded, on_kspace_grid
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.training.cine_config import CineDataConfig

Rng = np.random.Generator


@dataclass(frozen=True)
class Degradation:
    """How one item is degraded.

    Attributes:
        every: one of so many frames is kept.
        parts: the part of each k-space direction that is measured; 1 is all of it.
        noise: standard deviation in model units.
        photographic: 0, or the factor of a degradation by blur, resizing, noise and JPEG; `parts` are its inverse.
    """

    every: int
    parts: tuple[float, float]
    noise: float = 0.0
    photographic: int = 0

    @property
    def exact(self) -> bool:
        """Whether the measured k-space is the image's own."""
        return self.noise == 0 and not self.photographic


def drawn_degradation(config: CineDataConfig, rng: Rng, *, frames: int) -> Degradation:
    """Return a random scan of a clip of so many `frames` (1: a still) that keeps two of them or more."""
    allowed = [every for every in config.every if every == 1 or every <= frames // 2]
    every = int(rng.choice(allowed)) if allowed else 1
    if rng.random() < config.photographic:
        scale = config.photographic_scale
        return Degradation(every, (1 / scale, 1 / scale), photographic=scale)
    low, high = (math.log(factor) for factor in config.scale)
    first, second = (math.exp(-rng.uniform(low, high)) for _ in range(2))
    parts = ((first, first), (first, first), (first, second), (first, 1.0), (1.0, first))[rng.integers(5)]
    if every > 1 and rng.random() < config.time_only:
        parts = (1.0, 1.0)
    noisy = config.noise > 0 and rng.integers(4) == 0
    return Degradation(every, parts, noise=config.noise * rng.uniform() if noisy else 0.0)


def zero_filled(frames: Tensor, degradation: Degradation, rng: Rng) -> Tensor:
    """Return what is left of the kept `frames` (frame, row, column), model units, back on their grid."""
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
    """Return the matrix of a scan that measures these parts of an image of matrix `high`.

    >>> measured_matrix((96, 64), (0.5, 1.0))
    (48, 64)
    """
    rows, columns = (min(n, max(1, round(n * part))) for n, part in zip(high, parts, strict=True))
    return rows, columns
