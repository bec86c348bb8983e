"""FreeSurfer's MGH format (.mgh, packed .mgz): its header in the terms of NIfTI, whose reader takes the voxels in."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kfine.errors import InputError
from kfine.geometry import check_affine
from kfine.io.nifti.header import GZIP_MAGIC, NiftiHeader

SIZE = 284  # bytes of a header, fields that are not used included
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_START = np.array([1], ">i4").tobytes()  # the version


def is_mgh(path: Path, start: bytes) -> bool:
    """Return whether a file that begins with `start` is MGH, or packed MGH; False of a damaged one."""
    if start.startswith(GZIP_MAGIC):
        try:
            with gzip.open(path) as file:
                start = file.read(SIZE)
        except (OSError, EOFError, zlib.error):
            return False
    if len(start) < SIZE or not start.startswith(_START):
        return False
    numbers = np.frombuffer(start[:28], ">i4")
    return int(numbers[5]) in _TYPES and bool((numbers[1:5] > 0).all())


def read_mgh_header(file: BinaryIO, name: str) -> NiftiHeader:
    """Return the header at the start of `file`, which is left right behind it.

    Raises:
        InputError: not such a header, or one that no real image can have.
    """
    import nibabel
    from nibabel.freesurfer.mghformat import MGHHeader, footer_dtype, header_dtype

    start = file.read(SIZE)
    numbers = np.frombuffer(start[:28].ljust(28, b"\0"), ">i4")
    if len(start) < SIZE or int(numbers[5]) not in _TYPES or (numbers[1:5] <= 0).any():
        raise InputError(
            f"{name}: expected a FreeSurfer MGH header, got something else; convert it with mri_convert"
        )
    i, j, k, t = (int(n) for n in numbers[1:5])
    raw = nibabel.Nifti1Header()
    raw["sform_code"] = 1
    used = start[: header_dtype.itemsize] + bytes(footer_dtype.itemsize)
    try:
        affine = MGHHeader(used, check=False).get_affine()
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        raise InputError(
            f"{name}: the header's orientation cannot be read; write it again with mri_convert"
        ) from None
    return NiftiHeader(
        raw=raw,
        shape=(i, j, k, t),
        time_axis=t > 1,
        dtype=np.dtype(_TYPES[int(numbers[5])]),
        size=SIZE,
        offset=SIZE,
        slope=1.0,
        intercept=0.0,
        affine=check_affine(np.array(affine, dtype=np.float64), where=name),
        period=None,
    )
