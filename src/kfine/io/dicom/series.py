"""Series of a folder: their files, and the choice of one."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from kfine.errors import InputError
from kfine.io.checks import digest_of
from kfine.io.dicom.frame import Plane, planes, several_planes
from kfine.io.dicom.header import (
    DamagedFile,
    DicomFile,
    image_type,
    is_directory,
    pydicom_errors,
    read_file,
)
from kfine.io.dicom.images import Series, Wanted
from kfine.io.dicom.packed import size_of
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.streams import most_bytes
from kfine.text import clean_text, display_name, human_size

_LISTED = 20
_PREAMBLE = 132  # bytes, "DICM" included
_SUFFIXES = (".dcm", ".ima", ".dicom")


def find_series(path: Path, series: Series = None) -> tuple[list[list[DicomFile]], str]:
    """Return the image files of each series under `path`, series by number and files by path, and a name for `path`.

    That name, and what the files are called, have stand-ins for names of patients: they go into messages and records.

    Args:
        path: DICOM file or folder, subfolders included.
        series: the one that is asked for, see `choose_series`: damaged files of others are no hindrance.

    Warns:
        UserWarning: how many files hold no DICOM image; damaged files of other series.

    Raises:
        InputError: no DICOM image there, or a damaged one.
    """
    if is_directory(path):
        path = path.parent
    name = display_name(path)
    candidates = _files(path)
    found, damaged = _read_files(candidates)
    known = Discretion()
    for file in found:
        with pydicom_errors(file.name, "its identifiers"):
            known.learn(file.header, [path.name or path.resolve().name, file.path.name])
    damaged += _cut_short(candidates, found)
    known.learn_damaged(damaged, {file.path.parent for file in found} if path.is_dir() else {path.parent})
    asked = Wanted.of(series).series
    wanted = [file for file in found if asked is not None and _is_series(file, asked)]
    others = []
    for broken, error in damaged:
        known.part(broken.name)
        uid, said = _series_said(broken, error), known.clean(str(error))
        if not wanted or _may_belong(broken, uid, wanted, found):
            raise InputError(said) from None
        doubt = "" if uid else "; if it is of the series that is restored, a slice of that is missing"
        others.append(f"left out, of {'another' if uid else 'an unknown'} series: {said}{doubt}")
    if not found:
        raise InputError(
            f"{name}: expected DICOM images, found none ({len(candidates)} looked at); check the path"
        )
    name = clean_text(known.part(path.name or path.resolve().name))
    found = [replace(file, shown=clean_text(known.part(file.path.name))) for file in found]
    for message in others:
        warnings.warn(f"{name}: {message}", UserWarning, stacklevel=2)
    skipped = len(candidates) - len(found) - len(damaged)
    if skipped:
        what = "1 file that holds" if skipped == 1 else f"{skipped} files that hold"
        warnings.warn(f"{name}: skipped {what} no DICOM image", UserWarning, stacklevel=2)
    groups: dict[str, list[DicomFile]] = defaultdict(list)
    for file in found:
        groups[file.series_uid].append(file)
    return sorted(groups.values(), key=lambda files: (files[0].series_number or 0, files[0].series_uid)), name


def stand_in(path: Path) -> str:
    """Return the name of a folder, or what stands for it where a DICOM file in it says that it is a patient's."""
    known, name = Discretion(), path.name or path.resolve().name
    for file in _read_files(_files(path))[0]:
        with pydicom_errors(file.name, "its identifiers"):
            known.learn(file.header, [name])
        if known.part(name) != name:
            break
    return known.part(name)


def _read_files(paths: list[Path]) -> tuple[list[DicomFile], list[tuple[Path, InputError]]]:
    """Return the images among `paths`, and the damaged ones: the others tell whose names these may have."""
    found, damaged = list[DicomFile](), list[tuple[Path, InputError]]()
    for path in paths:
        try:
            file = read_file(path)
        except InputError as error:
            damaged.append((path, error))
        else:
            found += [] if file is None else [file]
    return found, damaged


def _is_series(file: DicomFile, series: str | int) -> bool:
    """Return whether `series`, a number or a UID, names that of `file`."""
    asked = str(series).strip()
    return asked == file.series_uid or (file.series_number is not None and asked == str(file.series_number))


def _series_said(broken: Path, error: InputError) -> str:
    """Return the UID of the series that a damaged file says that it is of, "" where it says none."""
    header = error.header if isinstance(error, DamagedFile) else None
    with pydicom_errors(clean_text(broken.name), "its identifiers"):
        return "" if header is None else str(header.get("SeriesInstanceUID") or "")


def _may_belong(broken: Path, uid: str, wanted: list[DicomFile], found: list[DicomFile]) -> bool:
    """Return whether a damaged file must be taken to be of the series of the files `wanted`, one of those `found`.

    Its UID decides, where it can be read.  If not, its name does: it counts on from those of the series, in their
    folder, and not from those of another series there.
    """
    uids = {file.series_uid for file in wanted}
    if uid:
        return uid in uids
    beside = [
        file
        for file in found
        if file.path.parent == broken.parent and _pattern(file.path) == _pattern(broken)
    ]
    return bool(beside) and all(file.series_uid in uids for file in beside)


def _pattern(path: Path) -> str:
    """Return a file's name with what counts taken out: the same for the files of a series, as a rule."""
    return re.sub("[0-9]+", "0", path.name.casefold())


def _cut_short(paths: list[Path], found: list[DicomFile]) -> list[tuple[Path, InputError]]:
    """Return the files too short for any DICOM, beside images with names that end alike: an interrupted copy's."""
    images = {(file.path.parent, file.path.suffix.lower()) for file in found}
    short = []
    for path in paths:
        if (path.parent, path.suffix.lower()) in images and not path.name.startswith("."):
            size = path.stat().st_size
            if size < _PREAMBLE and (size == 0 or path.suffix.lower() in _SUFFIXES):
                name = clean_text(path.name)
                short.append(
                    (path, InputError(f"{name}: truncated: {size} bytes are no DICOM; copy it again"))
                )
    return short


def choose_series(groups: list[list[DicomFile]], series: Series, *, name: str) -> list[DicomFile]:
    """Return the series that `series` names (number or UID), or the only one.

    Raises:
        InputError: none or several match; the message lists what there is.
    """
    wanted, asked = groups, Wanted.of(series).series
    if asked is not None:
        wanted = [group for group in groups if _is_series(group[0], asked)]
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        raise InputError(
            f"{name}: no series {clean_text(asked)}; choose with series=NUMBER: {_listed(groups)}"
        )
    if asked is None:
        raise InputError(
            f"{name}: holds {len(groups)} series; choose one with series=NUMBER: {_listed(groups)}"
        )
    uids = ", ".join(clean_text(g[0].series_uid) for g in wanted)
    raise InputError(
        f"{name}: {len(wanted)} series have number {clean_text(asked)}; choose by series=UID: {uids}"
    )


def series_planes(files: list[DicomFile], *, name: str) -> list[Plane]:
    """Return every frame of a series after checking that they are grey MR images of one plane.

    Raises:
        InputError: another modality, colour, a localiser, mixed matrices, truncation, different files with one UID.
    """
    for file in files:
        with pydicom_errors(file.name, "its image description"):
            _check_kind(file)
            _check_size(file)
    with pydicom_errors(name, "its identifiers"):
        _check_identifiers(files, name)
    found = [plane for file in files for plane in planes(file)]
    first = found[0]
    matrices = sorted({f"{f.matrix[0]}x{f.matrix[1]}" for f in files})
    if len(matrices) > 1:
        raise InputError(
            f"{name}: expected one matrix in the series, got {', '.join(matrices)}; separate the files"
        )
    if several_planes(plane.orientation for plane in found):
        raise InputError(
            f"{name}: expected parallel slices, got several orientations: a localiser? Choose another series"
        )
    if any(_differ(first.spacing, plane.spacing, 1e-3 * min(first.spacing)) for plane in found):
        raise InputError(f"{name}: expected one pixel spacing in the series, got several; separate the files")
    return found


def series_digest(files: list[DicomFile]) -> str:
    """Return one SHA-256 of the bytes of all `files`, that of the file itself where there is one.

    It does not depend on names: a copy of the series has the same.
    """
    digests = sorted(digest_of(file.path) for file in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest() if len(digests) > 1 else digests[0]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file for folder, _, names in os.walk(path) for n in names if (file := Path(folder, n)).is_file()
    )


def _listed(groups: list[list[DicomFile]]) -> str:
    more = f" and {len(groups) - _LISTED} more" if len(groups) > _LISTED else ""
    return "; ".join(map(series_text, groups[:_LISTED])) + more


def series_text(files: list[DicomFile]) -> str:
    """Return how a message lists a series: its number or identifier, description, and the matrix of most files."""
    first = files[0]
    rows, columns = Counter(file.matrix for file in files).most_common(1)[0][0]
    text = f" '{first.description}'" if first.description else ""
    what = f"{len(files)} file{'s' if len(files) > 1 else ''}, {rows}x{columns}"
    return f"{first.series_number if first.series_number is not None else clean_text(first.series_uid)}{text} ({what})"


def _check_kind(file: DicomFile) -> None:
    header = file.header
    if file.modality not in ("", "MR"):
        raise InputError(
            f"{file.name}: expected an MR image, got modality {file.modality}; choose another series"
        )
    photometric = clean_text(header.get("PhotometricInterpretation") or "MONOCHROME2")
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            f"{file.name}: expected grey values (MONOCHROME2), got {photometric}; choose the original series"
        )
    if "MOSAIC" in image_type(header):
        raise InputError(
            f"{file.name}: Siemens mosaic images are not read; convert the series with: dcm2niix -z y -o OUT FOLDER"
        )


def _check_size(file: DicomFile) -> None:
    """Refuse a header that promises more pixels than the file can hold, before allocation."""
    from pydicom.uid import UID

    promised = (
        file.matrix[0] * file.matrix[1] * file.frames * int(file.header.get("BitsAllocated") or 16) // 8
    )
    size = size_of(file.path)
    if promised > most_bytes(UID(file.transfer_syntax), size):
        raise InputError(
            f"{file.name}: truncated: the header promises {human_size(promised)} of pixels, the file has "
            f"{human_size(size)}; export it again"
        )


def _check_identifiers(files: list[DicomFile], name: str) -> None:
    """Refuse different files under one SOP instance UID; copies are left to whoever sees them in one place."""
    same: dict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        same[str(file.header.get("SOPInstanceUID") or file.path)].append(file)
    for group in same.values():
        if len(group) > 1 and len({digest_of(file.path) for file in group}) > 1:
            raise InputError(
                f"{name}: {len(group)} files with the same SOP Instance UID but different content "
                f"({group[0].name}, {group[1].name}): keep the right one"
            )


def _differ(a: tuple[float, ...], b: tuple[float, ...], tolerance: float) -> bool:
    return any(abs(x - y) > tolerance for x, y in zip(a, b, strict=True))
