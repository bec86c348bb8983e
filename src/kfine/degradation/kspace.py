"""degrade(image): the low-resolution scan that a high-resolution image would have given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.acquisition.grid import Matrix, low_matrix
from kfine.degradation.noise import thermal_noise
from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.io.checks import check_finite
from kfine.operators.fourier import centre_crop, fft2c, ifft2c
from kfine.operators.frames import AverageFrames, KeepFrames, times_of
from kfine.operators.kspace import KSpaceCrop, image_of


def degrade(
    image: Image,
    *,
    matrix: Matrix | None = None,
    scale: float | None = None,
    keep_every: int | None = None,
    average: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    slices: tuple[int, int] | None = None,
) -> Image:
    """Return `image` measured at a smaller matrix, with fewer frames, or both, and with noise.

    In space the centre of the k-space is kept, over the same field of view.  In time `keep_every` or `average`
    leaves fewer frames, over the same period; at a whole matrix and without noise, frames kept are kept to the bit.

    Args:
        image: real (its Fourier transform stands in for k-space; the result is real and may dip below 0 by
            ringing) or complex.
        matrix: (rows, columns) to measure; each at most the image's.
        scale: instead of `matrix`, the factor by which rows and columns shrink.
        keep_every: r, to keep the frames 0, r, 2 r, ... as they are, at their times.
        average: instead of `keep_every`, r, to average groups of r neighbouring frames, at their mean time.  If r
            does not divide the number of frames, the last group goes on round the cycle when the image has a
            period, to a mean time that may lie beyond the last frame's; without one, it is as short as it is.
        noise: standard deviation of Gaussian noise in each voxel of the result, as a fraction of the image's
            full intensity (`kfine.intensity.Scaling`); for complex images, of each part.  Samples of k-space that were
            not measured (`Image.coverage`) get none.
        seed: of the noise; a plane's noise depends on the seed, its slice and its (first) frame in `image` alone.
        slices: (first, stop) of the slices to return; they are those of the whole.

    Raises:
        UsageError: both of `matrix` and `scale`, or neither while all frames stay; both of `keep_every` and
            `average`, or one below 1; a negative `noise` or `seed`.
        InputError: a voxel that is not finite, a matrix larger than the image's, more frames to a step or group than
            the image has, a single frame, or slices that it has not.
    """
    if seed < 0:
        raise UsageError(f"seed {seed}: expected a number of at least 0")
    check_finite(image.voxels, name=image.source.name or "image")
    frames = _frame_operator(image, keep_every=keep_every, average=average)
    if matrix is None and scale is None and (keep_every or average):
        matrix = image.matrix
    low = low_matrix(image.matrix, matrix=matrix, scale=scale, noise=noise)
    crop = KSpaceCrop(image.matrix, low, real=not image.measured)
    full = Scaling.of(image.voxels).full if noise else 0.0
    first, stop = slices or (0, image.slices)
    image = image.take_slices(first, stop)
    coverage = _coverage(image, low)
    result = np.empty((frames.range[0], image.slices, *low), image.voxels.dtype)
    for index in range(image.slices):
        kept = frames(torch.from_numpy(image.voxels[:, index].copy()))
        # The same matrix means the same voxels, to the last bit.
        planes = (kept if low == image.matrix else image_of(crop(kept), crop)).numpy()
        for place, (plane, (frame, *_)) in enumerate(zip(planes, frames.groups, strict=True)):
            if noise:
                drawn = thermal_noise(plane, np.random.default_rng([seed, frame, first + index]))
                plane = plane + noise * full * _measured_part(drawn, coverage)
            result[place, index] = plane
    times = image.frame_times
    low_image = image.with_frames(result, times_of(frames.groups, times, image.period) if times else None)
    # Other voxels than those of the file that the digest is of.
    source = replace(
        image.source,
        digest="",
        acquired_matrix=_acquired(image, low),
        acquisition=_acquisition(image, low, average=average or 1, noise=noise * full),
    )
    return replace(low_image, source=source, coverage=coverage)


def _measured_part(plane: NDArray[Any], coverage: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Return `plane` without what it has at samples that were not measured: they are 0."""
    if coverage is None:
        return plane
    kspace = fft2c(torch.from_numpy(plane)) * torch.from_numpy(coverage)
    return ifft2c(kspace).numpy().astype(plane.dtype)


def _acquired(image: Image, low: Matrix) -> Matrix | None:
    """Return the part of `low` that the scanner had measured, None where that is all of it or not known."""
    if image.source.acquired_matrix is None:
        return None
    rows, columns = (min(pair) for pair in zip(image.source.acquired_matrix, low, strict=True))
    return None if (rows, columns) == low else (rows, columns)


def _acquisition(image: Image, low: Matrix, *, average: int, noise: float) -> dict[str, Any] | None:
    """Return what is known of the raw k-space, with the noise that voxels of `low` have after all."""
    known = image.source.acquisition
    if known is None:
        return None
    # Fewer samples of the same noise each, over the same grey values, and means of frames.
    kept = math.sqrt(math.prod(low) / math.prod(image.matrix) / average)
    return known | {"noise": math.hypot(known["noise"] * kept, noise)}


def _coverage(image: Image, low: Matrix) -> NDArray[np.bool_] | None:
    """Return which samples of the centre `low` were measured, None where all were."""
    return (
        None if image.coverage is None else centre_crop(torch.from_numpy(image.coverage.copy()), low).numpy()
    )


def _frame_operator(
    image: Image, *, keep_every: int | None, average: int | None
) -> KeepFrames | AverageFrames:
    """Return which frames of a slice (frame, row, column) are measured, and how; all of them if nothing is asked."""
    if keep_every is not None and average is not None:
        raise UsageError(f"expected either keep_every or average, got {keep_every} and {average}")
    name, count = ("average", average) if average is not None else ("keep_every", keep_every)
    if count is not None:
        if count < 1:
            raise UsageError(f"{name} {count}: expected a number of at least 1")
        if image.frames == 1:
            raise InputError(f"{name} {count}: expected several frames, the image has one; give a cine")
        if count > image.frames:
            raise InputError(f"{name} {count}: expected at most the image's {image.frames} frames")
    domain = (image.frames, *image.matrix)
    if average is not None:
        return AverageFrames(domain, average, wrap=image.period is not None, real=not image.measured)
    return KeepFrames(domain, keep_every or 1, real=not image.measured)
