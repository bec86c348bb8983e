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

_PLANES = 16  # looked at
_ACROSS = 1 / 6  # of the matrix: lines on each side of an axis that are looked at
_LINES = 1 / 32  # of the matrix: lines over whose median the spectrum is smooth
_SCALES = (1, 2, 3)  # of those lines: over how many a filter lets the power fall
_LEAST = 0.4  # of the matrix: no scanner fills up more than twofold
# dB by which the power falls beyond what fading explains, where the header names the same block and where it does not.
_STEP_TOLD, _STEP = 5.0, 7.0
_FLAT = 0.5  # of the steepest fall: how steep the power may go on falling behind it
# (dB, part of the fall) above the power behind the fall: the least of each counts.
_LOWER, _UPPER = (6.0, 0.3), (14.0, 0.7)
_SHARP = 0.35  # of the fall
_FARTHEST = 1.2  # times where the fall is seen to end
_SURE = 0.95  # of the matrix: a larger block is taken for all of it
_NEAR = 6  # lines between what the header says and what is seen
_FLOOR = 1e-9  # of the greatest power: rounding


def measured_block(image: Image) -> Matrix:
    """Return the (rows, columns) of the block of k-space that was measured of a DICOM image; the matrix where all was.

    A block ends where the power of the frequencies along an axis falls, by more than it fades before, and then hardly
    falls any more.  The fall is no cliff: taking the magnitude spreads it, and a filter (Hann, Hamming, Tukey,
    Fermi) weakens the outer lines until they drown in what the magnitude has spread.  So the end is extrapolated, and
    the block is rather some lines too large than one too small.  Where `Source.acquired_matrix` names a block that ends
    there, it is taken, and a lesser fall will do; it is never taken alone: on some scanners it is no more than how many
    lines were acquired, while the k-space around is full (decision 10).

    Of a complex image, whose spectrum is not spread by a magnitude, the same holds all the more.

    Other files are left alone: raw k-space states its extent, and a NIfTI file does not record how it was made.
    """
    if image.source.kind != "dicom":
        return image.matrix
    power = _power(image)
    told = image.source.acquired_matrix or image.matrix
    rows, columns = (_extent(_profile(power, axis), image.matrix[axis], told[axis]) for axis in (0, 1))
    return rows, columns


def without_filling(image: Image, block: Matrix) -> Image:
    """Return `image` at the matrix `block`: its measured k-space alone, over the same field of view."""
    crop = KSpaceCrop(image.matrix, block, real=not image.measured)
    voxels = np.stack(
        [image_of(crop(torch.from_numpy(frame.copy())), crop).numpy() for frame in image.voxels]
    )
    return image.with_plane(voxels)


def _power(image: Image) -> NDArray[np.float64]:
    """Return the mean power (row, column) of the spectra of some planes, evenly spaced."""
    planes = image.voxels.reshape(-1, *image.matrix)
    chosen = planes[:: max(1, len(planes) // _PLANES)]
    return fft2c(torch.from_numpy(chosen.copy())).abs().square().mean(0, dtype=torch.float64).numpy()  # type: ignore[no-any-return]


def _profile(power: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the power at the distances 0, 1, ... from the origin along `axis`, of the lowest frequencies across it.

    Farther out a block with elliptical corners ends sooner.  The median leaves out the few lines with most energy.
    """
    across = power.shape[1 - axis]
    reach = max(2, round(_ACROSS * across))
    lines = power.take(range(max(0, across // 2 - reach), min(across, across // 2 + reach + 1)), 1 - axis)
    along = np.median(lines, axis=1 - axis)
    origin = len(along) // 2
    upper, lower = along[origin:], along[origin::-1]
    reach = min(len(upper), len(lower))
    return (upper[:reach] + lower[:reach]) / 2  # type: ignore[no-any-return]


def _extent(profile: NDArray[np.float64], matrix: int, told: int) -> int:
    """Return how many lines hold what was measured: `matrix` where the power does not fall.

    Args:
        profile: power at each distance from the origin.
        matrix: lines of the image.
        told: lines that the header says; `matrix` if it says nothing.
    """
    level = 10 * np.log10(profile + _FLOOR * profile[1:].max(initial=0.0) + 1e-30)
    width = max(3, round(_LINES * matrix))
    smooth = np.array(
        [np.median(level[max(0, n - width // 2) : n + width // 2 + 1]) for n in range(len(level))]
    )
    place, scale, fall = _greatest_fall(smooth, matrix, width)
    if fall < _STEP_TOLD:
        return matrix
    knee = _knee(level, place, scale)
    if not _flat_behind(smooth, knee, width):
        return matrix
    middle, end = _end(level, knee, width, fall)
    middle = min(middle, _cliff(level, place - 2 * scale, knee, width // 4, fall))
    found = math.ceil(2 * (end + 1))
    if told < matrix and 2 * middle - _NEAR <= told <= 1.25 * found:
        return told
    return found if fall >= _STEP and found <= _SURE * matrix else matrix


def _greatest_fall(smooth: NDArray[np.float64], matrix: int, width: int) -> tuple[int, int, float]:
    """Return where the power falls most beyond what fades, within how many lines, and by how much (dB)."""
    best, border = (0, width, 0.0), len(smooth) - width // 2
    for scale in (factor * width for factor in _SCALES):
        for place in range(max(3 * scale // 2 + 2, round(_LEAST * matrix / 2)), border - (width + 1) // 2):
            before, inside = place - 3 * scale // 2, place - scale // 2
            behind = min(place + scale, border - 1)
            # What fades gradually falls as fast again, and nothing may rise again farther out.
            fading = max(0.0, smooth[before] - smooth[inside]) / (inside - before) * (behind - inside)
            fall = smooth[inside] - smooth[behind:border].max() - fading
            if behind - place >= width and fall > best[2]:
                best = (place, scale, float(fall))
    return best


def _knee(level: NDArray[np.float64], place: int, scale: int) -> int:
    """Return where the fall at `place` ends: farthest below the chord over it."""
    first, last = max(1, place - scale // 2), min(len(level) - 1, place + max(2 * scale, 8))
    chord = np.linspace(level[first], level[last], last - first + 1)
    return first + int((chord - _running_mean(level)[first : last + 1]).argmax())


def _flat_behind(smooth: NDArray[np.float64], knee: int, width: int) -> bool:
    """Return whether the power hardly falls behind the knee: without that, the fall goes on to the border."""
    drops = smooth[:-width] - smooth[width:]
    before = drops[max(0, knee - 2 * width) : knee - width // 2 + 1]
    behind = drops[knee + width // 4 :]
    return len(before) > 0 and len(behind) > 0 and bool(behind.max() <= _FLAT * before.max())


def _end(level: NDArray[np.float64], knee: int, width: int, fall: float) -> tuple[float, float]:
    """Return where the fall is half over, and where the measured lines end, as distances from the origin.

    The power of a Hann or Tukey filter is cos^4, which goes to 0 as the fourth power of the distance from its end.  Two
    powers above what lies behind the fall give that end.
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
    """Return where the power falls most within `width` lines, `math.inf` where that is a small part of the fall.

    Only an unfiltered end is so sharp; what the magnitude spreads may make the rest of its fall a long one.
    """
    first, mean = max(0, first), _running_mean(level)
    width = max(2, width)
    drops = (mean[:-width] - mean[width:])[first : last + 1]
    steepest = int(drops.argmax())
    return first + steepest + width / 2 if drops[steepest] >= _SHARP * fall else math.inf


def _running_mean(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over three distances."""
    return np.convolve(np.pad(level, 1, mode="edge"), np.full(3, 1 / 3), "valid")
