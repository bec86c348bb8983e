"""File names of images and of the outputs beside them, and the files below a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from kfine.errors import UsageError

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")  # formats of results besides DICOM
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
DICOM = ("classic", "enhanced")


def stem_of(path: PurePath) -> str:
    """Return a file's name without the suffix of its format; a folder's name is unchanged.

    >>> stem_of(PurePath("a/scan.nii.gz"))
    'scan'
    """
    for suffix in (
        *VOLUMES,
        ".mgz",
        ".mgh",
        ".npy",
        ".h5",
        ".hdf5",
        ".mat",
        ".cfl",
        ".hdr",
        ".img",
        ".dcm.gz",
        ".dcm",
        ".ima",
    ):
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    return path.name


def beside(path: Path, ending: str) -> Path:
    """Return the path next to the image file or folder `path` whose name is its stem and `ending`.

    >>> beside(Path("out/brain.nii.gz"), "_std.nii.gz").name
    'brain_std.nii.gz'
    """
    if path.name in {"", ".."}:  # "." and "..": the folder's own name
        path = path.resolve()
    if not path.name:
        raise UsageError(f"{path}: has no name to derive the output's from; give -o")
    return path.with_name(stem_of(path) + ending)


def volume_suffix(path: Path, *, also: str = "") -> str:
    """Return the suffix of an output path, one of `VOLUMES`, in its own spelling, or raise `UsageError`.

    also: other outputs that the message offers.
    """
    for suffix in VOLUMES:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[-len(suffix) :]
    raise UsageError(f"{path}: expected an output name that ends in .nii, .nii.gz, .nrrd or .mha{also}")


def dicom_kind(path: Path, kind: str | None) -> str | None:
    """Return the kind of DICOM image to write to the folder `path`; None if `path` names a file.

    A name without suffix or an existing folder means classic DICOM, unless `kind` names another kind.

    >>> dicom_kind(Path("out"), None), dicom_kind(Path("v1.2"), "enhanced"), dicom_kind(Path("a.nii"), None)
    ('classic', 'enhanced', None)
    """
    check_dicom(kind)
    if path.name.lower().endswith((*VOLUMES, ".dcm", ".json", *PICTURES)):
        if kind is not None:
            raise UsageError(f"{path}: DICOM goes to a folder; expected a name without a file's suffix")
        return None
    return kind or ("classic" if path.suffix == "" or path.is_dir() else None)


def check_dicom(kind: str | None) -> None:
    """Raise `UsageError` unless `kind` is None or a kind of DICOM image."""
    if kind is not None and kind not in DICOM:
        raise UsageError(f"dicom {kind}: expected {' or '.join(DICOM)}")


def check_suffix(path: Path | None, option: str, suffixes: tuple[str, ...]) -> None:
    """Raise `UsageError` unless `path` is None or ends in one of `suffixes`."""
    if path is not None and path.suffix.lower() not in suffixes:
        expected = ", ".join(suffixes[:-1]) + " or " + suffixes[-1] if len(suffixes) > 1 else suffixes[0]
        raise UsageError(f"{option} {path}: expected a name that ends in {expected}")


def files_below(
    top: Path, *, leave: Sequence[Path] = (), on_error: Callable[[Path, OSError], None]
) -> Iterator[Path]:
    """Yield the files below `top` in the order of their names, without hidden ones.

    Links to folders are followed.  Each folder is entered once, and no link leads back to a parent of `top`.

    Args:
        top: an existing folder.
        leave: folders that are skipped.
        on_error: called with a folder that cannot be listed, and the error.
    """
    root = Path(os.path.realpath(top))
    # Real paths: a link that makes a loop leads to one of them.
    seen = {root, *root.parents, *(Path(os.path.realpath(folder)) for folder in leave)}
    ahead = [top]
    while ahead:
        folder = ahead.pop()
        try:
            entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            on_error(folder, error)
            continue
        inner = []
        for entry in entries:
            if not os.path.isdir(entry):
                yield entry
            elif (real := Path(os.path.realpath(entry))) not in seen:
                seen.add(real)
                inner.append(entry)
        ahead.extend(reversed(inner))
