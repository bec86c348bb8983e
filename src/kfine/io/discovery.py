"""Volumes below a folder, and their subjects."""

from __future__ import annotations

from pathlib import Path

from kfine.errors import InputError
from kfine.io.dicom.header import read_file

NIFTI = (".nii", ".nii.gz")


def find_volumes(root: Path, *, files: tuple[str, ...] = NIFTI) -> list[Path]:
    """Return the files below `root` with these suffixes and the folders with DICOM images, sorted.

    DICOM is recognised by content, with any file name.

    Raises:
        InputError: none found.
    """
    found, dicom = list[Path](), set[Path]()
    for path in root.rglob("*"):
        if path.name.endswith(files):
            found.append(path)
        elif path.parent not in dicom and path.is_file() and _is_dicom(path):
            dicom.add(path.parent)
    if not found and not dicom:
        raise InputError(
            f"{root.name}: expected a folder with {', '.join(files)} or DICOM files below it, found none"
        )
    return sorted([*found, *dicom])


def _is_dicom(path: Path) -> bool:
    """Return whether a file is a DICOM image; a damaged one counts if its suffix is .dcm, and its reader reports it."""
    try:
        return read_file(path) is not None
    except InputError:
        return path.suffix.lower() == ".dcm"
    except OSError:
        return False


def subject_of(path: Path, root: Path) -> str:
    """Return the subject of a volume: the first folder below `root`, or the file name up to "_" or ".".

    >>> subject_of(Path("data/sub-01_T1w.nii.gz"), Path("data"))
    'sub-01'
    """
    first = path.relative_to(root).parts[0] if path != root else root.name
    return first if (root / first).is_dir() else first.split("_")[0].split(".")[0]
