"""Volumes below a folder, and the subjects they belong to."""

from __future__ import annotations

from pathlib import Path

from kfine.errors import InputError

NIFTI = (".nii", ".nii.gz")


def find_volumes(root: Path, *, files: tuple[str, ...] = NIFTI) -> list[Path]:
    """Return the files below `root` whose names end so, and the folders that hold DICOM files, sorted.

    Raises:
        InputError: none found.
    """
    found = [p for p in root.rglob("*") if p.name.endswith(files)]
    dicom = {p.parent for p in root.rglob("*.dcm")}
    if not found and not dicom:
        raise InputError(
            f"{root.name}: expected a folder with {', '.join(files)} or .dcm files below it, found none"
        )
    return sorted([*found, *dicom])


def subject_of(path: Path, root: Path) -> str:
    """Return the subject a volume belongs to: the first folder below `root`, or the name up to "_" or ".".

    >>> subject_of(Path("data/sub-01_T1w.nii.gz"), Path("data"))
    'sub-01'
    """
    first = path.relative_to(root).parts[0] if path != root else root.name
    return first if (root / first).is_dir() else first.split("_")[0].split(".")[0]
