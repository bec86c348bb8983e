"""Checks of all readers, before and after they read voxels."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, ResourceError, UsageError
from kfine.text import human_size

AIR, REFUSE = "air", "refuse"  # treatment of NaN outside the field of view
_THIN = 2  # slices: with so few, all would be at the border


def check_voxels(voxels: NDArray[Any], *, name: str = "image") -> NDArray[Any]:
    """Return `voxels` of any shape, or raise `InputError` if they are not finite or all equal."""
    if voxels.size == 0:
        raise InputError(f"{name}: expected voxels, got an empty array of shape {voxels.shape}")
    check_finite(voxels, name=name)
    if (voxels == voxels.flat[0]).all():
        raise InputError(f"{name}: constant image: nothing to restore; check that this is the right file")
    return voxels


def without_nan(
    voxels: NDArray[Any], *, name: str, strict: bool = False
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return `voxels` (three spatial axes, then time) with 0 for NaN outside the field of view, and remarks.

    Programs that resample write NaN outside the source image.  These voxels are connected to the border of the volume,
    or of the slice if there are few slices.  NaN elsewhere stays and is refused by `check_finite`.

    strict: whether all NaN stay.

    Warns:
        UserWarning: number of voxels taken as air.
    """
    missing = np.isnan(voxels)
    if strict or not missing.any() or missing.all():
        return voxels, ()
    outside = np.stack([_outside(missing[..., t]) for t in range(missing.shape[-1])], axis=-1)
    count = int(np.count_nonzero(outside))
    if not count:
        return voxels, ()
    remark = f"NaN outside the field of view in {count} of {voxels.size} voxels, taken as air (0)"
    warnings.warn(f"{name}: {remark}; nan='refuse' stops at them", UserWarning, stacklevel=2)
    return np.where(outside, np.zeros((), voxels.dtype), voxels), (remark,)


def _outside(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of `missing` that are connected to the border of the volume."""
    from scipy.ndimage import label

    parts, count = label(missing)
    at_border = np.zeros(count + 1, dtype=bool)
    for axis, length in enumerate(missing.shape):
        if length > _THIN:
            at_border[np.unique(parts.take([0, length - 1], axis=axis))] = True
    at_border[0] = False
    return np.asarray(at_border[parts])


def check_finite(voxels: NDArray[Any], *, name: str) -> None:
    """Raise `InputError` if `voxels` contain NaN or infinite values."""
    bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    if bad:
        raise InputError(
            f"{name}: expected finite voxels, got NaN or Inf in {bad} of {voxels.size}; replace them first"
        )


def check_nan(nan: str) -> None:
    """Raise `UsageError` unless `nan` is `AIR` or `REFUSE`."""
    if nan not in (AIR, REFUSE):
        raise UsageError(f"nan={nan!r}: expected {AIR!r} or {REFUSE!r}")


def check_memory(n_bytes: int, *, name: str) -> None:
    """Raise `ResourceError` if `n_bytes` exceed the machine's memory, whose use would end the process."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows: the allocation itself fails there
        return
    if n_bytes > available:
        raise ResourceError(
            f"{name}: needs {human_size(n_bytes)} of memory, this machine has {human_size(available)}; "
            "use a larger machine or cut the file into parts"
        )


def digest_of(path: Path) -> str:
    """Return the SHA-256 of the bytes of the file at `path`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
