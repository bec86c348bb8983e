"""Contrast of a frame, and its aspect: the properties that separate the images of a series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kfine.io.dicom.header import (
    DicomFile,
    group_value,
    image_type,
    one_text,
    optional_number,
    pydicom_errors,
)
from kfine.text import clean_text


@dataclass(frozen=True)
class Aspect:
    """Properties of a frame that determine the image it belongs to.

    Attributes:
        echo: echo time in ms, None if unknown.
        echo_number: EchoNumbers as text, "" if unknown.
        inversion: inversion time in ms, None if unknown.
        component: see `Contrast`.
        velocity: whether a phase encodes velocity.
        kind: see `Contrast`.
        where: rounded position; empty if unknown.
    """

    echo: float | None
    echo_number: str
    inversion: float | None
    component: str
    velocity: bool
    kind: str
    where: tuple[float, ...]

    @classmethod
    def of(cls, shown: Contrast, *, echo: float | None, number: str, position: tuple[float, ...]) -> Aspect:
        """Return the aspect of a frame with this contrast, echo time (ms), echo number and position."""
        where = tuple(round(x, 1) for x in position)
        return cls(echo, number, shown.inversion, shown.component, shown.velocity, shown.kind, where)


def echo_of(header: Any, index: int) -> tuple[float | None, str]:
    """Return the echo time (ms) and the EchoNumbers of frame `index`."""
    time = optional_number(group_value(header, index, ("MREchoSequence", "EffectiveEchoTime")))
    own = optional_number(header.get("EchoTime")) if time is None else time
    return own, one_text(header.get("EchoNumbers"))


def aspects_of(file: DicomFile) -> frozenset[Aspect]:
    """Return the aspects of the frames of `file`, without other checks of the file."""
    header = file.header
    found = set()
    with pydicom_errors(file.name, "its image description"):
        for index in range(file.frames):
            echo, number = echo_of(header, index)
            value = group_value(header, index, ("PlanePositionSequence", "ImagePositionPatient")) or ()
            position = tuple(x for item in value if (x := optional_number(item)) is not None)
            found.add(Aspect.of(contrast(header, index), echo=echo, number=number, position=position))
    return frozenset(found)


_COMPONENTS = {"MAGNITUDE": "M", "PHASE": "P", "REAL": "R", "IMAGINARY": "I"}
_MAPS = {"PHASE MAP": "P", "VELOCITY MAP": "P", "VELOCITY": "P"}
# M, P, R or I between vendor words, as in SW_P, M_FFE or SW_P_FFE; not the PHASE of IN_PHASE, a Dixon contrast
_PART = re.compile(r"(?:[A-Z0-9]+_)?([MPRI])(?:_[A-Z0-9]+)*")
_FLOW = re.compile(
    r"(?i)_v\d+(in|rl|ap|fh|$)|(^|[^a-z])pcm?a?(?=$|[^a-z])"
)  # in a sequence's name or an image's type
_RAW_DATA_TYPE = (0x0043, 0x102F)  # private tag of one vendor: 0 magnitude, 1 phase, 2 real, 3 imaginary
_OF_A_SLICE = {0x00209056, 0x00209057, 0x00200032, 0x00200037}  # stack, index in it, position, orientation


@dataclass(frozen=True)
class Contrast:
    """Contrast of a frame.

    Attributes:
        component: "M", "P", "R" or "I" (magnitude, phase, real or imaginary part), "" if unknown.
        kind: the values of ImageType (FrameType in enhanced files) after the second, as one printable text.
        b_value: s/mm2, None if unknown.
        gradient: direction of the diffusion gradient, None if unknown.
        dimensions: DimensionIndexValues without those of the slice, None if the file has none.
        inversion: inversion time in ms, None if unknown or 0.
        velocity: whether a phase encodes velocity.
    """

    component: str = ""
    kind: str = ""
    b_value: float | None = None
    gradient: tuple[float, ...] | None = None
    dimensions: tuple[float, ...] | None = None
    inversion: float | None = None
    velocity: bool = False


def contrast(header: Any, index: int) -> Contrast:
    """Return the contrast of frame `index` of a file with the data set `header`."""
    frame_type = group_value(header, index, ("MRImageFrameTypeSequence", "FrameType"))
    types = image_type(header) if frame_type is None else image_type({"ImageType": frame_type})
    component = group_value(header, index, ("MRImageFrameTypeSequence", "ComplexImageComponent"))
    return Contrast(
        component=_component([str(component or ""), *types[2:], _raw_data_type(header)]),
        kind=clean_text("/".join(types[2:])),
        b_value=optional_number(group_value(header, index, ("MRDiffusionSequence", "DiffusionBValue"))),
        gradient=_gradient(header, index),
        dimensions=_dimensions(header, index),
        inversion=_inversion(header, index),
        velocity=_is_velocity(header, types[2:]),
    )


def _inversion(header: Any, index: int) -> float | None:
    """Return the inversion time in ms; some scanners write 0 for scans without inversion."""
    times = group_value(header, index, ("MRModifierSequence", "InversionTimes"))
    first = times[0] if hasattr(times, "__iter__") and not isinstance(times, str) and len(times) else times
    found = optional_number(header.get("InversionTime") if first is None else first)
    return found if found else None


def _is_velocity(header: Any, words: list[str]) -> bool:
    """Return whether a phase encodes velocity, by its image type or the name of the sequence."""
    if str(header.get("PhaseContrast") or "") == "YES" or "VELOCITY" in "/".join(words):
        return True
    return any(_FLOW.search(text) for text in (*words, one_text(header.get("SequenceName"))))


def _component(words: list[str]) -> str:
    """Return the component that the first of `words` names, "" if none does."""
    for word in words:
        part = _PART.fullmatch(word)
        found = _COMPONENTS.get(word) or _MAPS.get(word) or (part[1] if part else "")
        if found:
            return found
    return ""


def _raw_data_type(header: Any) -> str:
    """Return the name of the component from the vendor's private tag, for files without it in ImageType."""
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
    """Return the dimension indices of a frame without those of the slice, which follow from its position."""
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
