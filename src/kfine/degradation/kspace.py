"""degrade(image): the low-resolution scan of a high-resolution image, in plane, in slices and in time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.acquisition.grid import Matrix, low_matrix, show
from kfine.degradation.scanner import WINDOWS, Acquisition, delivered, measured_kspace, smooth_phase
from kfine.errors import InputError, UsageError
from kfine.geometry import resized_affine
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.io.checks import check_finite
from kfine.operators.fourier import centre_crop, fft2c, ifft2c
from kfine.operators.frames import AverageFrames, KeepFrames, times_of
from kfine.operators.kspace import KSpaceCrop, image_of
from kfine.operators.slices import CROP, PROFILES, SliceProfile


def thick_slices(
    image: Image, *, scale: float, profile: str = "gaussian", thickness: float | None = None
) -> Image:
    """Return `image` measured in fewer and thicker slices, over the same field of view: y = D (h * x).

    The result is linear in `image`: real images can get values below 0 ("crop" rings).

    Args:
        image: an image with two slices or more; its field of view counts as periodic.
        scale: factor by which the number of slices shrinks, to the nearest whole number.
        profile: "gaussian", "box" or "crop", see `kfine.operators.slices.SliceProfile`.
        thickness: full width at half maximum of the profile, mm; None: the spacing of the slices.

    Raises:
        UsageError: a scale below 1, a thickness that is not positive or that of a 3-D scan, an unknown profile.
        InputError: fewer than two slices, before or after.
    """
    if not (math.isfinite(scale) and scale >= 1):
        raise UsageError(f"slice_scale {scale:g}: expected a number of at least 1")
    if profile not in PROFILES:
        raise UsageError(f"slice_profile {profile!r}: expected one of {', '.join(PROFILES)}")
    if thickness is not None and (profile == CROP or not (math.isfinite(thickness) and thickness > 0)):
        raise UsageError(
            f"slice_thickness {thickness:g}: expected mm above 0, with the profile gaussian or box; leave it out"
        )
    count = round(image.slices / scale)
    if count < 2:
        raise InputError(
            f"slice_scale {scale:g}: expected two slices or more in the result, {image.slices} slices leave {count}"
        )
    spacing = image.voxel_sizes[0] * image.slices / count
    operator = SliceProfile(
        image.voxels.shape[1:],
        count,
        profile=profile,
        width=1.0 if thickness is None else thickness / spacing,
        floor=0.0,
        real=not image.measured,
    )
    voxels = np.stack([operator(torch.from_numpy(frame.copy())).numpy() for frame in image.voxels])
    affine = resized_affine(image.affine, image.voxels.shape[1:], voxels.shape[1:])
    source = replace(
        image.source,
        digest="",
        slice_thickness=None if profile == CROP else spacing if thickness is None else thickness,
        three_dimensional=profile == CROP,
    )
    return replace(image, voxels=voxels, affine=affine, source=source)


def degrade(
    image: Image,
    *,
    matrix: Matrix | None = None,
    scale: float | None = None,
    keep_every: int | None = None,
    average: int | None = None,
    noise: float = 0.0,
    window: str = "none",
    partial_fourier: float = 1.0,
    elliptical: bool = False,
    zero_fill: Matrix | None = None,
    signed: bool = False,
    seed: int = 0,
    slices: tuple[int, int] | None = None,
    slice_scale: float | None = None,
    slice_profile: str = "gaussian",
    slice_thickness: float | None = None,
) -> Image:
    """Return `image` measured at a smaller matrix, in fewer slices or frames, or a combination, and with noise.

    In space the centre of k-space is measured, over the same field of view (`kfine.degradation.scanner`).  A real image
    gives a magnitude image, as from a scanner: each slice gets a smooth phase first, and with noise the result is
    Rician.  In time `keep_every` or `average` reduces the number of frames, over the same period.  At the full matrix,
    without noise and filter, the voxels of measured frames are unchanged to the bit.

    Args:
        image: real (its Fourier transform replaces k-space) or complex, with a complex result.
        matrix: measured (rows, columns), at most those of the image.
        scale: instead of `matrix`, the factor by which rows and columns shrink.
        keep_every: r, to measure the frames 0, r, 2 r, ... at their times.
        average: instead of `keep_every`, r, to average groups of r neighbouring frames, at their mean time.  If r
            does not divide the number of frames, the last group of an image with a period continues with the first
            frames, and its mean time may be after the last frame; without a period, the last group is shorter.
        noise: standard deviation of Gaussian noise in each voxel of the result, before the filter, as a fraction of the
            full intensity of the image (`kfine.intensity.Scaling`).  It is the noise of each part of complex images,
            and of the complex images behind magnitudes.  Samples of k-space that were not measured (`Image.coverage`)
            have none.
        window: apodisation filter, a name of `kfine.degradation.scanner.WINDOWS`.
        partial_fourier: measured fraction of the rows of k-space, above 0.5; the rest is zero.
        elliptical: whether the corners of k-space are not measured.
        zero_fill: (rows, columns) to which the scanner fills up with zeros.
        signed: whether the result of a real image is real with both signs: the linear measurement of theory, with
            negative ringing and Gaussian noise, which no scanner delivers.
        seed: seed of noise and phase.  The noise of a plane depends on the seed, its slice and its (first) frame in
            `image`, its phase on the seed and its slice.
        slices: (first, stop) of the slices to return; they are the same as in a result for all slices.
        slice_scale: factor by which the number of slices shrinks; the new slices are thick.
        slice_profile, slice_thickness: properties of thick slices, see `thick_slices`.

    Raises:
        UsageError: both of `matrix` and `scale`, or neither without fewer frames or slices; both of `keep_every` and
            `average`, or one below 1; a negative `noise` or `seed`.
        InputError: a voxel that is not finite, a matrix larger than that of the image, larger steps or groups than the
            number of frames, a single frame, or missing slices.
    """
    linear = signed or image.measured
    _check(
        image, window=window, partial_fourier=partial_fourier, zero_fill=zero_fill, signed=signed, seed=seed
    )
    check_finite(image.voxels, name=image.source.name or "image")
    frames = _frame_operator(image, keep_every=keep_every, average=average)
    if matrix is None and scale is None and (keep_every or average or slice_scale):
        matrix = image.matrix
    altered = noise > 0 or window != "none" or partial_fourier < 1 or elliptical or zero_fill is not None
    low = low_matrix(image.matrix, matrix=matrix, scale=scale, noise=noise)
    if zero_fill and any(n < m for n, m in zip(zero_fill, low, strict=True)):
        raise UsageError(f"zero_fill {show(zero_fill)}: expected at least the measured matrix, {show(low)}")
    full = Scaling.of(image.voxels).full if noise else 0.0
    if slice_scale is not None:
        if slices is not None:
            raise UsageError("slices: thick slices need the whole stack; leave out slices or slice_scale")
        image = thick_slices(image, scale=slice_scale, profile=slice_profile, thickness=slice_thickness)
        if low == image.matrix and not altered and not linear:
            image = replace(image, voxels=np.abs(image.voxels))
    first, stop = slices or (0, image.slices)
    image = image.take_slices(first, stop)
    acquisition = Acquisition(
        low,
        window=window,
        partial_fourier=partial_fourier,
        elliptical=elliptical,
        noise=noise * full,
        displayed=zero_fill,
    )
    coverage = _coverage(image, acquisition)
    result = np.empty((frames.range[0], image.slices, *(zero_fill or low)), image.voxels.dtype)
    for index in range(image.slices):
        measured = frames(torch.from_numpy(image.voxels[:, index].copy()))
        if low == image.matrix and not altered:
            result[:, index] = measured.numpy()  # unchanged to the bit
            continue
        phase = None if linear else _phase(image.matrix, seed, first + index)
        seeds = [[seed, frame, first + index] for frame, *_ in frames.groups]
        for place, (plane, drawn) in enumerate(zip(measured, seeds, strict=True)):
            rng = np.random.default_rng(drawn)
            result[place, index] = (
                _linear(plane, acquisition, rng, coverage)
                if phase is None
                else _magnitude(plane * phase, acquisition, rng)
            ).numpy()
    times = image.frame_times
    low_image = image.with_frames(result, times_of(frames.groups, times, image.period) if times else None)
    # The digest is that of a file with other voxels.
    source = replace(
        image.source,
        digest="",
        acquired_matrix=_acquired(image, low),
        acquisition=_acquisition(image, low, average=average or 1, noise=noise * full),
    )
    return replace(low_image, source=source, coverage=coverage)


def _check(
    image: Image, *, window: str, partial_fourier: float, zero_fill: Matrix | None, signed: bool, seed: int
) -> None:
    """Raise `UsageError` for options that are out of range or contradict each other."""
    if seed < 0:
        raise UsageError(f"seed {seed}: expected a number of at least 0")
    if window not in WINDOWS:
        raise UsageError(f"window {window!r}: expected one of {', '.join(WINDOWS)}")
    if not 0.5 < partial_fourier <= 1:
        raise UsageError(f"partial_fourier {partial_fourier:g}: expected a number above 0.5 and up to 1")
    if signed and not image.measured and partial_fourier < 1:
        raise UsageError("partial_fourier of a signed image: its k-space is whole; leave one of them out")
    if zero_fill and (signed or image.measured):
        raise UsageError("zero_fill: expected a magnitude result; leave out signed, or use a real image")


def _linear(
    plane: Tensor, acquisition: Acquisition, rng: np.random.Generator, coverage: NDArray[np.bool_] | None
) -> Tensor:
    """Return the scan of a real or complex `plane`, of the same type."""
    low = acquisition.low
    if low != tuple(plane.shape):
        crop = KSpaceCrop((plane.shape[0], plane.shape[1]), low, real=not plane.is_complex())
        plane = image_of(crop(plane), crop)
    if acquisition.noise:
        plane = plane + acquisition.noise * torch.from_numpy(thermal_noise(plane.numpy(), rng))
    weights = acquisition.weights()
    if coverage is not None:
        weights = weights * torch.from_numpy(coverage)
    if bool((weights == 1).all()):
        return plane
    filtered = ifft2c(fft2c(plane) * weights)
    return filtered if plane.is_complex() else filtered.real


def _magnitude(thing: Tensor, acquisition: Acquisition, rng: np.random.Generator) -> Tensor:
    """Return the magnitude scan of a complex plane."""
    low = np.empty(acquisition.low, np.complex64)
    noise = torch.from_numpy(thermal_noise(low, rng).astype(np.complex64)) if acquisition.noise else None
    return delivered(measured_kspace(thing, acquisition, noise=noise), acquisition)


def _phase(matrix: Matrix, seed: int, index: int) -> Tensor:
    """Return exp(i phi) (*matrix) of the phase of slice `index`."""
    drawn = int(np.random.default_rng([seed, index]).integers(2**62))
    phase = smooth_phase(matrix, torch.Generator().manual_seed(drawn))
    return torch.polar(torch.ones(matrix), phase)


def _acquired(image: Image, low: Matrix) -> Matrix | None:
    """Return the part of `low` that the scanner measured, None if that is all of it or unknown."""
    if image.source.acquired_matrix is None:
        return None
    rows, columns = (min(pair) for pair in zip(image.source.acquired_matrix, low, strict=True))
    return None if (rows, columns) == low else (rows, columns)


def _acquisition(image: Image, low: Matrix, *, average: int, noise: float) -> dict[str, Any] | None:
    """Return the acquisition record of the raw k-space with the resulting noise in voxels of `low`, or None."""
    known = image.source.acquisition
    if known is None:
        return None
    # Fewer samples with the same noise each, at the same grey values, and means of frames.
    factor = math.sqrt(math.prod(low) / math.prod(image.matrix) / average)
    return known | {"noise": math.hypot(known["noise"] * factor, noise)}


def _coverage(image: Image, acquisition: Acquisition) -> NDArray[np.bool_] | None:
    """Return the mask of the measured samples of the block of a complex image, None if all are measured."""
    if not image.measured:
        return None
    sampled = acquisition.sampled()
    if image.coverage is not None:
        sampled &= centre_crop(torch.from_numpy(image.coverage.copy()), acquisition.low)
    return None if bool(sampled.all()) else sampled.numpy()


def _frame_operator(
    image: Image, *, keep_every: int | None, average: int | None
) -> KeepFrames | AverageFrames:
    """Return the operator of the measured frames of a slice (frame, row, column); all frames without options."""
    if keep_every is not None and average is not None:
        raise UsageError(f"expected either keep_every or average, got {keep_every} and {average}")
    name, count = ("average", average) if average is not None else ("keep_every", keep_every)
    if count is not None:
        if count < 1:
            raise UsageError(f"{name} {count}: expected a number of at least 1")
        if image.frames == 1:
            raise InputError(f"{name} {count}: expected several frames, the image has one; use a cine")
        if count > image.frames:
            raise InputError(f"{name} {count}: expected at most the image's {image.frames} frames")
    domain = (image.frames, *image.matrix)
    if average is not None:
        return AverageFrames(domain, average, wrap=image.period is not None, real=not image.measured)
    return KeepFrames(domain, keep_every or 1, real=not image.measured)


def thermal_noise(like: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return noise of the shape of `like`, of standard deviation 1, in each part if `like` is complex."""
    real = rng.standard_normal(like.shape)
    return real + 1j * rng.standard_normal(like.shape) if np.iscomplexobj(like) else real
