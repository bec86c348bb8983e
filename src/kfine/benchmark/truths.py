"""Reference images of a benchmark: a few slices of every volume below a folder."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kfine.acquisition.grid import Matrix, show
from kfine.acquisition.zero_fill import measured_block
from kfine.batches.bids import find_bids_cases, is_dataset
from kfine.batches.finding import Case, find_cases
from kfine.degradation.kspace import degrade
from kfine.errors import InputError, UsageError
from kfine.evaluation.comparison import range_of
from kfine.evaluation.foreground import Mask, foreground
from kfine.evaluation.sharpness import WHITE
from kfine.files.names import stem_of
from kfine.image import Image, magnitude
from kfine.io import read
from kfine.io.dicom.header import read_file
from kfine.io.dicom.images import Wanted
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.reader import DicomSeries
from kfine.io.discovery import subject_of
from kfine.io.reading import kind_of, reading_errors
from kfine.models.domain import LEAST_TISSUE, TISSUE

_DERIVATIVES = "derivatives"
_LISTED = 5  # of the images left out for one reason


@dataclass(frozen=True)
class Volume:
    """One image below the folder.

    Attributes:
        subject: the patient: the name of the first folder, or that of the file up to "_" or ".".
        name: path below the folder; for several DICOM series of a folder with the number of the series.
        paths: the file, or the files of a DICOM series.
        dicom: whether the image is a DICOM series.
        part: the image of that series, see `kfine.read`; None for the only one.
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
    """The volumes below a folder, and notes about images that are left out and about ambiguous names."""

    volumes: tuple[Volume, ...]
    notes: tuple[str, ...]

    @property
    def subjects(self) -> list[str]:
        """The patients, sorted."""
        return sorted({volume.subject for volume in self.volumes})


def volumes_below(folder: Path, *, leave: Path) -> Found:
    """Return the NIfTI files and DICOM series below `folder` that may come from a scanner.

    The search is that of `kfine batch`: in a BIDS dataset the images in `anat`; no hidden files, no derived DICOM, no
    results of kfine.  Folders `derivatives` are left out as well.

    Args:
        folder: the folder.
        leave: a folder that is not searched.

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
    """Return the reason why an image cannot be a truth, None if it can."""
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
    """Return a file name as valid UTF-8; bytes of other encodings are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _left_out(left: Sequence[tuple[str, str]]) -> Iterator[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for label, why in left:
        reasons[why].append(label)
    for why, labels in sorted(reasons.items()):
        more = [f"{len(labels) - _LISTED} more"] if len(labels) > _LISTED else []
        yield f"left out ({why}): {', '.join([*sorted(labels)[:_LISTED], *more])}"


def _as_one(volumes: Sequence[Volume], folder: Path) -> Iterator[str]:
    """Yield a note for each patient with several files that only their names connect."""
    stems: dict[str, set[str]] = defaultdict(set)
    for volume in volumes:
        if volume.paths[0].parent == folder and len(volume.paths) == 1:
            stems[volume.subject].add(stem_of(volume.paths[0]))
    for subject, names in sorted(stems.items()):
        if len(names) > 1:
            yield (
                f"{', '.join(sorted(names))} count as one patient, {subject}, by the part before the first _ or . of "
                "their names; otherwise use one folder for each patient"
            )


def _as_one_dicom(volumes: Sequence[Volume]) -> Iterator[str]:
    """Yield a note, without names, for each folder with DICOM series of several patients."""
    series: dict[str, list[Volume]] = defaultdict(list)
    for volume in volumes:
        if volume.dicom:
            series[volume.subject].append(volume)
    for subject, theirs in sorted(series.items()):
        if len(theirs) > 1 and len({_patient(volume.paths[0]) for volume in theirs}) > 1:
            yield (
                f"DICOM series of several patients count as one, {subject}, because they lie in one folder: use one "
                "folder for each patient"
            )


def _patient(path: Path) -> str:
    file = read_file(path)
    return "" if file is None else str(file.header.get("PatientID", ""))


@dataclass(frozen=True)
class Truth:
    """Some slices of one volume.

    Attributes:
        subject: the patient, see `Volume`.
        name: path of the volume below the folder, see `Volume`.
        image: the slices of frame 0; complex if the k-space was measured.
        numbers: numbers of the slices in the volume, from 0.
        file_digest: SHA-256 of the file of the volume.
        note: a remark for readers of the figures, or "".
    """

    subject: str
    name: str
    image: Image
    numbers: tuple[int, ...]
    file_digest: str = ""
    note: str = ""

    @cached_property
    def planes(self) -> NDArray[np.float32]:
        """Magnitudes (slice, row, column)."""
        return np.asarray(magnitude(self.image).voxels[0])

    @cached_property
    def body(self) -> Mask:
        """Mask of the body (slice, row, column): Otsu's foreground of all slices together."""
        return foreground(self.image)[0]

    @cached_property
    def data_range(self) -> float:
        """Maximum minus minimum over these slices: the range of PSNR, SSIM and MS-SSIM."""
        return range_of(self.image)

    @cached_property
    def white(self) -> float:
        """Grey value that is 255 at 8 bits: the 99.9 % quantile of these slices."""
        return float(np.quantile(self.planes, WHITE)) or float(self.planes.max())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of voxels, shape and affine."""
        content = np.ascontiguousarray(self.image.voxels).tobytes() + self.image.affine.tobytes()
        return hashlib.sha256(str(self.image.voxels.shape).encode() + content).hexdigest()

    @property
    def middle(self) -> int:
        """Index of the slice in pictures."""
        return len(self.numbers) // 2


def find_truths(
    found: Found, *, subjects: Sequence[str] | None, slices: int, matrix: Matrix | None
) -> list[Truth]:
    """Return `slices` slices of each volume of the named subjects, or of all subjects.

    Args:
        found: the volumes.
        subjects: names of subjects; None for all.
        slices: number of slices of each volume, see `spread_slices`.
        matrix: (rows, columns) to which the truth is cropped in k-space first; None: as stored, or the measured block
            if the scanner filled the matrix up with zeros.

    Raises:
        UsageError: fewer than one slice.
        InputError: a missing subject, a volume without tissue, or one smaller than `matrix`.
    """
    if slices < 1:
        raise UsageError(f"slices {slices}: expected at least 1")
    missing = sorted(set(subjects or ()) - set(found.subjects))
    if missing:
        raise InputError(f"expected the subjects {', '.join(missing)}; found {', '.join(found.subjects)}")
    taken = [volume for volume in found.volumes if not subjects or volume.subject in subjects]
    return [_truth(volume, slices=slices, matrix=matrix) for volume in taken]


def spread_slices(volume: Image, count: int) -> list[int]:
    """Return the numbers of `count` slices, spread evenly over the middle 80 % of those with tissue in frame 0.

    A single slice is the middle one.

    Raises:
        InputError: no slice has tissue in 3 % of its pixels.
    """
    planes = np.abs(volume.voxels[0])
    full = np.quantile(planes, WHITE)
    tissue = np.flatnonzero((planes > TISSUE * full).mean(axis=(1, 2)) >= LEAST_TISSUE)
    if not tissue.size:
        raise InputError(
            f"{volume.source.name or 'image'}: expected slices with tissue in at least 3 % of their pixels, found none"
        )
    places = np.linspace(0.1, 0.9, count) if count > 1 else np.array([0.5])
    return sorted({int(number) for number in tissue[(places * (len(tissue) - 1)).round().astype(int)]})


def take(volume: Image, numbers: Sequence[int], *, matrix: Matrix | None = None) -> Image:
    """Return these slices of frame 0, cropped in k-space to `matrix` unless None; their spacing is not the volume's."""
    source = replace(volume.source, acquired_matrix=None)
    part = Image(volume.voxels[:1, list(numbers)], volume.affine, source=source)
    return part if matrix in (None, part.matrix) else degrade(part, matrix=matrix)


def _truth(volume: Volume, *, slices: int, matrix: Matrix | None) -> Truth:
    image = volume.read()
    if not np.isfinite(image.voxels).all():
        raise InputError(
            f"{volume.name}: expected finite voxels, got NaN or Inf; repair the file or leave it out"
        )
    numbers = spread_slices(image, slices)
    block = measured_block(image) if matrix is None else matrix
    taken = take(image, numbers, matrix=block)
    note = "" if matrix is not None else _filling(volume.name, image, block)
    return Truth(volume.subject, volume.name, taken, tuple(numbers), image.source.digest, note)


def _filling(name: str, image: Image, block: Matrix) -> str:
    """Return a note about zeros that the scanner filled in, or may have filled in; "" for none."""
    stored, acquired = show(image.matrix), image.source.acquired_matrix
    if block != image.matrix:
        return (
            f"{name}: the scanner filled up {show(block)} to {stored} with zeros; {show(block)} is the truth"
        )
    if acquired is not None and acquired != image.matrix:
        return (
            f"{name}: its header states that {show(acquired)} of {stored} was measured, its spectrum does not confirm "
            f"it; {stored} is the truth (matrix=({acquired[0]}, {acquired[1]}) takes the other)"
        )
    return ""
