"""Grey values of a series: padding, negatives, and complex images from pairs of components."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.dicom.frame import Plane
from kfine.io.dicom.header import DicomFile, optional_number, pydicom_errors
from kfine.text import clean_text


def without_padding(pixels: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    """Return the stored `pixels` of a frame with its padding set to the smallest other value.

    Padding of 0 stays: it is air.  Other values would be edges and cause ringing.
    """
    with pydicom_errors(file.name, "its PixelPaddingValue"):
        first = optional_number(file.header.get("PixelPaddingValue"))
        last = optional_number(file.header.get("PixelPaddingRangeLimit"))
    if not first and not last:
        return pixels
    low, high = sorted((first or 0.0, first or 0.0 if last is None else last))
    if (
        pixels.dtype.kind == "i" and low > np.iinfo(pixels.dtype).max
    ):  # written as unsigned where pixels are signed
        low, high = low - 2.0 ** (8 * pixels.itemsize), high - 2.0 ** (8 * pixels.itemsize)
    padding = (pixels >= low) & (pixels <= high)
    if not padding.any() or padding.all():
        return pixels
    return np.where(padding, pixels[~padding].min(), pixels)


def upright(
    voxels: NDArray[np.float32], file: DicomFile, *, name: str
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the voxels (..., row, column) of a series with dark air, and remarks.

    MONOCHROME1 displays the smallest value as white.  Some programs that write it invert the values, others do not.
    The edge of the image decides, since air has no signal.

    Warns:
        UserWarning: the values are inverted.
    """
    if clean_text(file.header.get("PhotometricInterpretation") or "") != "MONOCHROME1" or np.iscomplexobj(
        voxels
    ):
        return voxels, ()
    edge = np.concatenate([voxels[..., [0, -1], :].ravel(), voxels[..., [0, -1]].ravel()])
    least, most = float(voxels.min()), float(voxels.max())
    if np.median(edge) <= (least + most) / 2:
        return voxels, ()
    remark = "MONOCHROME1 with bright air: grey values are inverted"
    warnings.warn(f"{name}: {remark}", UserWarning, stacklevel=2)
    return np.float32(most) - voxels, (remark,)


# A full turn in the units of scanners, besides the range of the stored words: 1000 radians, radians, 1/4096, degrees.
_TURNS = (2000 * math.pi, 2 * math.pi, 8192.0, 4096.0, 360.0)
_REACHED = (
    0.97,
    1.002,
)  # range of the span over a turn: noise in air has every phase, and values are rounded


def complex_voxels(
    first: NDArray[np.float32], second: NDArray[np.float32], plane: Plane, *, polar: bool, name: str
) -> NDArray[np.complex64]:
    """Return complex voxels from two components: magnitude and phase if `polar`, else real and imaginary part.

    The offset of the phase is arbitrary.

    Args:
        first: real part, or magnitude.
        second: imaginary part, or phase as stored.
        plane: a plane of the second component, for the range of its stored words.
        polar: whether the components are magnitude and phase.
        name: name of the series for messages.

    Raises:
        InputError: the unit of the phase is unknown.
    """
    if not polar:
        return (first + np.complex64(1j) * second).astype(np.complex64)
    turn = phase_turn(second, plane)
    if turn is None:
        raise InputError(
            f"{name}: expected a phase over one turn, got {second.min():g} to {second.max():g} of unknown unit; choose "
            "part='mag'"
        )
    return (first * np.exp(2j * np.pi / turn * second)).astype(np.complex64)


def phase_turn(phase: NDArray[np.float32], plane: Plane) -> float | None:
    """Return a full turn in the stored unit of a phase: the known unit whose turn its values span.

    None if they span none of them, for instance after masking, unwrapping or filtering.
    """
    span = float(phase.max()) - float(phase.min())
    with pydicom_errors(plane.file.name, "its bits"):
        words = 2 ** int(plane.file.header.get("BitsStored") or 16)
    for turn in (words * abs(plane.slope), *_TURNS):
        if _REACHED[0] * turn <= span <= _REACHED[1] * turn:
            return turn
    return None
