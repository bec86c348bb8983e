"""NIfTI-1 output: float32 or complex64, with reproducible bytes."""

from __future__ import annotations

import gzip
import warnings
from typing import Any, BinaryIO, cast

import numpy as np

from kfine.errors import UsageError
from kfine.geometry import Affine
from kfine.image import Image
from kfine.io.nifti.header import period_note

_OFFSET = 352  # header, and four zero bytes: no extensions
_MILLIMETRES_SECONDS = 2 | 8
_LEVEL = 4  # higher levels take several times as long for 1-2 % of the size, since noise does not compress
_UNEVEN = 1e-3  # s: scanners round trigger times to whole milliseconds
_ORTHOGONAL = 1e-4  # DICOM positions are rounded; the qform stays within 0.05 mm over a field of view


def write_nifti(image: Image, file: BinaryIO, *, compressed: bool, description: str | None = None) -> None:
    """Write `image` to `file` in the axis order of its source file.

    The period of a cine is written to the header's `descrip`, after `description`, which is shortened if necessary.

    Warns:
        UserWarning: coverage or uneven frame times are lost.

    Raises:
        UsageError: an axis too long for NIfTI-1.
    """
    if max(image.voxels.shape) > 32767:
        raise UsageError(
            f"expected at most 32767 points along an axis of a NIfTI file, got shape {image.voxels.shape}; "
            "write the image in parts"
        )
    if image.coverage is not None:
        warnings.warn(
            "NIfTI stores no coverage: k-space that was not measured will be read as measured zeros; .npy preserves "
            "the difference",
            UserWarning,
            stacklevel=2,
        )
    header = _header(image, description).binaryblock + bytes(4)
    if not compressed:
        _write_parts(image, file, header)
        return
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as stream:
        _write_parts(image, cast(BinaryIO, stream), header)


def _header(image: Image, description: str | None) -> Any:
    import nibabel

    i, j, k = image.source.axis_order
    affine: Affine = image.affine[:, [i, j, k, 3]]
    shape = tuple(image.voxels.shape[1 + axis] for axis in (i, j, k))
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(np.complex64 if image.measured else np.float32)
    header.set_data_shape(shape if image.frames == 1 else (*shape, image.frames))
    # pixels may be larger than the slice spacing, so the slice axis is written
    header.set_dim_info(slice=image.source.axis_order.index(0))
    code = image.source.space_code
    header.set_sform(affine, code=code)
    # a quaternion cannot represent shear: qform code 0 then leaves the sform alone
    header.set_qform(affine, code=0 if _sheared(affine) else code)
    header["xyzt_units"] = _MILLIMETRES_SECONDS
    header["vox_offset"] = _OFFSET
    header["scl_slope"], header["scl_inter"] = 1, 0
    note = "" if image.period is None or image.frames == 1 else period_note(image.period)
    text = (description or "kfine").encode("ascii", "replace")
    header["descrip"] = text[: 79 - len(note)] + note.encode()
    if image.frames > 1:
        _set_times(header, image.frame_times)
    return header


def _sheared(affine: Affine) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=_ORTHOGONAL)


def _set_times(header: Any, times: tuple[float, ...] | None) -> None:
    if times is None:
        header["pixdim"][4] = 0
        header["xyzt_units"] = _MILLIMETRES_SECONDS & 7  # no unit of time: an unknown duration, not 0
        return
    step = (times[-1] - times[0]) / (len(times) - 1)
    even = times[0] + step * np.arange(len(times))
    if not np.allclose(times, even, rtol=0, atol=_UNEVEN):
        warnings.warn(
            "NIfTI stores only evenly spaced frames: their mean duration is written",
            UserWarning,
            stacklevel=2,
        )
    header["pixdim"][4], header["toffset"] = step, times[0]


def _write_parts(image: Image, file: BinaryIO, header: bytes) -> None:
    file.write(header)
    i, j, k = (1 + axis for axis in image.source.axis_order)
    ordered = image.voxels.transpose(0, k, j, i)  # row-major here, column-major in the file
    little = ordered.dtype.newbyteorder("<")
    for frame in ordered:
        for plane in frame:
            file.write(np.ascontiguousarray(plane, dtype=little).tobytes())
