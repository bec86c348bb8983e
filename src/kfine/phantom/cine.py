"""Cine from the analytic k-space of a synthetic heart, at any matrix."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.degradation.kspace import thermal_noise
from kfine.errors import UsageError
from kfine.image import Image, Source
from kfine.operators.fourier import ifft2c
from kfine.phantom.anatomy import FAT, chest, heart
from kfine.phantom.ellipses import transform_of

FIELD_OF_VIEW = (320.0, 320.0)  # mm
SPACING = 8.0  # mm from slice to slice
_HALF_LENGTH = 60.0  # mm, of the ellipsoid that the slices cut
_EDGE = 0.7  # mm
_PHASE, _TWIST = 0.6, (0.35, -0.2)  # of a measured image: radians, and turns over the field of view


def beating_heart(
    matrix: tuple[int, int] = (128, 128),
    *,
    frames: int = 20,
    period: float = 0.9,
    slices: int = 1,
    measured: bool = False,
    noise: float = 0.0,
    seed: int = 0,
) -> Image:
    """Return a synthetic short-axis cine of a beating heart, as a scan of `matrix` (rows, columns) would show it.

    The object is a sum of ellipses whose Fourier transform is known exactly (`kfine.phantom.ellipses`).  Every matrix
    is therefore computed directly, not cropped from a finer one; all share a field of view of 320 mm.
    `degrade(beating_heart(fine), matrix=coarse, signed=True)` equals `beating_heart(coarse)` up to rounding: always for
    complex images and odd matrices, and for real images and even matrices if rows and columns both shrink.  (A real
    image represents the frequency -n/2 by the mean of -n/2 and n/2, which at a corner of both axes depends on the
    order.)

    Args:
        matrix: (rows, columns).
        frames: number of frames, evenly spaced over the heart beat, the first at end diastole.
        period: duration of the heart beat, seconds.
        slices: number of slices, 8 mm apart; the heart is largest in slice `slices // 2`.
        measured: whether the voxels are complex, with a phase that varies over the image.
        noise: standard deviation of Gaussian noise in each voxel (for complex ones in each component), as a fraction of
            the grey value of the brightest tissue.
        seed: seed of the noise; the noise of a plane depends only on seed, frame and slice.

    Raises:
        UsageError: a number that is not positive, or a negative noise or seed.
    """
    _check(matrix, frames=frames, period=period, slices=slices, noise=noise, seed=seed)
    shift = _TWIST if measured else (0.0, 0.0)
    down, right = (
        np.asarray((np.arange(n) - n // 2 - turns) / length, np.float64)
        for n, turns, length in zip(matrix, shift, FIELD_OF_VIEW, strict=True)
    )
    grid = down[:, None], right[None, :]
    # Samples of the transform on the lattice 1 / field of view, in the orthonormal transform's units.
    gain = math.sqrt(math.prod(matrix)) / math.prod(FIELD_OF_VIEW)
    still = transform_of(chest(), *grid, edge=_EDGE)
    voxels = np.empty((frames, slices, *matrix), np.complex64 if measured else np.float32)
    for frame, number in np.ndindex(frames, slices):
        moving = transform_of(heart(frame / frames, scale=_scale(number, slices)), *grid, edge=_EDGE)
        plane = ifft2c(torch.from_numpy(gain * (still + moving))).numpy()
        plane = plane * np.exp(1j * _PHASE) if measured else plane.real
        if noise:
            plane = plane + noise * FAT * thermal_noise(plane, np.random.default_rng([seed, frame, number]))
        voxels[frame, number] = plane
    return Image(
        voxels,
        _affine(matrix),
        frame_times=tuple(period * frame / frames for frame in range(frames)),
        period=period,
        source=Source(name="beating heart"),
    )


def _scale(number: int, slices: int) -> float:
    """Return the size of the heart in a slice: a cut through an ellipsoid, at least a third."""
    return math.sqrt(max(1 - ((number - slices // 2) * SPACING / _HALF_LENGTH) ** 2, 0.1))


def _affine(matrix: tuple[int, int]) -> NDArray[np.float64]:
    """Return the affine with slices towards head, rows towards back and columns towards left, centred at 0."""
    down, right = (length / n for n, length in zip(matrix, FIELD_OF_VIEW, strict=True))
    affine = np.array([[0, 0, -right, 0], [0, -down, 0, 0], [SPACING, 0, 0, 0], [0, 0, 0, 1]], np.float64)
    affine[:3, 3] = -affine[:3, 1] * (matrix[0] // 2) - affine[:3, 2] * (matrix[1] // 2)
    return affine


def _check(
    matrix: tuple[int, int], *, frames: int, period: float, slices: int, noise: float, seed: int
) -> None:
    for name, value in (("rows", matrix[0]), ("columns", matrix[1]), ("frames", frames), ("slices", slices)):
        if value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not (math.isfinite(period) and period > 0):
        raise UsageError(f"period {period:g}: expected seconds above 0")
    if not (math.isfinite(noise) and noise >= 0 and seed >= 0):
        raise UsageError(f"noise {noise:g}, seed {seed}: expected numbers of at least 0")
