"""Aspect of a frame: echo, inversion, component and kind, which separate the images of a series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kfine.io.dicom.contrast import Contrast, contrast
from kfine.io.dicom.header import DicomFile, group_value, one_text, optional_number, pydicom_errors


@dataclass(frozen=True)
class Aspect:
    """One frame, as far as it matters to which image it belongs.

    Attributes:
        echo: echo time in ms, None where the file does not say.
        echo_number: EchoNumbers as text, "" where there are none.
        inversion: inversion time in ms, None where the file does not say.
        component: see `Contrast`.
        velocity: whether a phase is that of blood flow, not of the image.
        kind: see `Contrast`.
        where: its position, rounded; empty where the file does not say.
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
        """Return the aspect of a frame that shows this."""
        where = tuple(round(x, 1) for x in position)
        return cls(echo, number, shown.inversion, shown.component, shown.velocity, shown.kind, where)


def echo_of(header: Any, index: int) -> tuple[float | None, str]:
    """Return the echo time (ms) and the EchoNumbers of frame `index`."""
    time = optional_number(group_value(header, index, ("MREchoSequence", "EffectiveEchoTime")))
    own = optional_number(header.get("EchoTime")) if time is None else time
    return own, one_text(header.get("EchoNumbers"))


def aspects_of(file: DicomFile) -> frozenset[Aspect]:
    """Return the aspects of the frames of `file`, whatever else is wrong with it."""
    header = file.header
    found = set()
    with pydicom_errors(file.name, "its image description"):
        for index in range(file.frames):
            echo, number = echo_of(header, index)
            value = group_value(header, index, ("PlanePositionSequence", "ImagePositionPatient")) or ()
            position = tuple(x for item in value if (x := optional_number(item)) is not None)
            found.add(Aspect.of(contrast(header, index), echo=echo, number=number, position=position))
    return frozenset(found)
