"""Complex k-space in `.npy` files: centred (index n // 2 is the origin), orthonormal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.image import Image, Source
from kfine.io.checks import check_memory, check_voxels, clean_text, digest_of


def read_kspace(path: Path) -> Image:
    """Return the complex image of the k-space in `path`, shape (row, column), (slice, row, column) or 4-D.

    A 4-D array is (frame, slice, row, column).  The file holds no geometry, so voxels are taken as 1 mm, with
    a warning.

    Raises:
        InputError: not complex, pickled, truncated, not finite or zero throughout.
    """
    name = clean_text(path.name)
    kspace = _open_array(path, name)
    if kspace.dtype.kind != "c":
        raise InputError(
            f"{name}: expected complex k-space, got {kspace.dtype}; save an image as NIfTI, "
            "or its k-space as complex64"
        )
    if not 2 <= kspace.ndim <= 4 or 0 in kspace.shape:
        raise InputError(
            f"{name}: expected axes (row, column), (slice, row, column) or (frame, slice, row, column), "
            f"got shape {kspace.shape}; combine coils and drop other axes first"
        )
    kspace = kspace.reshape((1,) * (4 - kspace.ndim) + kspace.shape)
    check_memory(2 * 8 * kspace.size, name=name)
    voxels = np.empty(kspace.shape, dtype=np.complex64)
    for frame, plane_stack in enumerate(kspace):
        voxels[frame] = _inverse(plane_stack, name)
    check_voxels(voxels, name=name)
    warnings.warn(f"{name}: .npy holds no voxel size: taken as 1 mm", UserWarning, stacklevel=2)
    return Image(voxels, source=Source(kind="kspace", name=name, digest=digest_of(path)))


def write_kspace(image: Image, file: BinaryIO) -> None:
    """Write the k-space of a complex `image` to `file`, leading axes of length 1 left out."""
    import torch

    from kfine.operators.fourier import fft2c

    if not image.measured:
        raise UsageError(".npy holds measured k-space and this image is real: write it as .nii.gz")
    if not np.array_equal(image.affine, np.eye(4)):
        warnings.warn(".npy holds no geometry: the affine is not written", UserWarning, stacklevel=2)
    kspace = np.stack([fft2c(torch.from_numpy(frame.copy())).numpy() for frame in image.voxels])
    while kspace.ndim > 2 and kspace.shape[0] == 1:
        kspace = kspace[0]
    np.save(file, kspace.astype("<c8", copy=False), allow_pickle=False)


def _open_array(path: Path, name: str) -> NDArray[Any]:
    """Return the array as a memory map, which refuses a header that promises more than the file holds."""
    try:
        with np.errstate(over="ignore"):
            return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except Exception:  # numpy evaluates the header as a Python literal: damage to it surfaces as anything
        raise InputError(
            f"{name}: expected a whole .npy file of complex numbers, got one that is truncated, damaged or "
            "holds Python objects; write it again with numpy.save"
        ) from None


def _inverse(kspace: NDArray[Any], name: str) -> NDArray[np.complex64]:
    import torch

    from kfine.operators.fourier import ifft2c

    with np.errstate(over="ignore"):
        kspace = kspace.astype(np.complex64)
    if not np.isfinite(kspace).all():
        raise InputError(f"{name}: expected finite k-space, got NaN or Inf; replace them with zeros first")
    return ifft2c(torch.from_numpy(kspace)).numpy()  # type: ignore[no-any-return]
