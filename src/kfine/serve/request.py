"""A restoration as the page asks for it: JSON to options of the library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kfine.errors import UsageError
from kfine.restoration.options import EFFORTS, METHODS, Options
from kfine.text import clean_text

_MOST_SCALE, _MOST_FRAMES, _MOST_SAMPLES = 8.0, 8, 64
PROFILES = ("gaussian", "box", "crop")
SLICES = ("keep", "isotropic")


def _number(low: float, high: float) -> Callable[[str, Any], float]:
    def parse(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{name}: expected a number, got {clean_text(value)}")
        if not low <= value <= high:
            raise UsageError(f"{name}: expected a number from {low:g} to {high:g}, got {value:g}")
        return float(value)

    return parse


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def parse(name: str, value: Any) -> int:
        number = _number(low, high)(name, value)
        if number != int(number):
            raise UsageError(f"{name}: expected a whole number, got {number:g}")
        return int(number)

    return parse


def _one_of(known: tuple[str, ...]) -> Callable[[str, Any], str]:
    def parse(name: str, value: Any) -> str:
        if value not in known:
            raise UsageError(f"{name}: expected one of {', '.join(known)}, got {clean_text(value)}")
        return str(value)

    return parse


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}: expected true or false, got {clean_text(value)}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 128:
        raise UsageError(f"{name}: expected a short text, got {clean_text(value)}")
    return value


# What the page may send: of the options, and of how the scan is read.
_OPTIONS: dict[str, Callable[[str, Any], Any]] = {
    "scale": _number(1, _MOST_SCALE),
    "frames_scale": _whole(1, _MOST_FRAMES),
    "method": _one_of(METHODS),
    "effort": _one_of(EFFORTS),
    "denoise": _flag,
    "samples": _whole(1, _MOST_SAMPLES),
    "slice_profile": _one_of(PROFILES),
    "seed": _whole(0, 2**31 - 1),
}
_READING: dict[str, Callable[[str, Any], Any]] = {
    "series": _text,
    "echo": _whole(1, 1000),
    "part": _text,
    "period": _number(1e-3, 1e3),
    "periodic": _flag,
    "coil_axis": _whole(-8, 8),
    "contrast": _whole(1, 1000),
    "plane": _one_of(("axial", "coronal", "sagittal")),
}


@dataclass(frozen=True)
class RestoreRequest:
    """What is restored, and how.

    Attributes:
        options: of the restoration.
        reading: keywords of `kfine.io.reading.read_input`.
        force: whether derived images are restored too.
    """

    options: Options
    reading: dict[str, Any]
    force: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RestoreRequest:
        """Return what JSON from the page asks for; a value of None or "" counts as left out.

        Raises:
            UsageError: an unknown name, or a value out of range.

        >>> RestoreRequest.of({"scale": 2, "slices": "isotropic"}).options.label
        '_x2_isotropic'
        """
        left = {name: value for name, value in values.items() if value is not None and value != ""}
        chosen = _one_of(SLICES)("slices", left.pop("slices", "keep"))
        force = _flag("force", left.pop("force", False))
        unknown = sorted(left.keys() - _OPTIONS.keys() - _READING.keys())
        if unknown:
            raise UsageError(f"unknown option {clean_text(unknown[0])}; reload the page")
        parsed = {name: parse(name, left[name]) for name, parse in _OPTIONS.items() if name in left}
        if parsed.get("scale") == 1:
            del parsed["scale"]
        if parsed.get("frames_scale") == 1:
            del parsed["frames_scale"]
        if chosen != "isotropic":
            parsed.pop("slice_profile", None)
        options = Options(**parsed, isotropic=chosen == "isotropic")
        if options.scale is None and not options.in_time and not options.in_slices:
            raise UsageError("nothing to restore: choose a finer matrix, isotropic slices or more frames")
        reading = {name: parse(name, left[name]) for name, parse in _READING.items() if name in left}
        return cls(options, reading, force)
