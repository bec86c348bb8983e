"""Volumes below a folder that can serve as reference, and their subjects."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfine.batches.bids import find_bids_cases, is_dataset
from kfine.batches.cases import Case
from kfine.batches.finding import find_cases
from kfine.errors import InputError
from kfine.files.names import stem_of
from kfine.image import Image
from kfine.io import read
from kfine.io.dicom.header import read_file
from kfine.io.dicom.images import Wanted
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.reader import DicomSeries
from kfine.io.discovery import subject_of
from kfine.io.reading import kind_of, reading_errors

_DERIVATIVES = "derivatives"
_LISTED = 5  # of the images left out for one reason


@dataclass(frozen=True)
class Volume:
    """One image below the folder.

    Attributes:
        subject: the patient: the first folder's name, or the file's up to "_" or ".".
        name: where it lies below the folder; of several DICOM series of a folder with the series' number.
        paths: its file, or those of a DICOM series.
        dicom: whether it is a DICOM series.
        part: which image of that series, see `kfine.read`; None for the only one.
    """

    subject: str
    name: str
    paths: tuple[Path, ...]
    dicom: bool
    part: str | None = None

    def read(self) -> Image:
        """Return the image, or raise `InputError`."""
        if not self.dicom:
            return read(self.paths[0])
        with reading_errors(self.name):
            files = [file for path in self.paths if (file := read_file(path)) is not None]
            return DicomSeries(files, self.name, Wanted(part=self.part)).image()


@dataclass(frozen=True)
class Found:
    """The volumes below a folder, and lines that say what is not among them and what their names may hide."""

    volumes: tuple[Volume, ...]
    notes: tuple[str, ...]

    @property
    def subjects(self) -> list[str]:
        """The patients, sorted."""
        return sorted({volume.subject for volume in self.volumes})


def volumes_below(folder: Path, *, leave: Path) -> Found:
    """Return the NIfTI files and DICOM series below `folder` that a scanner may have made.

    As `kfine batch` finds them: of a BIDS dataset the images in `anat`; no hidden files, no derived DICOM, nothing that
    kfine restored; and nothing in a folder `derivatives`.

    Args:
        folder: the folder.
        leave: a folder that is not looked into.

    Raises:
        InputError: no folder, or no volume in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder.name}: expected a folder of images, one or more files a subject")
    if is_dataset(folder):
        search = find_bids_cases(folder, out=leave)
    else:
        search = find_cases(folder, out=leave, discretion=Discretion(hide=False))
    left = [(label, why.split(";")[0].replace("restored", "compared")) for label, why in search.left_out]
    left += [(label, str(error)) for label, error in search.failures]
    volumes = []
    for case in search.cases:
        why = _unwanted(case, folder)
        if why is None:
            volumes.append(_volume(case, folder))
        else:
            left.append((case.label, why))
    notes = (*_left_out(left), *_as_one(volumes, folder), *_as_one_dicom(volumes))
    if not volumes:
        raise InputError(
            "; ".join([f"{folder.name}: expected NIfTI or DICOM images below it, found none", *notes])
        )
    return Found(tuple(volumes), notes)


def _unwanted(case: Case, folder: Path) -> str | None:
    """Return why an image is no truth, None if it may be one."""
    if _DERIVATIVES in case.paths[0].relative_to(folder).parts[:-1]:
        return f"in a folder {_DERIVATIVES}"
    return None if case.dicom or kind_of(case.paths[0]) == "nifti" else "raw k-space"


def _volume(case: Case, folder: Path) -> Volume:
    shared = Path(os.path.commonpath([path.parent for path in case.paths]))
    where = case.paths[0] if len(case.paths) == 1 else shared
    return Volume(
        _legible(subject_of(where, folder)), _legible(case.label), case.paths, case.dicom, case.part
    )


def _legible(name: str) -> str:
    """Return a file's name as UTF-8 can hold it: of other bytes, as old disks have them, their numbers."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _left_out(left: Sequence[tuple[str, str]]) -> Iterator[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for label, why in left:
        reasons[why].append(label)
    for why, labels in sorted(reasons.items()):
        more = [f"{len(labels) - _LISTED} more"] if len(labels) > _LISTED else []
        yield f"left out ({why}): {', '.join([*sorted(labels)[:_LISTED], *more])}"


def _as_one(volumes: Sequence[Volume], folder: Path) -> Iterator[str]:
    """Yield a line for each patient made of several files: the names alone say that they belong together."""
    stems: dict[str, set[str]] = defaultdict(set)
    for volume in volumes:
        if volume.paths[0].parent == folder and len(volume.paths) == 1:
            stems[volume.subject].add(stem_of(volume.paths[0]))
    for subject, names in sorted(stems.items()):
        if len(names) > 1:
            yield (
                f"{', '.join(sorted(names))} count as one patient, {subject}, by what is before the first _ or . in "
                "their names; if they are not, give each patient a folder"
            )


def _as_one_dicom(volumes: Sequence[Volume]) -> Iterator[str]:
    """Yield a line for each folder whose DICOM series say that they are of several patients, without saying whom."""
    series: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        if volume.dicom:
            series[volume.subject].append(volume)
    for subject, theirs in sorted(series.items()):
        if len(theirs) > 1 and len({_patient(volume.paths[0]) for volume in theirs}) > 1:
            yield (
                f"DICOM series of several patients count as one, {subject}, for they lie in one folder: give each "
                "patient a folder"
            )


def _patient(path: Path) -> str:
    file = read_file(path)
    return "" if file is None else str(file.header.get("PatientID", ""))
