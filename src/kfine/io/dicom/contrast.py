"""Contrast of a frame: kind, component, diffusion and dimension indices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kfine.io.dicom.header import group_value, image_type, one_text, optional_number
from kfine.text import clean_text

_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_MAPS = {"PHASE MAP": "P", "VELOCITY MAP": "P", "VELOCITY": "P"}
# M, P, R or I between a scanner's own words, as in SW_P, M_FFE or SW_P_FFE; not the PHASE of IN_PHASE, a Dixon contrast
_PART = re.compile(r"(?:[A-Z0-9]+_)?([MPRI])(?:_[A-Z0-9]+)*")
_FLOW = re.compile(
    r"(?i)_v\d+(in|rl|ap|fh|$)|(^|[^a-z])pcm?a?(?=$|[^a-z])"
)  # in a sequence's name or an image's type
_RAW_DATA_TYPE = (0x0043, 0x102F)  # of one vendor: 0 magnitude, 1 phase, 2 real, 3 imaginary
_OF_A_SLICE = {0x00209056, 0x00209057, 0x00200032, 0x00200037}  # stack, place in it, position, orientation


@dataclass(frozen=True)
class Contrast:
    """What an image shows.

    Attributes:
        component: "M", "P", "R" or "I" (magnitude, phase, real or imaginary part), "" where the file does not say.
        kind: the values of ImageType (in enhanced files FrameType) after the second, one printable text.
        b_value: s/mm2, None where the file does not say.
        gradient: direction of the diffusion gradient, None where the file does not say.
        dimensions: DimensionIndexValues but for those of the slice, None where the file has none.
        inversion: inversion time in ms, None where the file does not say or says 0.
        velocity: whether a phase is that of blood flow, not of the image.
    """

    component: str = ""
    kind: str = ""
    b_value: float | None = None
    gradient: tuple[float, ...] | None = None
    dimensions: tuple[float, ...] | None = None
    inversion: float | None = None
    velocity: bool = False


def contrast(header: Any, index: int) -> Contrast:
    """Return what frame `index` of a file with the data set `header` shows."""
    frame_type = group_value(header, index, ("MRImageFrameTypeSequence", "FrameType"))
    types = image_type(header) if frame_type is None else image_type({"ImageType": frame_type})
    said = group_value(header, index, ("MRImageFrameTypeSequence", "ComplexImageComponent"))
    return Contrast(
        component=_component([str(said or ""), *types[2:], _raw_data_type(header)]),
        kind=clean_text("/".join(types[2:])),
        b_value=optional_number(group_value(header, index, ("MRDiffusionSequence", "DiffusionBValue"))),
        gradient=_gradient(header, index),
        dimensions=_dimensions(header, index),
        inversion=_inversion(header, index),
        velocity=_is_velocity(header, types[2:]),
    )


def _inversion(header: Any, index: int) -> float | None:
    """Return the inversion time in ms; some scanners write 0 where nothing is inverted."""
    times = group_value(header, index, ("MRModifierSequence", "InversionTimes"))
    first = times[0] if hasattr(times, "__iter__") and not isinstance(times, str) and len(times) else times
    found = optional_number(header.get("InversionTime") if first is None else first)
    return found if found else None


def _is_velocity(header: Any, words: list[str]) -> bool:
    """Return whether a phase encodes velocity: its own words say so, or the sequence's."""
    if str(header.get("PhaseContrast") or "") == "YES" or "VELOCITY" in "/".join(words):
        return True
    return any(_FLOW.search(text) for text in (*words, one_text(header.get("SequenceName"))))


def _component(words: list[str]) -> str:
    """Return the component that the first telling one of `words` names, "" if none does."""
    for word in words:
        part = _PART.fullmatch(word)
        found = _COMPONENTS.get(word) or _MAPS.get(word) or (part[1] if part else "")
        if found:
            return found
    return ""


def _raw_data_type(header: Any) -> str:
    """Return the component's name by the vendor's own tag, which is there where ImageType says nothing."""
    element = header.get(_RAW_DATA_TYPE)
    number = optional_number(None if element is None else element.value)
    return dict(enumerate(_COMPONENTS)).get(-1 if number is None else int(number), "")


def _gradient(header: Any, index: int) -> tuple[float, ...] | None:
    directions = group_value(header, index, ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"))
    value = (directions[0] if directions else header).get("DiffusionGradientOrientation")
    numbers = [optional_number(item) for item in value] if value is not None else []
    known = tuple(number for number in numbers if number is not None)
    return known if len(known) == 3 else None


def _dimensions(header: Any, index: int) -> tuple[float, ...] | None:
    """Return the indices of a frame, but for those of the slice: these follow from its position."""
    values = group_value(header, index, ("FrameContentSequence", "DimensionIndexValues"))
    pointers = [
        int(item.get("DimensionIndexPointer", 0)) for item in header.get("DimensionIndexSequence") or []
    ]
    if values is None or not pointers:
        return None
    several = values if hasattr(values, "__iter__") else [values]
    if len(several) != len(pointers):
        return None
    pairs = zip(pointers, several, strict=True)
    return tuple(float(value) for pointer, value in pairs if pointer not in _OF_A_SLICE)
