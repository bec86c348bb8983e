"""Reader of NIfTI (.nii, .hdr with .img) and similar formats, compressed or not, with one copy of the voxels."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.geometry import Affine, through_plane_axis, voxel_sizes
from kfine.image import Image, Source
from kfine.io.checks import AIR, REFUSE, check_memory, check_voxels, without_nan
from kfine.io.nifti.companions import digest_of_files, halves_of, is_named_phase, is_restored
from kfine.io.nifti.header import GZIP_MAGIC, NiftiHeader, frame_timing, read_header
from kfine.io.nifti.other_formats import is_itk, is_mgh, read_itk, read_mgh_header
from kfine.text import clean_text, human_size

_CHUNK = 1 << 20  # voxels converted at a time
_SMALL = 1 << 28  # bytes
_MAX_RATIO = 1032  # the limit of deflate
_MAX_RATIO_LARGE = 100  # images reach 20; beyond this, and larger than _SMALL, is a decompression bomb
_SLACK = 1 << 16  # bytes: the largest accepted padding after the voxels


PLANES = ("sagittal", "coronal", "axial")  # normal to x, y, z of the world


def read_nifti(path: Path, *, plane: tuple[int, int] | str | None = None, nan: str = AIR) -> Image:
    """Return the image in `path`, a .nii or .nii.gz file, either file of a pair (.hdr, .img), a .mgh or .mgz file.

    The through-plane axis is the slice axis of the header (dim_info), else an axis of length 1, else the one with the
    spacing that differs from the other two.  Of the other axes, the first in the file is the column.  `plane` is one of
    `PLANES`, or the file's (row, column) axes, each 0, 1 or 2.

    Frame times (s) are evenly spaced: pixdim[4] from toffset on.  The format has no field for the period of a cine: it
    is read from kfine's note in `descrip`, and None without one.

    nan: "air" replaces NaN outside the field of view by 0; "refuse" raises.

    Raises:
        UsageError: `plane` is not two different axes.
        InputError: damaged, truncated, promising more than the file can contain, not finite, singular, constant.
        ResourceError: larger than the machine's memory.
        OSError: the system cannot read it.
    """
    name = clean_text(path.name)
    header, stored = _stored(path, name)
    stored, remarks = without_nan(stored, name=name, strict=nan == REFUSE)
    check_voxels(stored, name=name)
    through, row, column = _axes(header, plane)
    order = (through, row, column)
    times, period = frame_timing(header, name)
    matrix = (header.shape[row], header.shape[column])
    return Image(
        stored.transpose(3, *order),
        affine=_permuted(header.affine, order),
        frame_times=times,
        period=period,
        source=Source(
            kind="nifti",
            name=name,
            digest=digest_of_files(path),
            axis_order=(order.index(0), order.index(1), order.index(2)),
            derived=is_restored(path, bytes(header.raw["descrip"].item()), matrix),
            remarks=(*header.remarks, *remarks),
            component="P" if is_named_phase(path) else "",
            space_code=header.space_code,
        ),
    )


def _stored(path: Path, name: str) -> tuple[NiftiHeader, NDArray[Any]]:
    """Return the header and the scaled voxels of a file or a pair of files."""
    with path.open("rb") as file:
        start = file.read(540)
    if is_mgh(path, start):
        with _opened(path, name) as (file, compressed):
            header = read_mgh_header(file, name)
            _check_promise(header, name, size=path.stat().st_size, compressed=compressed)
            return header, _read_voxels(file, header, name)
    if is_itk(start):
        with _opened(path, name) as (file, _):
            header, stream = read_itk(file, name)
            _check_promise(header, name, size=path.stat().st_size, compressed=stream is not file)
            return header, _read_voxels(stream, header, name)
    halves = halves_of(path)
    if halves is None:
        with _opened(path, name) as (file, compressed):
            header = read_header(file, name)
            _check_promise(header, name, size=path.stat().st_size, compressed=compressed)
            return header, _read_voxels(file, header, name)
    first, second = halves
    with _opened(first, name) as (file, _):
        header = read_header(file, name, pair=True)
    name = clean_text(second.name)
    with _opened(second, name) as (file, compressed):
        _check_promise(header, name, size=second.stat().st_size, compressed=compressed)
        return header, _read_voxels(file, header, name)


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[BinaryIO, bool]]:
    """Yield the decompressed stream and whether it was compressed; damage raises `InputError`."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        try:
            if not compressed:
                yield raw, False
                return
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                yield cast(BinaryIO, stream), True
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            what = "truncated" if isinstance(error, EOFError) else "damaged"
            raise InputError(
                f"{name}: {what}: its compressed data cannot be read; copy the file again"
            ) from None


def _check_promise(header: NiftiHeader, name: str, *, size: int, compressed: bool) -> None:
    """Refuse a header that promises more than the file can contain, before allocation."""
    ratio = _MAX_RATIO if header.promised <= _SMALL else _MAX_RATIO_LARGE
    if header.promised > (size * ratio if compressed else size):
        raise InputError(
            f"{name}: truncated or damaged: the header promises {human_size(header.promised)}, "
            f"{human_size(size)} on disk are too small for that; copy the file again"
        )
    item = 8 if header.dtype.kind == "c" else 4
    check_memory(header.voxels * item, name=name)


def _read_voxels(file: BinaryIO, header: NiftiHeader, name: str) -> NDArray[Any]:
    """Return the scaled voxels (i, j, k, t), float32 or complex64."""
    kind: type[np.generic] = np.complex64 if header.dtype.kind == "c" else np.float32
    _read_exactly(file, header.offset - header.size, name)
    voxels = np.empty(header.voxels, dtype=kind)
    scaled = (header.slope, header.intercept) != (1.0, 0.0)
    for first in range(0, voxels.size, _CHUNK):
        count = min(_CHUNK, voxels.size - first)
        part = np.frombuffer(_read_exactly(file, count * header.dtype.itemsize, name), dtype=header.dtype)
        # a float64 beyond float32 becomes Inf here and is refused by check_voxels
        with np.errstate(over="ignore", invalid="ignore"):
            voxels[first : first + count] = part * header.slope + header.intercept if scaled else part
    # reading to the end makes gzip verify its checksum
    if len(file.read(_SLACK + 1)) > _SLACK:
        raise InputError(
            f"{name}: the file continues after the {human_size(header.promised)} that its header promises: "
            "header and voxels do not belong together; write the file again"
        )
    return voxels.reshape(header.shape, order="F")


def _read_exactly(file: BinaryIO, count: int, name: str) -> bytes | bytearray:
    """Return `count` bytes; memory grows with the content of the file, not with the promised size."""
    data = bytearray()
    while len(data) < count:
        part = file.read(min(count - len(data), 1 << 24))
        if not part:
            raise InputError(f"{name}: truncated: voxels are missing at its end; copy the file again")
        data += part
    return data


def _axes(header: NiftiHeader, plane: tuple[int, int] | str | None) -> tuple[int, int, int]:
    """Return the file axes (through plane, row, column)."""
    if isinstance(plane, str):
        through = _across(header.affine, plane)
        column, row = (axis for axis in range(3) if axis != through)
        return through, row, column
    if plane is not None:
        if len(set(plane)) != 2 or not set(plane) <= {0, 1, 2}:
            raise UsageError(f"plane: expected two different axes out of 0, 1 and 2, got {plane}")
        return 3 - sum(plane), plane[0], plane[1]
    spacings = voxel_sizes(header.affine)
    single = [axis for axis in range(3) if header.shape[axis] == 1]
    noted = header.raw.get_dim_info()[2]
    if noted is not None:
        through = int(noted)
    elif single:
        through = max(single, key=lambda axis: (spacings[axis], axis))
    else:
        through = through_plane_axis(spacings)
    column, row = (axis for axis in range(3) if axis != through)
    return through, row, column


def _across(affine: Affine, plane: str) -> int:
    """Return the file axis nearest to the normal of an anatomical plane."""
    if plane not in PLANES:
        raise UsageError(f"plane {plane!r}: expected {', '.join(PLANES)}, or two axes of the file")
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    return int(directions[PLANES.index(plane)].argmax())


def _permuted(affine: Affine, order: tuple[int, int, int]) -> Affine:
    """Return the affine of (slice, row, column) from that of the file's axes."""
    return affine[:, [*order, 3]]
