"""Input of images from files or folders; the first bytes determine the format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kfine.errors import InputError, ResourceError, UsageError
from kfine.image import Image
from kfine.io.checks import AIR, check_nan
from kfine.io.dicom.images import Series, Wanted
from kfine.text import clean_text, display_name

if TYPE_CHECKING:
    from kfine.io.dicom.reader import DicomSeries

# Suffixes of images, for the message about damaged files.
SUFFIXES = (
    ".nii",
    ".nii.gz",
    ".dcm",
    ".dcm.gz",
    ".mgz",
    ".mgh",
    ".mha",
    ".nrrd",
    ".npy",
    ".h5",
    ".hdf5",
    ".mat",
)
_KINDS = (
    "a NIfTI file (.nii, .nii.gz, .hdr and .img), .mgz, .mha, .nrrd, a DICOM file or folder, or raw k-space "
    "(.h5, .mat, .cfl, .npy)"
)
# Kinds of files for --nan, --coil-axis and --combine.
NIFTI = ("nifti",)
NPY = ("kspace",)
RAW = (*NPY, "bart", "hdf5")


_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Reading:
    """An image as read, and its DICOM series (None for other formats)."""

    image: Image
    series: DicomSeries | None = None

    def paths(self, path: Path) -> list[Path]:
        """Return `path`, which the image was read from, and the files of the series."""
        return [path, *(file.path for file in (self.series.files if self.series else []))]


class Raw(NamedTuple):
    """Options for raw k-space, see `read`."""

    coil_axis: int | None
    combine: str | None
    contrast: int | None


def read(
    path: str | PathLike[str],
    *,
    series: Series = None,
    echo: int | None = None,
    part: str | None = None,
    plane: tuple[int, int] | str | None = None,
    coil_axis: int | None = None,
    combine: str | None = None,
    contrast: int | None = None,
    period: float | None = None,
    periodic: bool = False,
    nan: str = AIR,
) -> Image:
    """Return the MR image in `path`: NIfTI, .mgz, .mha, .nrrd, a DICOM file or folder, or raw k-space.

    Formats of raw k-space: .npy, BART's .cfl and .hdr, and HDF5 of fastMRI, ISMRMRD, CMRxRecon and Calgary-Campinas.

    Args:
        path: a file, or a folder of DICOM files (subfolders included).
        series: DICOM series, by SeriesNumber or SeriesInstanceUID; required if there are several.
        echo: echo of the series, from 1; required if there are several.
        part: another property of the image in its series: "mag", "phase", "real", "imag", "complex", or a name listed
            by `kfine info`.
        plane: plane of the slices of a NIfTI file: "axial", "coronal" or "sagittal", or its (row, column) axes, each 0,
            1 or 2.  Default: from the geometry.
        coil_axis: axis of the coils in a .npy file, from 0 or, negative, from the end.  Default: none.
        combine: combination of the coils of raw k-space: "sensitivities" (default) or "rss".
        contrast: image of an ISMRMRD file with several contrasts or sets, from 1; required if there are several.
        period: seconds after which the frames of a cine begin again, for files that do not state it, such as NIfTI of
            other programs; without frame times the frames are taken as evenly spaced.  Default: that of the file.
        periodic: instead of `period`, whether the first frame follows the last one, a frame time later.
        nan: treatment of NaN outside the field of view of a NIfTI file: "air" (0, with a warning) or "refuse".

    Raises:
        UsageError: an option that does not apply to the format.
        InputError: missing, unreadable, of another format, damaged, or not one MR image.
        ResourceError: larger than the machine's memory.
    """
    return read_input(
        path,
        series=series,
        echo=echo,
        part=part,
        plane=plane,
        coil_axis=coil_axis,
        combine=combine,
        contrast=contrast,
        period=period,
        periodic=periodic,
        nan=nan,
    ).image


def read_input(
    path: str | PathLike[str],
    *,
    series: Series = None,
    echo: int | None = None,
    part: str | None = None,
    plane: tuple[int, int] | str | None = None,
    coil_axis: int | None = None,
    combine: str | None = None,
    contrast: int | None = None,
    period: float | None = None,
    periodic: bool = False,
    nan: str = AIR,
) -> Reading:
    """Return the image as `read` does, with its DICOM series."""
    path = Path(path)
    name = display_name(path)
    check_nan(nan)
    if periodic and period is not None:
        raise UsageError(
            f"period {period:g}: expected either a period or periodic=True, got both; leave one out"
        )
    with reading_errors(name):
        found = _read(
            path,
            name,
            series=_wanted(series, echo, part),
            plane=plane,
            nan=nan,
            raw=Raw(coil_axis, combine, contrast),
        )
    if period is None and not periodic:
        return found
    return replace(found, image=_with_period(found.image, period, name))


def _wanted(series: Series, echo: int | None, part: str | None) -> Series:
    return series if echo is None and part is None else Wanted.of(series, echo, part)


def _with_period(image: Image, period: float | None, name: str) -> Image:
    """Return `image` with this period in seconds; None: its mean frame time times its number of frames."""
    if image.frames == 1:
        raise UsageError(f"{name}: a period is of several frames, the image has one; leave it out")
    if period is None:
        own = image.frame_times or tuple(float(frame) for frame in range(image.frames))
        period = (own[-1] - own[0]) * image.frames / (image.frames - 1)
    times = image.frame_times or tuple(period * frame / image.frames for frame in range(image.frames))
    if not (math.isfinite(period) and period > times[-1] - times[0]):
        raise UsageError(
            f"{name}: period {period:g} s: expected more than its frames span, {times[-1] - times[0]:g} s"
        )
    return replace(image, frame_times=times, period=period)


@contextmanager
def reading_errors(name: str) -> Iterator[None]:
    """Turn system errors about the input `name` into `InputError` and `ResourceError`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{name}: cannot be read ({reason}); check the path and its permissions") from error
    except MemoryError:
        raise ResourceError(
            f"{name}: does not fit into memory; use a larger machine or cut the file"
        ) from None


def kind_of(path: Path) -> str:
    """Return the format of the file at `path`: "nifti", "dicom", or of raw k-space "kspace", "bart" or "hdf5".

    Raises:
        InputError: another one, damaged or unreadable.
    """
    name = clean_text(path.name)
    with reading_errors(name):
        return _kind(path, name)


def _read(
    path: Path, name: str, *, series: Series, plane: tuple[int, int] | str | None, nan: str, raw: Raw
) -> Reading:
    if not path.exists():
        raise InputError(f"{name}: no such file or folder; check the path")
    if path.is_dir():
        kind = "dicom"
    elif path.is_file():
        kind = _kind(path, name)
    else:
        raise InputError(
            f"{name}: expected a file or a folder, got a device or pipe; save it as a file first"
        )
    if series is not None and kind != "dicom":
        raise UsageError(
            f"{name}: series, echo and part select DICOM images, and this is not DICOM; leave them out"
        )
    if plane is not None and kind != "nifti":
        raise UsageError(f"{name}: the plane can be chosen for NIfTI only; leave it out")
    if raw.combine is not None and kind not in RAW:
        raise UsageError(f"{name}: combine is for raw k-space, and this is an image; leave it out")
    if raw.coil_axis is not None and kind not in NPY:
        raise UsageError(
            f"{name}: coil_axis is for .npy files, other formats define the axis of the coils; leave it out"
        )
    if raw.contrast is not None and kind != "hdf5":
        raise UsageError(f"{name}: contrast selects images of ISMRMRD files, and this is none; leave it out")
    if kind == "dicom":
        from kfine.io.dicom.reader import DicomSeries

        found = DicomSeries.at(path, series)
        return Reading(found.image(), found)
    if kind == "nifti":
        from kfine.io.nifti.reader import read_nifti

        return Reading(read_nifti(path, plane=plane, nan=nan))
    return Reading(_read_raw(path, kind, raw))


def _read_raw(path: Path, kind: str, raw: Raw) -> Image:
    from kfine.io.kspace.reconstruct import image_of_scan
    from kfine.io.kspace.scan import SENSITIVITIES

    combine = raw.combine or SENSITIVITIES
    if kind == "kspace":
        from kfine.io.kspace.npy import read_kspace

        return read_kspace(path, coil_axis=raw.coil_axis, combine=combine)
    if kind == "bart":
        from kfine.io.kspace.bart import bart_scan

        return image_of_scan(bart_scan(path), combine=combine)
    from kfine.io.kspace.hdf5 import hdf5_scan

    with hdf5_scan(path, contrast=raw.contrast) as scan:
        return image_of_scan(scan, combine=combine)


def _kind(path: Path, name: str) -> str:
    from kfine.io.dicom.header import is_bare, is_packed_dicom
    from kfine.io.kspace.bart import is_bart
    from kfine.io.nifti.companions import halves_of
    from kfine.io.nifti.header import GZIP_MAGIC, is_nifti
    from kfine.io.nifti.other_formats import is_itk, is_mgh

    with path.open("rb") as file:
        start = file.read(540)
    if start.startswith(GZIP_MAGIC) and is_packed_dicom(path):
        return "dicom"
    if not start:
        raise InputError(f"{name}: expected {_KINDS}, got an empty file; copy it again")
    if start.startswith(b"\x93NUMPY"):
        return "kspace"
    if _HDF5 in (start[:8], start[512:520]):  # MATLAB writes 512 bytes before it
        return "hdf5"
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        raise InputError(
            f"{name}: expected MATLAB's format 7.3 (HDF5), got 5.0; save it with the option -v7.3"
        )
    if start[128:132] == b"DICM" or is_bare(start):
        return "dicom"
    if start.startswith(GZIP_MAGIC) or is_nifti(start) or is_mgh(path, start) or is_itk(start):
        return "nifti"
    if halves_of(path):
        return "nifti"
    if is_bart(path, start):
        return "bart"
    if path.name.lower().endswith(SUFFIXES):
        raise InputError(
            f"{name}: the content does not match the suffix: damaged or truncated; copy the file again"
        )
    raise InputError(f"{name}: expected {_KINDS}, got something else; convert it first")
