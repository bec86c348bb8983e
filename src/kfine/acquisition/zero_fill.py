"""Zero filling by the scanner: the measured block of k-space, estimated from the image's spectrum."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.image import Image
from kfine.operators.fourier import fft2c
from kfine.operators.kspace import KSpaceCrop, image_of

Matrix = tuple[int, int]

_PLANES = 16  # planes that are transformed
_ACROSS = 1 / 6  # of the matrix: lines on each side of an axis that are used
_LINES = 1 / 32  # of the matrix: width of the running median that smooths the spectrum
_SCALES = (1, 2, 3)  # widths, in units of those lines, over which the power of a filtered spectrum falls
_LEAST = 0.4  # of the matrix: no scanner zero-fills more than twofold
# dB: the least fall beyond gradual fading, if the header names the same block and if it does not.
_STEP_NAMED, _STEP = 5.0, 7.0
_FLAT = 0.5  # of the steepest fall: the steepest slope that the power may have behind it
# (dB, fraction of the fall) above the power behind the fall: the smaller of the two counts.
_LOWER, _UPPER = (6.0, 0.3), (14.0, 0.7)
_SHARP = 0.35  # of the fall
_FARTHEST = 1.2  # times the position where the fall ends: the farthest extrapolation
_SURE = 0.95  # of the matrix: a larger block counts as the whole matrix
_NEAR = 6  # lines: the largest difference between header and spectrum
_FLOOR = 1e-9  # of the largest power: rounding


def measured_block(image: Image) -> Matrix:
    """Return the (rows, columns) of the measured block of k-space of a DICOM image; its matrix without zero filling.

    At the end of the block the power along an axis falls by more than it fades before, and stays nearly constant
    behind.  The fall is not a step: the magnitude spreads it, and a filter (Hann, Hamming, Tukey, Fermi) weakens the
    outer lines below the spread power.  The end is therefore extrapolated, and the block is some lines too large rather
    than one too small.  If `Source.acquired_matrix` names a block that ends there, that block is returned, and a
    smaller fall suffices.  The header alone is never trusted: on some scanners it counts the acquired lines while the
    k-space around them is full (decision 10).

    The spectrum of a complex image is not spread by a magnitude; the same rules apply.

    Images of other formats are returned whole: raw k-space states its extent, and a NIfTI file does not record how it
    was made.
    """
    if image.source.kind != "dicom":
        return image.matrix
    power = _power(image)
    named = image.source.acquired_matrix or image.matrix
    rows, columns = (_extent(_profile(power, axis), image.matrix[axis], named[axis]) for axis in (0, 1))
    return rows, columns


def without_filling(image: Image, block: Matrix) -> Image:
    """Return `image` at the matrix `block`, with its measured k-space only, over the same field of view."""
    crop = KSpaceCrop(image.matrix, block, real=not image.measured)
    voxels = np.stack(
        [image_of(crop(torch.from_numpy(frame.copy())), crop).numpy() for frame in image.voxels]
    )
    return image.with_plane(voxels)


def _power(image: Image) -> NDArray[np.float64]:
    """Return the mean power (row, column) of the spectra of some evenly spaced planes."""
    planes = image.voxels.reshape(-1, *image.matrix)
    chosen = planes[:: max(1, len(planes) // _PLANES)]
    return fft2c(torch.from_numpy(chosen.copy())).abs().square().mean(0, dtype=torch.float64).numpy()  # type: ignore[no-any-return]


def _profile(power: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the power at the distances 0, 1, ... from the origin along `axis`, at low frequencies across it.

    At higher frequencies across, a block with elliptical corners ends sooner.  The median ignores the few lines with
    most energy.
    """
    across = power.shape[1 - axis]
    reach = max(2, round(_ACROSS * across))
    lines = power.take(range(max(0, across // 2 - reach), min(across, across // 2 + reach + 1)), 1 - axis)
    along = np.median(lines, axis=1 - axis)
    origin = len(along) // 2
    upper, lower = along[origin:], along[origin::-1]
    reach = min(len(upper), len(lower))
    return (upper[:reach] + lower[:reach]) / 2  # type: ignore[no-any-return]


def _extent(profile: NDArray[np.float64], matrix: int, named: int) -> int:
    """Return the number of measured lines: `matrix` if the power does not fall.

    Args:
        profile: power at each distance from the origin.
        matrix: lines of the image.
        named: lines named by the header; `matrix` if it names none.
    """
    level = 10 * np.log10(profile + _FLOOR * profile[1:].max(initial=0.0) + 1e-30)
    width = max(3, round(_LINES * matrix))
    smooth = np.array(
        [np.median(level[max(0, n - width // 2) : n + width // 2 + 1]) for n in range(len(level))]
    )
    place, scale, fall = _greatest_fall(smooth, matrix, width)
    if fall < _STEP_NAMED:
        return matrix
    knee = _knee(level, place, scale)
    if not _flat_behind(smooth, knee, width):
        return matrix
    middle, end = _end(level, knee, width, fall)
    middle = min(middle, _cliff(level, place - 2 * scale, knee, width // 4, fall))
    found = math.ceil(2 * (end + 1))
    if named < matrix and 2 * middle - _NEAR <= named <= 1.25 * found:
        return named
    return found if fall >= _STEP and found <= _SURE * matrix else matrix


def _greatest_fall(smooth: NDArray[np.float64], matrix: int, width: int) -> tuple[int, int, float]:
    """Return position, width (lines) and size (dB) of the largest fall of the power beyond gradual fading."""
    best, border = (0, width, 0.0), len(smooth) - width // 2
    for scale in (factor * width for factor in _SCALES):
        for place in range(max(3 * scale // 2 + 2, round(_LEAST * matrix / 2)), border - (width + 1) // 2):
            before, inside = place - 3 * scale // 2, place - scale // 2
            behind = min(place + scale, border - 1)
            # Gradual fading continues at the same rate, and the power must not rise again farther out.
            fading = max(0.0, smooth[before] - smooth[inside]) / (inside - before) * (behind - inside)
            fall = smooth[inside] - smooth[behind:border].max() - fading
            if behind - place >= width and fall > best[2]:
                best = (place, scale, float(fall))
    return best


def _knee(level: NDArray[np.float64], place: int, scale: int) -> int:
    """Return where the fall at `place` ends: the point farthest below its chord."""
    first, last = max(1, place - scale // 2), min(len(level) - 1, place + max(2 * scale, 8))
    chord = np.linspace(level[first], level[last], last - first + 1)
    return first + int((chord - _running_mean(level)[first : last + 1]).argmax())


def _flat_behind(smooth: NDArray[np.float64], knee: int, width: int) -> bool:
    """Return whether the power is nearly constant behind the knee; if not, the fall continues to the border."""
    drops = smooth[:-width] - smooth[width:]
    before = drops[max(0, knee - 2 * width) : knee - width // 2 + 1]
    behind = drops[knee + width // 4 :]
    return len(before) > 0 and len(behind) > 0 and bool(behind.max() <= _FLAT * before.max())


def _end(level: NDArray[np.float64], knee: int, width: int, fall: float) -> tuple[float, float]:
    """Return the middle of the fall and the end of the measured lines, as distances from the origin.

    The power of a Hann or Tukey filter is cos^4, which vanishes as the fourth power of the distance from its end.  Two
    levels above the power behind the fall determine that end.
    """
    behind, mean = np.median(level[knee : knee + width + 1]), _running_mean(level)
    places, heights = [], [min(_LOWER[0], _LOWER[1] * fall), min(_UPPER[0], _UPPER[1] * fall)]
    for height in heights:
        at = knee
        while at > 1 and mean[at] < behind + height:
            at -= 1
        part = (mean[at] - behind - height) / max(mean[at] - mean[at + 1], 1e-9) if at < knee else 0.0
        places.append(at + part)
    lower, upper = places
    end = lower + (lower - upper) / (10 ** ((heights[1] - heights[0]) / 40) - 1)
    return (lower + upper) / 2, min(max(knee, end), _FARTHEST * knee)


def _cliff(level: NDArray[np.float64], first: int, last: int, width: int, fall: float) -> float:
    """Return where the power falls most within `width` lines; `math.inf` if that is a small part of the fall.

    Only an unfiltered end is so sharp; the magnitude may extend the rest of its fall.
    """
    first, mean = max(0, first), _running_mean(level)
    width = max(2, width)
    drops = (mean[:-width] - mean[width:])[first : last + 1]
    steepest = int(drops.argmax())
    return first + steepest + width / 2 if drops[steepest] >= _SHARP * fall else math.inf


def _running_mean(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over three distances."""
    return np.convolve(np.pad(level, 1, mode="edge"), np.full(3, 1 / 3), "valid")
