"""NIfTI header, checked before memory is allocated."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from kfine.errors import InputError
from kfine.geometry import Affine, check_affine

GZIP_MAGIC = b"\x1f\x8b"
_SIZES = {b"n+1\x00": 348, b"n+2\x00": 540}
_PAIRS = {b"ni1\x00": 348, b"ni2\x00": 540}
_MAX_OFFSET = 1 << 28  # extensions lie between header and voxels; real ones stay far below
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown, metre, millimetre, micrometre
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # xyzt_units & 56

DISAGREE = "sform and qform place the voxels differently: the sform is used"
_LONGEST = 60.0  # s between frames: larger values without a unit are milliseconds
_SAME_PLACE = 0.1  # of the smallest voxel size: nearer corners coincide


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a header that the reader needs.

    Attributes:
        raw: nibabel's header; its free-text fields may name a patient and never leave the reader.
        shape: (i, j, k, t), absent axes 1.
        time_axis: whether the file has the axis t.
        dtype: of one voxel on disk, byte order included.
        size: bytes of the header in the file with the voxels.
        offset: position of the first voxel in the (decompressed) file.
        slope, intercept: voxel = slope * stored + intercept.
        affine: 4x4, (i, j, k, 1) to RAS+ mm.
        period: seconds after which the frames begin again, from kfine's note in `descrip`; None without one.
    """

    raw: Any
    shape: tuple[int, int, int, int]
    time_axis: bool
    dtype: np.dtype[Any]
    size: int
    offset: int
    slope: float
    intercept: float
    affine: Affine
    period: float | None

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=object))  # Python integers: a hostile product overflows int64

    @property
    def space_code(self) -> int:
        """Code of the space of the affine; that of the scanner (1) if the header has none."""
        return int(self.raw["sform_code"]) or int(self.raw["qform_code"]) or 1

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks on contradictions of the header."""
        return (DISAGREE,) if _disagree(self.raw) else ()

    @property
    def promised(self) -> int:
        """Bytes that the file must have."""
        return self.offset + self.voxels * self.dtype.itemsize


def is_nifti(start: bytes) -> bool:
    """Return whether `start`, the first bytes of a file, have the signature of NIfTI, of one file or a pair."""
    return _magic(start) in (*_SIZES, *_PAIRS)


def is_pair(start: bytes) -> bool:
    """Return whether a file that begins with `start` is the header of a pair of files."""
    return _magic(start) in _PAIRS


def read_header(file: BinaryIO, name: str, *, pair: bool = False) -> NiftiHeader:
    """Return the header at the start of `file`, which is positioned at its end.

    pair: whether it is the .hdr of a pair, with the voxels in another file.

    Raises:
        InputError: not a NIfTI header, or an impossible one.
    """
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    start = file.read(348)
    magic = _magic(start)
    sizes = _PAIRS if pair else _SIZES
    if len(start) < 348 or magic not in sizes:
        hint = (
            "that of a pair of .hdr and .img whose .img is missing" if magic in _PAIRS else "something else"
        )
        raise InputError(f"{name}: expected a NIfTI header at the start of the file, got {hint}")
    start += file.read(sizes[magic] - 348)
    if len(start) < sizes[magic]:
        raise InputError(f"{name}: truncated: the header itself is incomplete; copy the file again")
    kind = nibabel.Nifti1Header if sizes[magic] == 348 else nibabel.Nifti2Header
    raw = kind(start, check=False)
    shape, time_axis = _shape(raw, name)
    dtype = _dtype(raw, name)
    offset = float(raw["vox_offset"])
    if not (0 if pair else len(start)) <= offset < _MAX_OFFSET:
        raise InputError(
            f"{name}: damaged header: voxels cannot start at byte {offset:g}; write the file again"
        )
    if not np.isfinite(float(raw["scl_slope"])):
        raise InputError(f"{name}: scl_slope is not a finite number; repair the header's intensity scaling")
    affine = _affine(raw, shape, name)
    try:
        slope, intercept = raw.get_slope_inter()
    except HeaderDataError:
        raise InputError(
            f"{name}: scl_inter is not a finite number; repair the header's intensity scaling"
        ) from None
    return NiftiHeader(
        raw=raw,
        shape=shape,
        time_axis=time_axis,
        dtype=dtype,
        size=0 if pair else len(start),
        offset=int(offset),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        affine=affine,
        period=noted_period(raw),
    )


def frame_timing(header: NiftiHeader, name: str) -> tuple[tuple[float, ...] | None, float | None]:
    """Return the times of the frames in seconds from pixdim[4] and toffset, and the period if it exceeds their span.

    Times are None, with a warning, if the header has none.
    """
    if not header.time_axis:
        return None, None
    units = int(header.raw["xyzt_units"]) & 56
    unit = _SECONDS.get(units)
    step, first = float(header.raw["pixdim"][4]), float(header.raw["toffset"])
    if unit is None and np.isfinite(step) and step > 0 and step != 1:  # 1 is the default of headers
        unit, called = (1.0, "seconds") if step <= _LONGEST else (1e-3, "milliseconds")
        warnings.warn(
            f"{name}: pixdim[4] {step:g} has no unit: {called} are assumed", UserWarning, stacklevel=2
        )
    if unit is None or not np.isfinite(step) or step <= 0:
        warnings.warn(
            f"{name}: frames without times: pixdim[4] and its unit are not a duration",
            UserWarning,
            stacklevel=2,
        )
        return None, None
    first = first if np.isfinite(first) else 0.0
    times = tuple((first + step * frame) * unit for frame in range(header.shape[3]))
    # other programs copy descrip when they join or retime frames, and the note may be wrong
    cyclic = header.period is not None and header.period > times[-1] - times[0]
    return times, header.period if cyclic else None


def period_note(period: float) -> str:
    """Return the note of the period (s) for `descrip`; NIfTI has no field for it."""
    return f"; period {period:.9g} s"


def itk_notes(slice_axis: int, *, timed: bool, period: float | None) -> str:
    """Return the notes on slice axis, unit of time and period for NRRD and MetaImage, which have no fields for them."""
    times = "; times in s" if timed else ""
    return f"; slice axis {slice_axis}{times}{'' if period is None else period_note(period)}"


def read_itk_notes(raw: Any) -> None:
    """Set the fields of `raw` from the notes of `itk_notes` in its `descrip`."""
    found = re.search(rb"; slice axis ([012])(; times in s)?(?:; period |$)", bytes(raw["descrip"].item()))
    if found:
        raw.set_dim_info(slice=int(found[1]))
        raw["xyzt_units"] = 2 | (8 if found[2] else 0)


def noted_period(raw: Any) -> float | None:
    """Return the period (s) that `period_note` left in `descrip`; None without one."""
    found = re.search(rb"; period ([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?) s$", bytes(raw["descrip"].item()))
    period = float(found[1]) if found else 0.0
    return period if 0 < period < np.inf else None


def _magic(start: bytes) -> bytes:
    return start[4:8] if start[4:8] in (b"n+2\x00", b"ni2\x00") else start[344:348]


def _shape(raw: Any, name: str) -> tuple[tuple[int, int, int, int], bool]:
    # The raw field: nibabel's get_data_shape gives negative dimensions another meaning.
    dims = [int(n) for n in raw["dim"]]
    count = dims[0]
    if not 1 <= count <= 7:
        raise InputError(
            f"{name}: expected 1 to 7 dimensions, the header has {count}; repair or convert the file"
        )
    shape = dims[1 : count + 1]
    text = " x ".join(map(str, shape))
    if min(shape) <= 0:
        raise InputError(
            f"{name}: expected positive dimensions, the header has {text}; repair or convert the file"
        )
    if any(n != 1 for n in shape[4:]):
        raise InputError(
            f"{name}: expected at most (i, j, k, time), the header has {text}; "
            "split the further axes into files"
        )
    i, j, k, t = (*shape[:4], 1, 1, 1)[:4]
    return (i, j, k, t), count >= 4 and t > 1


def _dtype(raw: Any, name: str) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype: np.dtype[Any] = raw.get_data_dtype()
        if dtype.itemsize == 0:
            raise KeyError
    except (HeaderDataError, KeyError):
        raise InputError(
            f"{name}: unknown voxel type {int(raw['datatype'])}; convert the file to float32"
        ) from None
    if dtype.names is not None or dtype.kind not in "iufc":
        raise InputError(
            f"{name}: expected grey or complex voxels, got colour ({dtype}); convert it to one channel"
        )
    return dtype


def _disagree(raw: Any) -> bool:
    """Return whether sform and qform are both set and place a corner differently by more than rounding."""
    if not (raw["sform_code"] and raw["qform_code"]):
        return False
    try:
        sform, qform = raw.get_sform(), raw.get_qform()
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return True  # an invalid qform
    last = np.maximum(1, np.asarray(raw["dim"][1:4], dtype=np.float64))
    corners = np.array([[*(last * corner), 1] for corner in np.ndindex(2, 2, 2)]).T
    apart = float(np.abs((sform - qform)[:3] @ corners).max())
    smallest = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    return not apart <= _SAME_PLACE * smallest


def _affine(raw: Any, shape: tuple[int, ...], name: str) -> Affine:
    # nibabel repairs the header (sign of pixdim, qfac); its log lines are silenced.
    silent = logging.getLogger("kfine.io.nibabel")
    silent.disabled = True
    from nibabel.spatialimages import HeaderDataError

    sizes = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    known = np.isfinite(sizes) & (sizes != 0)
    if not raw["sform_code"] and not all(known | (np.array(shape[:3]) == 1)):  # nibabel would assume 1 mm
        raise InputError(f"{name}: the header has no voxel size (pixdim {sizes}); repair its pixdim or sform")
    try:
        raw.check_fix(logger=silent, error_level=50)
        affine = raw.get_best_affine()
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        raise InputError(
            f"{name}: the header's orientation cannot be read; repair its sform or qform"
        ) from None
    if not raw["sform_code"] and not raw["qform_code"]:
        warnings.warn(
            f"{name}: the header has no orientation (sform and qform codes are 0): only voxel sizes are used",
            UserWarning,
            stacklevel=2,
        )
    if _disagree(raw):
        warnings.warn(f"{name}: {DISAGREE}", UserWarning, stacklevel=2)
    affine = np.array(affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES.get(int(raw["xyzt_units"]) & 7, 1.0)
    return check_affine(affine, where=name)
