"""Complex images from the pairs that scanners store: real and imaginary part, or magnitude and phase."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.dicom.frame import Plane
from kfine.io.dicom.header import pydicom_errors

# What a turn is called by scanners, beside all that the file's words can say: 1000 radians, radians, 1/4096, degrees.
_TURNS = (2000 * math.pi, 2 * math.pi, 8192.0, 4096.0, 360.0)
_REACHED = (0.97, 1.002)  # of a turn: noise in air has every phase, and values are rounded


def complex_voxels(
    first: NDArray[np.float32], second: NDArray[np.float32], plane: Plane, *, polar: bool, name: str
) -> NDArray[np.complex64]:
    """Return the complex voxels of two parts, `polar` where these are magnitude and phase.

    Where a phase begins does not matter: one constant phase of the whole image changes nothing.

    Args:
        first: real part, or magnitude.
        second: imaginary part, or phase as stored.
        plane: one of the second part, for what its file can say.
        polar: which of the two it is.
        name: of the series, for messages.

    Raises:
        InputError: the phase's unit is not known.
    """
    if not polar:
        return (first + np.complex64(1j) * second).astype(np.complex64)
    turn = phase_turn(second, plane)
    if turn is None:
        raise InputError(
            f"{name}: expected a phase over one turn, got {second.min():g} to {second.max():g}, whose unit is not "
            "known; choose part='mag'"
        )
    return (first * np.exp(2j * np.pi / turn * second)).astype(np.complex64)


def phase_turn(phase: NDArray[np.float32], plane: Plane) -> float | None:
    """Return what a whole turn is in the stored unit of a phase: the one of the known ones that its values span.

    None where they span none: the phase was masked, unwrapped or filtered.
    """
    span = float(phase.max()) - float(phase.min())
    with pydicom_errors(plane.file.name, "its bits"):
        words = 2 ** int(plane.file.header.get("BitsStored") or 16)
    for turn in (words * abs(plane.slope), *_TURNS):
        if _REACHED[0] * turn <= span <= _REACHED[1] * turn:
            return turn
    return None
