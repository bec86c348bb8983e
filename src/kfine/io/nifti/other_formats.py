"""MetaImage (.mha) and NRRD (.nrrd), input and output, and headers of FreeSurfer's MGH.

Headers become NIfTI headers, and the NIfTI reader reads the voxels.  MetaImage and NRRD headers with voxels in another
file are refused.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.geometry import LPS_TO_RAS, Affine, check_affine
from kfine.image import Image
from kfine.io.nifti.header import GZIP_MAGIC, NiftiHeader, itk_notes, noted_period, read_itk_notes
from kfine.io.nifti.writer import mean_step, packed, write_voxels

_LONGEST = 1 << 16  # bytes of a header
_META = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NRRD = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "int16": "i2", "int16_t": "i2", "ushort": "u2",
    "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "float": "f4", "double": "f8",
}  # fmt: skip
_LPS = np.array([*LPS_TO_RAS, 1.0])
_SPACES = {
    "left-posterior-superior": _LPS, "lps": _LPS, "right-anterior-superior": np.ones(4), "ras": np.ones(4),
}  # fmt: skip
_UNITS = {"s": 8, "sec": 8, "ms": 16, "msec": 16}  # of NRRD, as codes of NIfTI
_RAW, _GZIP, _ZLIB = "raw", "gzip", "zlib"

_MGH_SIZE = 284  # bytes of an MGH header with its unused fields
_MGH_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_MGH_START = np.array([1], ">i4").tobytes()  # the version number


def is_itk(start: bytes) -> bool:
    """Return whether a file that begins with `start` is MetaImage or NRRD."""
    return start.startswith(b"NRRD000") or re.match(rb"(ObjectType|NDims)\s*=", start) is not None


def read_itk(file: BinaryIO, name: str) -> tuple[NiftiHeader, BinaryIO]:
    """Return the header at the start of `file`, and the stream of the voxels after it.

    Raises:
        InputError: not such a header, an impossible one, or voxels in another file.
    """
    start = file.read(_LONGEST)
    try:
        nrrd = start.startswith(b"NRRD000")
        fields, offset = _nrrd_fields(start) if nrrd else _meta_fields(start)
        shape, dtype, affine, packing = (_nrrd if nrrd else _meta)(fields, name)
        raw = _times(shape, *(_nrrd_time if nrrd else _meta_time)(fields))
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            raise ValueError("a matrix of other than 1 to 4 axes")
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, UnicodeError):
        raise InputError(
            f"{name}: expected the header of an image of grey values in .mha or .nrrd, got one that is damaged or of "
            "another kind; convert it to NIfTI"
        ) from None
    raw["descrip"] = fields.get("content" if nrrd else "Comment", "").encode("ascii", "replace")[:79]
    read_itk_notes(raw)
    return _header(raw, shape, dtype, affine, name), _stream(file, offset, packing)


def _times(shape: tuple[int, ...], step: float, start: float, unit: int) -> Any:
    """Return a NIfTI header with these times of the fourth axis."""
    import nibabel

    raw = nibabel.Nifti1Header()
    raw["sform_code"] = 1
    if len(shape) > 3:
        raw["pixdim"][4], raw["toffset"], raw["xyzt_units"] = step, start, 2 | unit
    return raw


def _meta_time(fields: dict[str, str]) -> tuple[float, float, int]:
    """Return step and start of the fourth axis, and the code of their unit, which the format does not have."""
    step, start = (fields.get(key, "").split()[3:] for key in ("ElementSpacing", "Offset"))
    return float(step[0]) if step else 1.0, float(start[0]) if start else 0.0, 0


def _nrrd_time(fields: dict[str, str]) -> tuple[float, float, int]:
    """Return step and start of the fourth axis, and the code of their unit (0: unknown)."""
    step, start = (fields.get(key, "").split()[3:] for key in ("spacings", "axis mins"))
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))[3:]
    first = float(start[0]) if start else 0.0
    unit = _UNITS.get(units[0], 0) if units else 0
    return float(step[0]) if step else 1.0, first if np.isfinite(first) else 0.0, unit


def _header(
    raw: Any, shape: tuple[int, ...], dtype: np.dtype[Any], affine: NDArray[np.float64], name: str
) -> NiftiHeader:
    i, j, k, t = (*shape, 1, 1, 1)[:4]
    return NiftiHeader(
        raw=raw, shape=(i, j, k, t), time_axis=t > 1, dtype=dtype, size=0, offset=0, slope=1.0, intercept=0.0,
        affine=check_affine(affine, where=name), period=noted_period(raw),
    )  # fmt: skip


def _meta_fields(start: bytes) -> tuple[dict[str, str], int]:
    fields, at = dict[str, str](), 0
    while "ElementDataFile" not in fields:
        end = start.index(b"\n", at)
        key, _, value = start[at:end].decode("ascii").partition("=")
        fields[key.strip()] = value.strip()
        at = end + 1
    return fields, at


def _meta(
    fields: dict[str, str], name: str
) -> tuple[tuple[int, ...], np.dtype[Any], NDArray[np.float64], str]:
    if fields["ElementDataFile"] != "LOCAL":
        raise _elsewhere(name)
    shape = tuple(int(n) for n in fields["DimSize"].split())
    if len(shape) != int(fields["NDims"]) or int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise ValueError("colour")
    count = len(shape)
    large = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    matrix = np.eye(count)
    for key in ("TransformMatrix", "Orientation", "Rotation"):
        if key in fields:
            matrix = np.array([float(x) for x in fields[key].split()]).reshape(count, count)
    sizes = [float(x) for x in fields.get("ElementSpacing", fields.get("ElementSize", "1 " * count)).split()]
    origin = [
        float(x)
        for x in fields.get("Offset", fields.get("Position", fields.get("Origin", "0 " * count))).split()
    ]
    packed = fields.get("CompressedData", "False").lower() == "true"
    dtype = np.dtype((">" if large else "<") + _META[fields["ElementType"]])
    steps = matrix.T * np.array(sizes)  # the file lists the axes one by one
    return (
        shape,
        dtype,
        _LPS[:, None] * _affine(steps, origin, min(count, 3)),
        _ZLIB if packed else _RAW,
    )


def _nrrd_fields(start: bytes) -> tuple[dict[str, str], int]:
    end = re.search(rb"\r?\n\r?\n", start)
    if end is None:
        raise ValueError("no end of the header")
    fields = {}
    for line in start[: end.start()].decode("ascii", "replace").splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields, end.end()


def _nrrd(
    fields: dict[str, str], name: str
) -> tuple[tuple[int, ...], np.dtype[Any], NDArray[np.float64], str]:
    if "data file" in fields or "datafile" in fields:
        raise _elsewhere(name)
    shape = tuple(int(n) for n in fields["sizes"].split())
    if len(shape) != int(fields["dimension"]):
        raise ValueError("sizes")
    packing = {"raw": _RAW, "gzip": _GZIP, "gz": _GZIP}[fields["encoding"].lower()]
    kind = _NRRD[fields["type"].lower()]
    large = fields.get("endian", "little").lower() == "big"
    count = min(len(shape), 3)
    if "space directions" in fields:
        flip = _SPACES[fields["space"].lower()]
        words = re.findall(r"\([^)]*\)|none", fields["space directions"])
        if len(words) != len(shape) or "none" in words[:count]:
            raise ValueError("axes that are no directions first")
        steps = np.array([_vector(word) for word in words[:count]]).T
        origin = _vector(fields.get("space origin", "(0,0,0)"))
        return (
            shape,
            np.dtype((">" if large else "<") + kind),
            flip[:, None] * _affine(steps, origin, count),
            packing,
        )
    sizes = [float(x) for x in fields.get("spacings", "1 " * len(shape)).split()][:count]
    return (
        shape,
        np.dtype((">" if large else "<") + kind),
        _affine(np.diag(sizes), [0.0] * count, count),
        packing,
    )


def _vector(text: str) -> list[float]:
    return [float(x) for x in text.strip("()").split(",")]


def _affine(steps: NDArray[np.float64], origin: list[float], count: int) -> NDArray[np.float64]:
    """Return the affine of steps (world, axis); missing axes are those of the identity."""
    affine = np.eye(4)
    affine[:count, :count] = steps[:count, :count]
    affine[:count, 3] = origin[:count]
    return affine


def _stream(file: BinaryIO, offset: int, packing: str) -> BinaryIO:
    file.seek(offset)
    if packing == _GZIP:
        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]
    return _Inflated(file) if packing == _ZLIB else file  # type: ignore[return-value]


class _Inflated:
    """Decompressed zlib stream, in parts of the requested size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._inflate = file, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes, none at the end."""
        while not self._inflate.eof:
            part = self._inflate.unconsumed_tail or self._file.read(1 << 16)
            if not part:
                raise EOFError
            found = self._inflate.decompress(part, count)
            if found:
                return found
        return b""


def _elsewhere(name: str) -> InputError:
    return InputError(
        f"{name}: expected voxels after the header, got a header that names another file; convert both to NIfTI"
    )


def write_itk(image: Image, file: BinaryIO, *, nrrd: bool, description: str | None = None) -> None:
    """Write `image` to `file` as NRRD (compressed) or MetaImage, in the axis order of its source file.

    Directions and origin are in LPS, in full precision.  Notes after `description` (`itk_notes`) hold what the formats
    have no field for.  Neither library that writes them (pynrrd, ITK) makes the same bytes twice or writes by parts.

    Warns:
        UserWarning: uneven frame times are lost.

    Raises:
        UsageError: a complex image.
    """
    if image.measured:
        raise UsageError(
            "expected a real image for .nrrd and .mha, got a complex one; write .nii.gz, or .npy for its k-space"
        )
    order = image.source.axis_order
    lps = np.array([*LPS_TO_RAS, 1.0])[:, None] * image.affine[:, [*order, 3]]
    shape = [image.voxels.shape[1 + axis] for axis in order] + [image.frames] * (image.frames > 1)
    times = None if image.frames == 1 else image.frame_times
    notes = itk_notes(order.index(0), timed=times is not None, period=image.period if times else None)
    text = (description or "kfine").encode("ascii", "replace").decode()[: 79 - len(notes)] + notes
    step = None if times is None else mean_step(times)
    start = 0.0 if times is None else float(times[0])
    if nrrd:
        file.write(_nrrd_header(lps, shape, text, step=step, start=start))
        with packed(file) as stream:
            write_voxels(image, stream)
    else:
        file.write(_meta_header(lps, shape, text, step=step, start=start))
        write_voxels(image, file)


def _nrrd_header(lps: Affine, shape: list[int], text: str, *, step: float | None, start: float) -> bytes:
    time = len(shape) > 3
    lines = [
        "NRRD0005",
        f"content: {text}",
        "type: float",
        f"dimension: {len(shape)}",
        "space: left-posterior-superior",
        f"sizes: {_words(shape)}",
        f"space directions: {' '.join(_bracketed(lps[:3, axis]) for axis in range(3))}{' none' * time}",
        f"kinds: domain domain domain{' list' * time}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_bracketed(lps[:3, 3])}",
    ]
    if step is not None:
        lines += [
            f"spacings: nan nan nan {step!r}",
            f"axis mins: nan nan nan {start!r}",
            'units: "" "" "" "s"',
        ]
    return "\n".join([*lines, "", ""]).encode()


def _meta_header(lps: Affine, shape: list[int], text: str, *, step: float | None, start: float) -> bytes:
    sizes = np.linalg.norm(lps[:3, :3], axis=0)
    matrix = np.eye(len(shape))
    matrix[:3, :3] = lps[:3, :3] / sizes
    time = len(shape) > 3
    lines = {
        "ObjectType": "Image",
        "NDims": len(shape),
        "Comment": text,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": _words(matrix.T.ravel()),  # the axes one by one
        "Offset": _words([*lps[:3, 3], *[start] * time]),
        "ElementSpacing": _words([*sizes, *[1.0 if step is None else step] * time]),
        "DimSize": _words(shape),
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items()).encode()


def _words(numbers: Iterable[Any]) -> str:
    """Return numbers in full precision with blanks between them."""
    return " ".join(repr(np.asarray(number).item()) for number in numbers)


def _bracketed(vector: Iterable[Any]) -> str:
    return f"({_words(vector).replace(' ', ',')})"


def is_mgh(path: Path, start: bytes) -> bool:
    """Return whether a file that begins with `start` is MGH, compressed or not; False if damaged."""
    if start.startswith(GZIP_MAGIC):
        try:
            with gzip.open(path) as file:
                start = file.read(_MGH_SIZE)
        except (OSError, EOFError, zlib.error):
            return False
    if len(start) < _MGH_SIZE or not start.startswith(_MGH_START):
        return False
    numbers = np.frombuffer(start[:28], ">i4")
    return int(numbers[5]) in _MGH_TYPES and bool((numbers[1:5] > 0).all())


def read_mgh_header(file: BinaryIO, name: str) -> NiftiHeader:
    """Return the header at the start of `file`, which is positioned at its end.

    Raises:
        InputError: not such a header, or an impossible one.
    """
    import nibabel
    from nibabel.freesurfer.mghformat import MGHHeader, footer_dtype, header_dtype

    start = file.read(_MGH_SIZE)
    numbers = np.frombuffer(start[:28].ljust(28, b"\0"), ">i4")
    if len(start) < _MGH_SIZE or int(numbers[5]) not in _MGH_TYPES or (numbers[1:5] <= 0).any():
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
        dtype=np.dtype(_MGH_TYPES[int(numbers[5])]),
        size=_MGH_SIZE,
        offset=_MGH_SIZE,
        slope=1.0,
        intercept=0.0,
        affine=check_affine(np.array(affine, dtype=np.float64), where=name),
        period=None,
    )
