"""Parsers of option values, which raise `UsageError`; translation of the library's messages to option names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from kfine.errors import UsageError
from kfine.files.names import PICTURES, check_suffix

Matrix = tuple[int, int]

# Arguments that messages of the library name as NAME=VALUE; each is an option of the commands.
_ARGUMENTS = (
    "coil_axis", "combine", "contrast", "device", "echo", "force", "matrix", "method", "model", "nan", "overwrite",
    "part", "periodic", "precision", "resume", "series", "slices", "input", "calibration", "strict",
)  # fmt: skip
_ARGUMENT = re.compile(
    rf"\b({'|'.join(_ARGUMENTS)})=(\([^()]*\)|'[^']*'|[\w.+-]+)|(?<![\w.])coil_axis\b", re.ASCII
)


def as_options(message: str) -> str:
    """Return a message of the library with its arguments spelled as options of the command line.

    >>> as_options("exists already; add overwrite=True"), as_options("restore with matrix=(96, 80)")
    ('exists already; add --overwrite', 'restore with --matrix 96x80')
    >>> as_options("name it with coil_axis; use slices=(A, B) or method='core'")
    'name it with --coil-axis; use --slices A:B or --method core'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1] or match[0], (match[2] or "True").strip("'")
        if value.startswith("("):
            value = {"slices": ":"}.get(name, "x").join(part.strip() for part in value[1:-1].split(","))
        return f"--{name.replace('_', '-')}" + ("" if value == "True" else f" {value}")

    return _ARGUMENT.sub(option, message)


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


def parse_plane(text: str | None) -> tuple[int, int] | str | None:
    """Return the argument `plane` of `kfine.read` for --plane; the option counts axes from 1, the argument from 0.

    >>> parse_plane("coronal"), parse_plane("3x1")
    ('coronal', (2, 0))
    """
    if text is None or text in ("axial", "coronal", "sagittal"):
        return text
    match = re.fullmatch(r"([123])[xX×]([123])", text.strip())
    if not match or match[1] == match[2]:
        raise UsageError(
            f"--plane {text}: expected axial, coronal, sagittal, or the file's axes of rows and columns such as 2x1"
        )
    return int(match[1]) - 1, int(match[2]) - 1


def parse_voxel(text: str | None) -> float | tuple[float, float, float] | None:
    """Return the millimetres in "1" or "1x1x1".

    >>> parse_voxel("0.9"), parse_voxel("0.5x0.5x1")
    (0.9, (0.5, 0.5, 1.0))
    """
    if text is None:
        return None
    parts = re.split(r"[xX×]", text.strip())
    try:
        sizes = [float(part) for part in parts]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        return sizes[0]
    if len(sizes) == 3:
        return sizes[0], sizes[1], sizes[2]
    raise UsageError(
        f"--voxel {text}: expected mm between slices such as 1, or ROWxCOLUMNxSLICE such as 1x1x1"
    )


def parse_time(text: str | None, option: str) -> float | None:
    """Return the seconds of a time in the format of SLURM.

    >>> parse_time("1:30:00", "--max-time"), parse_time("2-00:00:10", "--max-time")
    (5400.0, 172810.0)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:([0-9]{1,3})-)?([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])", text.strip())
    seconds = 0
    if match:
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not seconds:
        raise UsageError(f"{option} {text}: expected a time such as 3:50:00 or 1-12:00:00")
    return float(seconds)


def parse_noise(text: str) -> float | Literal["data"]:
    """Return the value of --noise: a number, or "data".

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
    """Return (first, stop) of "A:B", counted from 0, B excluded; A and B are optional.

    With `count`, the number of slices, the range is checked; without it, only the syntax.

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


def check_picture(path: Path | None) -> None:
    """Raise `UsageError` unless `path` is None or names a picture by its suffix."""
    check_suffix(path, "figure", PICTURES)


def check_json(path: Path | None) -> None:
    """Raise `UsageError` unless `path` is None or ends in .json."""
    check_suffix(path, "json", (".json",))


def check_at_most(option: str, value: int | None, most: int) -> None:
    """Raise `UsageError` if `value` is above `most`, which guards against typing errors."""
    if value is not None and value > most:
        raise UsageError(f"{option} {value}: expected at most {most}")
