"""Inputs of a restoration: an image, a path, or an array with axes and voxel size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import UsageError
from kfine.image import Image
from kfine.io import read

AXES = ("frame", "slice", "row", "column")
_SIZES = "the mm between voxels as (row, column) or (slice, row, column)"

Input = Image | str | os.PathLike[str] | NDArray[Any]


def image_of(source: Input, *, voxel_size: Sequence[float] | None = None, axes: str | None = None) -> Image:
    """Return the image of `source`: itself, read from its path, or built from its array.

    Args:
        source: an image; the path of a file or folder, see `kfine.read`; or an array of magnitudes, of signed real
            numbers, or of complex numbers whose k-space was measured.
        voxel_size: of an array: mm between voxels, (row, column) or (slice, row, column), whatever the order of its
            axes.  The slice may be left out for a single slice.
        axes: of an array: names of its axes in order, such as "slice,row,column".  May be left out for an array
            of two axes, which are "row,column".

    Raises:
        UsageError: another type, or an array without axes or voxel size.
        InputError: a file that cannot be used.
    """
    if isinstance(source, np.ndarray):
        return _image_of_array(source, voxel_size=voxel_size, axes=axes)
    for name, value in (("voxel_size", voxel_size), ("axes", axes)):
        if value is not None:
            raise UsageError(
                f"{name}: expected with an array only, an image or a file has its own; leave it out"
            )
    if isinstance(source, Image):
        return source
    if isinstance(source, str | os.PathLike):
        return read(source)
    raise UsageError(f"image: expected an Image, a path or a numpy array, got {type(source).__name__}")


def path_of(source: Input) -> Path | None:
    """Return the path of an input, None for images and arrays."""
    return Path(source) if isinstance(source, str | os.PathLike) else None


def _image_of_array(array: NDArray[Any], *, voxel_size: Sequence[float] | None, axes: str | None) -> Image:
    if array.dtype.kind not in "biufc":
        raise UsageError(f"image: expected an array of numbers, got one of {array.dtype}")
    if array.size == 0:
        raise UsageError(f"image: expected an array with voxels, got an empty one of shape {array.shape}")
    names = _names(axes, array.ndim, array.shape)
    missing = [name for name in AXES if name not in names]
    order = [names.index(name) for name in AXES if name in names]
    voxels = np.expand_dims(array.transpose(order), [AXES.index(name) for name in missing])
    sizes = _sizes(voxel_size, slices=voxels.shape[1])
    # A contiguous copy in single precision: later changes of the array do not change the image.
    kind = np.complex64 if np.iscomplexobj(voxels) else np.float32
    return Image(np.array(voxels, kind, order="C"), np.diag([*sizes, 1.0]))


def _names(axes: str | None, count: int, shape: tuple[int, ...]) -> list[str]:
    """Return the name of each of the `count` axes of an array."""
    if axes is None:
        if count == 2:
            return ["row", "column"]
        raise UsageError(
            f'axes: expected the names of the axes of an array of shape {shape}, such as "slice,row,column"'
        )
    if not isinstance(axes, str):
        raise UsageError(f'axes: expected text such as "slice,row,column", got {type(axes).__name__}')
    names = [name.strip() for name in axes.split(",")]
    if not {"row", "column"} <= set(names) <= set(AXES) or len(set(names)) < len(names):
        raise UsageError(
            f'axes "{axes}": expected row, column and, if there are any, slice and frame, each once'
        )
    if len(names) != count:
        raise UsageError(f'axes "{axes}": expected one name for each of {count} axes, shape {shape}')
    return names


def _sizes(voxel_size: Sequence[float] | None, *, slices: int) -> tuple[float, float, float]:
    """Return mm between slices, rows and columns."""
    if voxel_size is None:
        raise UsageError(f"voxel_size: expected {_SIZES} of an array, got none")
    try:
        sizes = [float(size) for size in voxel_size]
    except (TypeError, ValueError):
        raise UsageError(f"voxel_size {voxel_size}: expected {_SIZES}") from None
    if len(sizes) == 2 and slices > 1:
        raise UsageError(
            f"voxel_size {voxel_size}: expected (slice, row, column) of an array of {slices} slices"
        )
    if len(sizes) not in (2, 3) or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise UsageError(f"voxel_size {voxel_size}: expected {_SIZES}, each above 0")
    between, row, column = sizes if len(sizes) == 3 else [1.0, *sizes]
    return between, row, column
