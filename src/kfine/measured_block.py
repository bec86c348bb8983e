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
_STEP = 10.0  # least ratio of power across the edge of a block
_GENTLE = 3.0  # greatest ratio over as many lines inside it: images whose detail fades have no edge
_LINES = 3  # compared on each side
_LEAST = 0.4  # of the matrix: no scanner fills up more than twofold


def measured_block(image: Image) -> Matrix:
    """Return the (rows, columns) of the block of k-space that was measured of a DICOM image; the matrix where all was.

    A block ends where the power of the frequencies along an axis falls at once, by ten times or more, after it fell
    gently, and where it does not rise again farther out.  What the header says (`Source.acquired_matrix`) is taken
    where the spectrum ends within two lines of it, and never alone: on some scanners it is no more than how many lines
    were acquired, while magnitude and corrections have filled the k-space around (decision 10).

    Other files are left alone: raw k-space says itself where it ends, and of NIfTI nobody knows what made it.
    """
    if image.measured or image.source.kind != "dicom":
        return image.matrix
    power = _power(image)
    found = [_extent(_profile(power, axis), image.matrix[axis]) for axis in (0, 1)]
    told = image.source.acquired_matrix or image.matrix
    rows, columns = (n if abs(n - m) > 2 else m for n, m in zip(found, told, strict=True))
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


def _extent(profile: NDArray[np.float64], matrix: int) -> int:
    """Return how many lines hold what was measured: `matrix` where the power has no step."""
    floor = 1e-12 * profile[1:].max(initial=0.0) + 1e-30
    best, edge = _STEP, None
    for end in range(max(3 * _LINES, round(_LEAST * matrix / 2)), len(profile) - _LINES):
        # Line `end` itself may be half in: an even block has a frequency without its partner.
        inner, inside = (
            np.median(profile[end - far * _LINES : end - (far - 1) * _LINES]) + floor for far in (2, 1)
        )
        outside = profile[end + 1 :].max() + floor
        step = float(inside / outside)
        if step >= best and inner / inside <= _GENTLE:
            best, edge = step, end
    if edge is None:
        return matrix
    outside = profile[edge + 1 :].max() + floor
    inside = np.median(profile[edge - _LINES : edge]) + floor
    last = edge if profile[edge] + floor > (inside * outside) ** 0.5 else edge - 1
    return min(matrix, 2 * last + 1)
