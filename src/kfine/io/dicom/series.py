"""DICOM series of a folder: their files, and the selection of one."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from kfine.errors import InputError
from kfine.files.contents import digest_of
from kfine.io.dicom.frame import Plane, planes, several_planes
from kfine.io.dicom.header import (
    DamagedFile,
    DicomFile,
    image_type,
    is_directory,
    pydicom_errors,
    read_file,
    size_of,
)
from kfine.io.dicom.images import Series, Wanted
from kfine.io.dicom.mosaic import has_grid
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.streams import most_bytes
from kfine.text import clean_text, display_name, human_size

_LISTED = 20
_PREAMBLE = 132  # bytes, "DICM" included
_SUFFIXES = (".dcm", ".ima", ".dicom")


def find_series(path: Path, series: Series = None) -> tuple[list[list[DicomFile]], str]:
    """Return the image files of each series under `path`, series by number and files by path, and a name for `path`.

    In that name and in those of the files, which go into messages and records, names of patients are replaced by
    pseudonyms.

    Args:
        path: DICOM file or folder, subfolders included.
        series: the selected series, see `choose_series`; damaged files of others are skipped.

    Warns:
        UserWarning: the number of files without a DICOM image; damaged files of other series.

    Raises:
        InputError: no DICOM image, or a damaged one.
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
    selected = Wanted.of(series).series
    wanted = [file for file in found if selected is not None and _is_series(file, selected)]
    others = []
    for broken, error in damaged:
        known.part(broken.name)
        uid, message = _series_uid(broken, error), known.clean(str(error))
        if not wanted or _may_belong(broken, uid, wanted, found):
            raise InputError(message) from None
        doubt = "" if uid else "; if it belongs to the restored series, a slice is missing"
        others.append(f"left out, of {'another' if uid else 'an unknown'} series: {message}{doubt}")
    if not found:
        raise InputError(
            f"{name}: expected DICOM images, found none in {len(candidates)} files; check the path"
        )
    name = clean_text(known.part(path.name or path.resolve().name))
    found = [replace(file, shown=clean_text(known.part(file.path.name))) for file in found]
    for message in others:
        warnings.warn(f"{name}: {message}", UserWarning, stacklevel=2)
    skipped = len(candidates) - len(found) - len(damaged)
    if skipped:
        what = "1 file" if skipped == 1 else f"{skipped} files"
        warnings.warn(f"{name}: skipped {what} without a DICOM image", UserWarning, stacklevel=2)
    groups: dict[str, list[DicomFile]] = defaultdict(list)
    for file in found:
        groups[file.series_uid].append(file)
    return sorted(groups.values(), key=lambda files: (files[0].series_number or 0, files[0].series_uid)), name


def pseudonym(path: Path) -> str:
    """Return the name of a folder, or its pseudonym if the name identifies the patient of a DICOM file in it."""
    known, name = Discretion(), path.name or path.resolve().name
    for file in _read_files(_files(path))[0]:
        with pydicom_errors(file.name, "its identifiers"):
            known.learn(file.header, [name])
        if known.part(name) != name:
            break
    return known.part(name)


def _read_files(paths: list[Path]) -> tuple[list[DicomFile], list[tuple[Path, InputError]]]:
    """Return the images among `paths`, and the damaged ones with their errors."""
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
    """Return whether `series`, a number or a UID, is that of `file`."""
    text = str(series).strip()
    return text == file.series_uid or (file.series_number is not None and text == str(file.series_number))


def _series_uid(broken: Path, error: InputError) -> str:
    """Return the SeriesInstanceUID of a damaged file, "" if it cannot be read."""
    header = error.header if isinstance(error, DamagedFile) else None
    with pydicom_errors(clean_text(broken.name), "its identifiers"):
        return "" if header is None else str(header.get("SeriesInstanceUID") or "")


def _may_belong(broken: Path, uid: str, wanted: list[DicomFile], found: list[DicomFile]) -> bool:
    """Return whether a damaged file may belong to the series of the files `wanted`, a part of `found`.

    Its UID decides if it can be read.  Otherwise its name does: it belongs if all files in its folder with the same
    name up to numbers belong to that series.
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
    """Return a file's name with numbers replaced by 0, usually the same for all files of a series."""
    return re.sub("[0-9]+", "0", path.name.casefold())


def _cut_short(paths: list[Path], found: list[DicomFile]) -> list[tuple[Path, InputError]]:
    """Return files too short for DICOM beside images with the same suffix, as an interrupted copy leaves them."""
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
    """Return the series with the number or UID `series`, or the only one.

    Raises:
        InputError: no series or several match; the message lists them.
    """
    wanted, selected = groups, Wanted.of(series).series
    if selected is not None:
        wanted = [group for group in groups if _is_series(group[0], selected)]
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        raise InputError(
            f"{name}: no series {clean_text(selected)}; choose with series=NUMBER: {_listed(groups)}"
        )
    if selected is None:
        raise InputError(
            f"{name}: contains {len(groups)} series; choose one with series=NUMBER: {_listed(groups)}"
        )
    uids = ", ".join(clean_text(g[0].series_uid) for g in wanted)
    raise InputError(
        f"{name}: {len(wanted)} series have number {clean_text(selected)}; choose by series=UID: {uids}"
    )


def series_planes(files: list[DicomFile], *, name: str) -> list[Plane]:
    """Return every frame of a series, checked to be grey MR images of one orientation.

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
    matrices = sorted({"{}x{}".format(*file.slice_matrix) for file in files})
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
    """Return one SHA-256 of the bytes of all `files`; for a single file, the SHA-256 of the file.

    It does not depend on names: a copy of the series has the same digest.
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
    """Return a series for messages: number or identifier, description, number of files and most frequent matrix."""
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
    if "MOSAIC" in image_type(header) and file.tiles is None:
        raise InputError(
            f"{file.name}: expected a Siemens mosaic with the CSA header that places its slices, got none or a damaged "
            "one; convert the series: dcm2niix -z y -o OUT FOLDER"
        )
    if has_grid(header):
        raise InputError(
            f"{file.name}: grids of slices of United Imaging are not supported; convert the series: dcm2niix -z y -o "
            "OUT FOLDER"
        )


def _check_size(file: DicomFile) -> None:
    """Refuse a header that promises more pixels than the file can contain, before allocation."""
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
    """Refuse different files with one SOP instance UID; equal copies are reported where frames are sorted."""
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
