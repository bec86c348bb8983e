"""NIfTI-1 output: float32 and complex64, with reproducible bytes."""

from __future__ import annotations

import gzip
import warnings
from typing import Any, BinaryIO

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
    if compressed:
        with packed(file) as stream:
            stream.write(header)
            write_voxels(image, stream)
    else:
        file.write(header)
        write_voxels(image, file)


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
    header["pixdim"][4], header["toffset"] = mean_step(times), times[0]


def mean_step(times: tuple[float, ...]) -> float:
    """Return the mean duration of a frame, with a warning if frames are not evenly spaced."""
    step = float(times[-1] - times[0]) / (len(times) - 1)
    even = times[0] + step * np.arange(len(times))
    if not np.allclose(times, even, rtol=0, atol=_UNEVEN):
        warnings.warn(
            "the format stores only evenly spaced frames: their mean duration is written",
            UserWarning,
            stacklevel=2,
        )
    return step


def packed(file: BinaryIO) -> gzip.GzipFile:
    """Return a stream that compresses to `file` with reproducible bytes."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0)


def write_voxels(image: Image, file: BinaryIO | gzip.GzipFile) -> None:
    """Write the voxels of `image` to `file` in the axis order of its source file, plane by plane."""
    i, j, k = (1 + axis for axis in image.source.axis_order)
    ordered = image.voxels.transpose(0, k, j, i)  # row-major here, column-major in the file
    little = ordered.dtype.newbyteorder("<")
    for frame in ordered:
        for plane in frame:
            file.write(np.ascontiguousarray(plane, dtype=little).tobytes())
