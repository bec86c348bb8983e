"""Foreground: mask of the body, and the window with most detail in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]
from skimage.filters import threshold_otsu
from skimage.morphology import disk

from kfine.image import Image, magnitude

Mask = NDArray[np.bool_]
Window = tuple[slice, slice]

CLOSING_MM = 4.0
DEPTH_MM = 18.0


def foreground(reference: Image) -> Mask:
    """Return the mask of the body (frame, slice, row, column): voxels brighter than air, closed and filled.

    1. Otsu's threshold (Otsu 1979, IEEE SMC 9:62) of all frames together, after clipping at the 99.9th percentile, so
       that a few bright vessels do not stretch the histogram.
    2. Closing of every slice by a disk of 4 mm (at least one pixel), then filling of enclosed holes.

    A constant volume has no foreground: the mask is empty.
    """
    voxels = magnitude(reference).voxels
    voxels = np.minimum(voxels, np.percentile(voxels, 99.9))
    if voxels.min() == voxels.max():
        return np.zeros(voxels.shape, dtype=np.bool_)
    bright = voxels > threshold_otsu(voxels.ravel())
    radius = max(1, round(CLOSING_MM / min(reference.voxel_sizes[1:])))
    radius = min(radius, max(1, min(reference.matrix) // 16))  # 4 mm may exceed a tiny matrix
    closed = [_close_and_fill(plane, radius) for plane in bright.reshape(-1, *reference.matrix)]
    return np.stack(closed).reshape(voxels.shape)


def bounding_box(mask: Mask, *, margin: int) -> Window:
    """Return the window (rows, columns) around a 2-D mask with `margin` pixels; the whole plane if it is empty."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (
        slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, mask.shape[0])),
        slice(max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, mask.shape[1])),
    )


def busiest_window(
    plane: NDArray[Any], mask: Mask, *, shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)
) -> Window:
    """Return the window of `shape` (rows, columns) with the most gradient energy deep inside `mask`.

    The scalp is the strongest edge of a head and the least interesting one.  Therefore only pixels deeper than 18 mm
    (or half the largest depth, if that is less) count.  The squared gradient of the square root is clipped at its 95th
    percentile there and weighted less towards the edge of the field of view, so that fine detail near the centre
    outweighs a strong edge or a near coil.

    plane, mask: (row, column); spacing: mm a pixel.
    """
    height, width = (min(n, size) for n, size in zip(shape, plane.shape, strict=True))
    root = np.sqrt(np.maximum(plane, 0))
    down, across = ndimage.sobel(root, axis=0), ndimage.sobel(root, axis=1)
    energy = np.asarray((down / spacing[0]) ** 2 + (across / spacing[1]) ** 2, dtype=np.float64)
    inside = mask if mask.any() else np.ones(plane.shape, dtype=np.bool_)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)[1:-1, 1:-1]
    deep = depth >= min(DEPTH_MM, 0.5 * float(depth.max()))
    energy = np.where(deep, energy, 0)
    if energy.any():
        energy = np.minimum(energy, np.percentile(energy[energy > 0], 95)) * _towards_centre(plane.shape)
    # Summed-area table: the sum over every window from its four corners.
    table = np.pad(energy.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    )
    row, column = divmod(int(np.argmax(sums)), sums.shape[1])
    return slice(row, row + height), slice(column, column + width)


def _close_and_fill(plane: Mask, radius: int) -> Mask:
    if not plane.any():
        return plane
    padded = np.pad(plane, radius)  # closing must not erode tissue at the edge of the field of view
    closed = ndimage.binary_closing(padded, structure=disk(radius))[radius:-radius, radius:-radius]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=np.bool_)


def _towards_centre(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return weights (row, column) from 1 at the centre to 1/e at the middle of each edge."""
    rows, columns = (np.exp(-(np.linspace(-1, 1, n) ** 2)) if n > 1 else np.ones(1) for n in shape)
    return np.asarray(np.outer(rows, columns), dtype=np.float64)
