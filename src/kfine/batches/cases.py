"""Cases of a batch, failures, and images that are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from kfine.errors import InputError, KfineError
from kfine.io.dicom.privacy import Discretion

RESULT = "results of kfine"  # why they are left out


@dataclass(frozen=True)
class Case:
    """One image to restore.

    Attributes:
        label: where it lies below the input folder, fit for messages and reports.
        place: where its results go below the output folder, without the ending of their names.
        paths: its file, or those of a DICOM series.
        dicom: whether it is a DICOM series.
        part: which image of that series, see `kfine.read`; None for the only one.
    """

    label: str
    place: PurePosixPath
    paths: tuple[Path, ...]
    dicom: bool = False
    part: str | None = None


@dataclass
class Search:
    """What was found below a folder.

    Attributes:
        cases: the images, in the order of their labels.
        failures: label and error of what should be an image and cannot be one.
        left_out: label of each image that is not restored, and why.
        discretion: what stands for the names of patients.
    """

    cases: list[Case] = field(default_factory=list)
    failures: list[tuple[str, KfineError]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    discretion: Discretion = field(default_factory=Discretion)

    def keep_apart(self, name: Callable[[Case], str]) -> None:
        """Count as failures the cases whose results would take the place of an earlier case's.

        name: of a case's results; upper and lower case count alike, as on many disks.
        """
        first: dict[str, Case] = {}
        for case in self.cases:
            other = first.setdefault(name(case).casefold(), case)
            if other is not case:
                clash = InputError(f"its results would take the place of those of {other.label}; rename one")
                self.failures.append((case.label, clash))
        self.cases = list(first.values())


def matches(label: str, only: Sequence[str]) -> bool:
    """Return whether a label matches one of the patterns, or there are none."""
    return not only or any(fnmatchcase(label, pattern) for pattern in only)
