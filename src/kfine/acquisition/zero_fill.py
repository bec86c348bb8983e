"""What a scanner measured of an image that it filled up with zeros: told from the image's spectrum."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.image import Image
from kfine.operators.fourier import fft2c
from kfine.operators.kspace import KSpaceCrop, image_of

Matrix = tuple[int, int]

_PLANES = 16  # looked at
# Least ratio of power across the end of a block, where the header says the same block and where it does not.
_STEP_TOLD, _STEP = 3.0, 5.0
_LINES = 1 / 32  # of the matrix: compared with as many farther out
_LEAST = 0.4  # of the matrix: no scanner fills up more than twofold
_NEAR = 4  # lines between what the header says and what is seen
_FLOOR = 1e-9  # of the greatest power: rounding


def measured_block(image: Image) -> Matrix:
    """Return the (rows, columns) of the block of k-space that was measured of a DICOM image; the matrix where all was.

    A block ends where the power of the frequencies along an axis falls within a few lines, several times as much as it
    did before, and does not rise again farther out.  The fall is no cliff: taking the magnitude spreads it.  Where
    `Source.acquired_matrix` names the same block, it is taken, and a lesser fall will do; it is never taken alone: on
    some scanners it is no more than how many lines were acquired, while the k-space around is full (decision 10).
    Without it the block is rather a few lines too large.

    Other files are left alone: raw k-space says itself where it ends, and of NIfTI nobody knows what made it.
    """
    if image.measured or image.source.kind != "dicom":
        return image.matrix
    power = _power(image)
    told = image.source.acquired_matrix or image.matrix
    rows, columns = (_extent(_profile(power, axis), image.matrix[axis], told[axis]) for axis in (0, 1))
    return rows, columns


def without_filling(image: Image, block: Matrix) -> Image:
    """Return `image` at the matrix `block`: its measured k-space alone, over the same field of view."""
    crop = KSpaceCrop(image.matrix, block, real=True)
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
    """Return the power at the distances 0, 1, ... from the origin along `axis`, of low frequencies across it.

    Their median leaves out the few lines that hold most of the energy.
    """
    across = power.shape[1 - axis]
    lines = power.take(range(across // 4, across - across // 4), 1 - axis)
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
    width = max(3, round(_LINES * matrix))
    gap = (width + 1) // 2
    floor = _FLOOR * profile[1:].max(initial=0.0) + 1e-30
    levels = (
        np.array([np.median(profile[at : at + width]) for at in range(max(0, len(profile) - width + 1))])
        + floor
    )
    falls: dict[int, float] = {}
    for end in range(max(2 * width, round(_LEAST * matrix / 2)), len(levels) - gap):
        before, inside, beyond = levels[end - 2 * width], levels[end - width], levels[end + gap :].max()
        agrees = told < matrix and abs(2 * end - told) <= _NEAR
        # What fades gradually falls as much again: from inside to beyond it is half as far again.
        fall = inside / beyond / max(1.0, before / inside) ** 1.5 / (_STEP_TOLD if agrees else _STEP)
        if fall >= 1:
            falls[end] = float(fall)
    if not falls:
        return matrix
    end = max(end for end, fall in falls.items() if fall >= 0.8 * max(falls.values()))
    if told < matrix and abs(2 * end - told) <= _NEAR + 2:
        return told
    return min(matrix, 2 * end + 3)
