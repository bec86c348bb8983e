"""Images below a folder, found by content: NIfTI files, k-space, DICOM series; the cases of a batch."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np

from kfine.errors import InputError, KfineError
from kfine.files.names import files_below, stem_of
from kfine.io.dicom.aspect import Aspect, aspects_of
from kfine.io.dicom.frame import frame_orientations, several_planes
from kfine.io.dicom.header import DicomFile, pydicom_errors, read_file
from kfine.io.dicom.images import SeriesImage, images_of
from kfine.io.dicom.privacy import Discretion
from kfine.io.dicom.reader import is_derived
from kfine.io.nifti.companions import halves_of, is_named_phase, says_restored
from kfine.io.reading import SUFFIXES, kind_of, reading_errors
from kfine.text import clean_text, printable

RESULT = "results of kfine"  # reason to leave an image out
PHASE = "phase images"  # reason to leave an image out


@dataclass(frozen=True)
class Case:
    """One image to restore.

    Attributes:
        label: path below the input folder, fit for messages and reports.
        place: path of the results below the output folder, without the ending of their names.
        paths: the file, or the files of a DICOM series.
        dicom: whether the image is a DICOM series.
        part: the image of that series, see `kfine.read`; None for the only one.
    """

    label: str
    place: PurePosixPath
    paths: tuple[Path, ...]
    dicom: bool = False
    part: str | None = None


@dataclass
class Search:
    """Images found below a folder.

    Attributes:
        cases: the images, in the order of their labels.
        failures: labels and errors of damaged images.
        left_out: labels of the images that are not restored, and the reasons.
        discretion: stand-ins for the names of patients.
    """

    cases: list[Case] = field(default_factory=list)
    failures: list[tuple[str, KfineError]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    discretion: Discretion = field(default_factory=Discretion)

    def keep_apart(self, name: Callable[[Case], str]) -> None:
        """Move cases whose results would replace those of an earlier case to the failures.

        name: returns the name of the results of a case; upper and lower case are the same, as on many disks.
        """
        first: dict[str, Case] = {}
        for case in self.cases:
            other = first.setdefault(name(case).casefold(), case)
            if other is not case:
                clash = InputError(f"its results would replace those of {other.label}; rename one")
                self.failures.append((case.label, clash))
        self.cases = list(first.values())


def matches(label: str, only: Sequence[str]) -> bool:
    """Return whether a label matches one of the patterns, or there are none."""
    return not only or any(fnmatchcase(label, pattern) for pattern in only)


@dataclass(frozen=True)
class _Member:
    """A DICOM file of a series, with as little data as possible: there may be many thousands."""

    path: Path
    series: tuple[str, str]
    image: str
    number: int | None
    modality: str
    derived: bool
    aspects: frozenset[Aspect]
    orientations: frozenset[tuple[float, ...]]


def find_cases(
    top: Path,
    *,
    out: Path,
    only: Sequence[str] = (),
    force: bool = False,
    discretion: Discretion | None = None,
) -> Search:
    """Return the images below the folder `top`.

    Args:
        top: the input folder.
        out: the output folder, which is not searched.
        only: patterns of labels such as "*_T1w.nii.gz"; images that match none are neither cases nor left out.
        force: whether derived DICOM images, phase images and results of kfine are restored too.
        discretion: stand-ins for the names of patients; None: found in all files.

    Raises:
        ResourceError: an error of the system.
    """
    search, members, files = Search(discretion=discretion or Discretion()), list[_Member](), list[Path]()
    damaged = list[tuple[Path, KfineError]]()
    failures, left = list[tuple[Path, KfineError]](), list[tuple[Path, str]]()
    for path in files_below(top, leave=[out], on_error=lambda p, e: failures.append((p, _unlisted(p, e)))):
        kind = None
        try:
            kind = _kind(path)
            if kind == "dicom":
                member = _member(path, top, search)
                members += member
                left += [] if member else [(path, "DICOM without an image")]
            elif kind is not None:
                files.append(path)
        except KfineError as error:
            failures.append((path, error))
            damaged += [(path, error)] if kind == "dicom" else []
    search.discretion.learn_damaged(damaged, {member.path.parent for member in members})
    # All names of patients are known from here on.
    results = {path for path in files if not force and _is_result(path)}
    left += [(path, f"{RESULT}; force=True restores them") for path in sorted(results)]
    phases = {path for path in files if not force and path not in results and is_named_phase(path)}
    left += [(path, f"{PHASE}; force=True restores them") for path in sorted(phases)]
    search.left_out = [(printable(_hidden(path, top, search)), why) for path, why in left]
    cases = [_file_case(path, top, search) for path in files if path not in results | phases]
    cases += _series_cases(members, top, search, force=force)
    wanted = [case for case in cases if matches(case.label, only)]
    search.left_out = [pair for pair in search.left_out if matches(pair[0], only)]
    search.cases = sorted(wanted, key=lambda case: (case.label, case.paths))
    named = [(printable(_hidden(path, top, search)), error) for path, error in failures]
    search.failures = [pair for pair in named if matches(pair[0], only)]
    search.keep_apart(lambda case: str(case.place))
    return search


def _kind(path: Path) -> str | None:
    """Return the format of a file; None for other files than images.  Raise `InputError` for a damaged image."""
    name = path.name.lower()
    named = name.endswith(SUFFIXES)
    if not os.path.isfile(path):
        if named and os.path.islink(path):
            raise InputError(f"{clean_text(path.name)}: a broken link; get the file that it points to")
        return None  # a pipe or a device
    if name.endswith(".gz") and not named:
        return None  # any content is possible
    try:
        kind = kind_of(path)
    except InputError:
        if named:
            raise
        return None
    if kind == "hdf5" and (not named or name.endswith(".mat")):
        return None  # many programs use HDF5, with other suffixes, and MATLAB's files hold anything
    if kind == "bart" and path.suffix.lower() == ".hdr" and path.with_suffix(".cfl").is_file():
        return None  # the file with the data represents both
    if kind == "nifti" and (halves_of(path) or (None,))[0] == path:
        return None  # the other file of the pair represents both
    return kind if kind != "kspace" or _is_complex(path) else None


def _is_result(path: Path) -> bool:
    return stem_of(path).endswith(("_kfine", "_kfine_std")) or says_restored(path)


def _is_complex(path: Path) -> bool:
    """Return whether an array may be k-space; also for a damaged one, whose error the reader raises."""
    if path.suffix.lower() != ".npy":
        return True
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).dtype.kind == "c"
    except Exception:  # see kfine.io.kspace.npy
        return True


def _member(path: Path, top: Path, search: Search) -> list[_Member]:
    """Return a DICOM file if it holds an image; learn the names of patients from its header."""
    name = clean_text(path.name)
    with reading_errors(name):
        file = read_file(path)
    if file is None:
        return []
    with pydicom_errors(name, "its identifiers"):
        search.discretion.learn(file.header, [top.resolve().name, *path.relative_to(top).parts])
        image, series = str(file.header.get("SOPInstanceUID") or path), _series_of(file)
        orientations = frame_orientations(file)
    number, modality = file.series_number, file.modality
    aspects, derived = aspects_of(file), is_derived(file)
    return [_Member(path, series, image, number, modality, derived, aspects, orientations)]


def _series_of(file: DicomFile) -> tuple[str, str]:
    """Return the key of the series of a file: the UIDs, or the folder if there is no UID."""
    study = str(file.header.get("StudyInstanceUID") or "")
    return (study, file.series_uid) if file.series_uid else ("", str(file.path.parent))


def _file_case(path: Path, top: Path, search: Search) -> Case:
    place = _hidden(path, top, search)
    header = path.with_suffix(".hdr")  # second file of BART's pair
    pair = halves_of(path) if path.suffix.lower() != ".cfl" else None
    paths = (path, header) if path.suffix.lower() == ".cfl" and header.is_file() else (path,)
    paths = (path, pair[0]) if pair is not None else paths
    return Case(printable(place), place.with_name(stem_of(place)), paths)


def _series_cases(members: list[_Member], top: Path, search: Search, *, force: bool) -> list[Case]:
    grouped = [group for series in _grouped(members).values() for group in _separated(series)]
    wanted = []
    for group in grouped:
        why = _unwanted(group, force=force)
        if why is None:
            wanted.append(group)
        else:
            search.left_out.append((_label(group, top, search), why))
    shared = Counter(_folder(group) for group in grouped)
    alike = Counter((_folder(group), group[0].number) for group in grouped)
    cases = []
    for group in wanted:
        place, first = _place(group, top, search), group[0]
        if len(group) > 1 and shared[_folder(group)] > 1:
            own = hashlib.sha256("".join(first.series).encode()).hexdigest()[:6]
            same = alike[_folder(group), first.number] > 1 or first.number is None
            place = place.with_name(f"{place.name}_series-{own if same else first.number}")
        cases += _image_cases(group, place, search, force=force)
    return cases


def _image_cases(group: list[_Member], place: PurePosixPath, search: Search, *, force: bool) -> list[Case]:
    """Return one case for each image of a series, without phase images and parts of complex images."""
    paths = tuple(member.path for member in group)
    images = _images(group, printable(place))
    if len(images) < 2:
        return [Case(printable(place), place, paths, dicom=True)]
    cases = []
    for image in images:
        own = place.with_name(f"{place.name}_{image.label}")
        if image.component == "P" and not force:
            search.left_out.append((printable(own), f"{PHASE}; force=True restores them"))
        else:
            cases.append(Case(printable(own), own, paths, dicom=True, part=image.label))
    return cases


def _images(group: list[_Member], name: str) -> list[SeriesImage]:
    """Return the images of a series; none if they cannot be distinguished: the reader raises the error then."""
    try:
        return images_of(frozenset().union(*(member.aspects for member in group)), name=name)[0]
    except InputError:
        return []


def _grouped(members: list[_Member]) -> dict[tuple[str, str], list[_Member]]:
    groups: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for member in members:
        groups[member.series].append(member)
    return groups


def _separated(series: list[_Member]) -> list[list[_Member]]:
    """Return a series as one group, even if it lies in several folders; copies of a series as one group each."""
    if len({member.image for member in series}) == len(series):
        return [series]
    folders: dict[Path, list[_Member]] = defaultdict(list)
    for member in series:
        folders[member.path.parent].append(member)
    return list(folders.values())


def _unwanted(group: list[_Member], *, force: bool) -> str | None:
    """Return the reason why a series is not restored, None if it is."""
    if any(member.modality not in ("", "MR") for member in group):
        return "no MR images"
    if any(member.derived for member in group) and not force:
        return "derived images (ImageType DERIVED); force=True restores them"
    if {aspect.component for member in group for aspect in member.aspects} == {"P"} and not force:
        return f"{PHASE}; force=True restores them"
    if several_planes(orientation for member in group for orientation in member.orientations):
        return "slices of several orientations, as localisers have them"
    return None


def _folder(group: list[_Member]) -> Path:
    return Path(os.path.commonpath([member.path.parent for member in group]))


def _place(group: list[_Member], top: Path, search: Search) -> PurePosixPath:
    """Return the path of a series below the input folder: its folder, or its only file without suffix."""
    where = group[0].path if len(group) == 1 else _folder(group)
    place = _hidden(where, top, search)
    if not place.name:
        place = PurePosixPath(search.discretion.part(top.resolve().name) or "series")
    return place.with_name(stem_of(place)) if len(group) == 1 else place


def _label(group: list[_Member], top: Path, search: Search) -> str:
    return printable(_place(group, top, search))


def _hidden(path: Path, top: Path, search: Search) -> PurePosixPath:
    """Return the path of `path` below `top`, with stand-ins for the names of patients."""
    return PurePosixPath(*map(search.discretion.part, path.relative_to(top).parts))


def _unlisted(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    return InputError(f"{clean_text(folder.name)}: cannot be listed ({reason}); check its permissions")
