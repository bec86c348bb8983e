"""Complex k-space in `.npy` files: centred (origin at index n // 2), orthonormal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.files.contents import digest_of
from kfine.image import Image
from kfine.io.kspace.axes import check_coils
from kfine.io.kspace.reconstruct import image_of_scan
from kfine.io.kspace.scan import SENSITIVITIES, RawScan, check_combine
from kfine.text import clean_text


def read_kspace(path: Path, *, coil_axis: int | None = None, combine: str = SENSITIVITIES) -> Image:
    """Return the image of the k-space in `path`, shape (row, column), (slice, row, column) or 4-D.

    A 4-D array is (frame, slice, row, column); one more axis may be that of the coils.  The file has no geometry:
    voxels of 1 mm, with a warning.

    Args:
        path: a .npy file.
        coil_axis: axis of the coils, counted from 0 or, negative, from the end; None: one coil.
        combine: method of coil combination, see `kfine.io.kspace.reconstruct.image_of_scan`.

    Warns:
        UserWarning: the voxel size is unknown; coverage and coils of the scan.

    Raises:
        UsageError: no such axis or method.
        ResourceError: larger than the machine's memory.
        InputError: not complex, pickled, truncated, not finite, all zero, coils on another axis than `coil_axis`, or
            see `image_of_scan`.
    """
    check_combine(combine)
    name = clean_text(path.name)
    kspace = _open_array(path, name)
    if kspace.dtype.kind != "c":
        raise InputError(
            f"{name}: expected complex k-space, got {kspace.dtype}; save an image as NIfTI, "
            "or its k-space as complex64"
        )
    ordered = _with_axes(kspace, coil_axis, name)
    check_coils(ordered, coil_axis, kspace.shape, name=name)
    scan = RawScan.of_array(ordered, name, digest_of(path))
    image = image_of_scan(scan, combine=combine)
    several = coil_axis is None and kspace.ndim > 2
    axes = "; other axes are taken as slices and frames, for coils use coil_axis" if several else ""
    warnings.warn(f"{name}: .npy stores no voxel size: 1 mm is assumed{axes}", UserWarning, stacklevel=2)
    return image


def write_kspace(image: Image, file: BinaryIO) -> None:
    """Write the k-space of a complex `image` to `file` without leading axes of length 1; 0 where it is not covered.

    Warns:
        UserWarning: an affine or times, which the format cannot store.

    Raises:
        UsageError: a real image.
    """
    import torch

    from kfine.operators.fourier import fft2c

    if not image.measured:
        raise UsageError(".npy stores measured k-space and this image is real: write it as .nii.gz")
    if not np.array_equal(image.affine, np.eye(4)):
        warnings.warn(".npy stores no geometry: the affine is not written", UserWarning, stacklevel=2)
    if image.frames > 1 and image.frame_times is not None:
        warnings.warn(
            ".npy stores no times: frame times and period are not written", UserWarning, stacklevel=2
        )
    kspace = np.stack([fft2c(torch.from_numpy(frame.copy())).numpy() for frame in image.voxels])
    if image.coverage is not None:
        kspace *= image.coverage  # exactly 0, by which a reader detects the coverage
    while kspace.ndim > 2 and kspace.shape[0] == 1:
        kspace = kspace[0]
    np.save(file, kspace.astype("<c8", copy=False), allow_pickle=False)


def _open_array(path: Path, name: str) -> NDArray[Any]:
    """Return the array as a memory map, which refuses a header that promises more than the file contains."""
    try:
        with np.errstate(over="ignore"):
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except Exception:  # numpy evaluates the header as a Python literal: damage can raise any exception
        raise InputError(
            f"{name}: expected a whole .npy file of complex numbers, got one that is truncated, damaged or "
            "contains Python objects; write it again with numpy.save"
        ) from None


def _with_axes(kspace: NDArray[Any], coil_axis: int | None, name: str) -> NDArray[Any]:
    """Return a view (frame, slice, coil, row, column)."""
    if coil_axis is not None and not -kspace.ndim <= coil_axis < kspace.ndim:
        raise UsageError(
            f"coil axis {coil_axis}: expected one of the {kspace.ndim} axes of {name}, counted from 0"
        )
    others = kspace.ndim - (coil_axis is not None)
    if not 2 <= others <= 4 or 0 in kspace.shape:
        raise InputError(
            f"{name}: expected axes (row, column), (slice, row, column) or (frame, slice, row, column), and one more "
            f"for coils, got shape {kspace.shape}; name the coils' axis with coil_axis and drop other axes first"
        )
    kspace = kspace[None] if coil_axis is None else np.moveaxis(kspace, coil_axis, 0)
    coils, *stack, rows, columns = kspace.shape
    kspace = kspace.reshape(coils, *(1,) * (2 - len(stack)), *stack, rows, columns)
    return np.moveaxis(kspace, 0, 2)
