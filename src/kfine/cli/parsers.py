"""From the words of a command line to values; what cannot be read raises `UsageError`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from kfine.errors import UsageError
from kfine.files.names import NIFTI, PICTURES, stem_of

DICOM = ("classic", "enhanced")

Matrix = tuple[int, int]


def parse_size(matrix: str | None, scale: float | None, *, needed: bool = True) -> Matrix | None:
    """Return the (rows, columns) of --matrix, None for --scale; exactly one is given, or none if not `needed`.

    >>> parse_size("128x96", None)
    (128, 96)
    """
    if (matrix is None) == (scale is None) and (needed or matrix is not None):
        both = "got neither" if matrix is None else "got both"
        raise UsageError(f"expected either --scale or --matrix, {both}")
    return parse_matrix(matrix)


def parse_matrix(text: str | None, option: str = "--matrix") -> Matrix | None:
    """Return (rows, columns) of "ROWSxCOLUMNS".

    >>> parse_matrix("128x96")
    (128, 96)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})[xX×]([0-9]{1,6})", text.strip())
    if not match or 0 in (int(match[1]), int(match[2])):
        raise UsageError(f"{option} {text}: expected ROWSxCOLUMNS such as 128x128")
    return int(match[1]), int(match[2])


def parse_noise(text: str) -> float | Literal["data"]:
    """Return the number of --noise, or "data".

    >>> parse_noise("0.02"), parse_noise("data")
    (0.02, 'data')
    """
    if text == "data":
        return "data"
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--noise {text}: expected a part of the full intensity such as 0.02, or data"
        ) from None


def parse_slices(text: str | None, count: int | None = None) -> tuple[int, int] | None:
    """Return (first, stop) of "A:B", counted from 0, B excluded; either may be left out.

    With `count`, the number of slices, None if `text` is; without it, only the form is checked.

    >>> parse_slices("10:", 20)
    (10, 20)
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{0,6}):([0-9]{0,6})", text.strip())
    if not match:
        raise UsageError(f"--slices {text}: expected A:B such as 10:20 (counted from 0, B excluded)")
    first = int(match[1] or 0)
    stop = int(match[2]) if match[2] else count or first + 1
    if not first < stop <= (count or stop):
        bound = f" <= {count}, the number of slices" if count else ", counted from 0, B excluded"
        raise UsageError(f"--slices {text}: expected A < B{bound}")
    return first, stop


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


def nifti_suffix(path: Path, *, also: str = "") -> str:
    """Return ".nii" or ".nii.gz" of an output path, as it is written, or raise `UsageError`.

    also: what else the message says could be written.
    """
    for suffix in NIFTI:
        if path.name.lower().endswith(suffix) and len(path.name) > len(suffix):
            return path.name[-len(suffix) :]
    raise UsageError(f"{path}: expected an output name that ends in .nii or .nii.gz{also}")


def dicom_kind(path: Path, asked: str | None) -> str | None:
    """Return the kind of DICOM image to write to the folder `path`, None where it names a NIfTI file.

    A name without suffix and an existing folder mean classic DICOM, unless another kind is asked for.

    >>> dicom_kind(Path("out"), None), dicom_kind(Path("v1.2"), "enhanced"), dicom_kind(Path("a.nii"), None)
    ('classic', 'enhanced', None)
    """
    check_dicom(asked)
    if path.name.lower().endswith((*NIFTI, ".dcm", ".json", *PICTURES)):
        if asked is not None:
            raise UsageError(f"{path}: DICOM goes to a folder; expected a name without a file's suffix")
        return None
    return asked or ("classic" if path.suffix == "" or path.is_dir() else None)


def check_dicom(asked: str | None) -> None:
    """Raise `UsageError` unless `asked` is None or a kind of DICOM image."""
    if asked is not None and asked not in DICOM:
        raise UsageError(f"--dicom {asked}: expected {' or '.join(DICOM)}")


def check_combine(asked: str | None) -> None:
    """Raise `UsageError` unless `asked` is None or a way to combine coils."""
    if asked is not None:
        import kfine.io.kspace.scan as raw_scan

        raw_scan.check_combine(asked)


def check_picture(path: Path | None) -> None:
    """Raise `UsageError` unless `path` is None or names a picture by its suffix."""
    _check_suffix(path, "--figure", PICTURES)


def check_json(path: Path | None) -> None:
    """Raise `UsageError` unless `path` is None or ends in .json."""
    _check_suffix(path, "--json", (".json",))


def check_at_most(option: str, value: int | None, most: int) -> None:
    """Raise `UsageError` if `value` is given and above `most`: a slip of the keyboard, not a wish."""
    if value is not None and value > most:
        raise UsageError(f"{option} {value}: expected at most {most}")


def _check_suffix(path: Path | None, option: str, suffixes: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in suffixes:
        expected = ", ".join(suffixes[:-1]) + " or " + suffixes[-1] if len(suffixes) > 1 else suffixes[0]
        raise UsageError(f"{option} {path}: expected a name that ends in {expected}")
