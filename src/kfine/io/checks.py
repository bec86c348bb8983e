"""Checks of every reader, before and after it takes in the voxels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, ResourceError
from kfine.text import human_size


def check_voxels(voxels: NDArray[Any], *, name: str = "image") -> NDArray[Any]:
    """Return `voxels` of any shape, or raise `InputError` if they are not finite or all equal."""
    if voxels.size == 0:
        raise InputError(f"{name}: expected voxels, got an empty array of shape {voxels.shape}")
    check_finite(voxels, name=name)
    if (voxels == voxels.flat[0]).all():
        raise InputError(f"{name}: constant image: nothing to restore; check that this is the right file")
    return voxels


def check_finite(voxels: NDArray[Any], *, name: str) -> None:
    """Raise `InputError` if there is a NaN or an infinite value in `voxels`."""
    bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    if bad:
        raise InputError(
            f"{name}: expected finite voxels, got NaN or Inf in {bad} of {voxels.size}; replace them first"
        )


def check_memory(n_bytes: int, *, name: str) -> None:
    """Raise `ResourceError` if `n_bytes` exceed the machine's memory: touching them would kill us."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf: allocation itself then says no
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
