"""Stack of frames: slices sorted by position, frames by time, and the affine."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.geometry import LPS_TO_RAS, Affine
from kfine.io.dicom.frame import Plane
from kfine.io.dicom.timing import Timing, order_frames

_SAME = 0.01  # mm: nearer positions are equal, since DICOM strings are rounded
_UNEVEN = 0.01  # of the spacing
_TENTH = 0.1  # mm
_ROUNDED = 0.1  # of the spacing: the largest deviation explained by rounding


@dataclass(frozen=True)
class Stack:
    """`planes[frame][slice]`, the affine from (slice, row, column) to RAS+ mm, and the frame times."""

    planes: list[list[Plane]]
    affine: Affine
    timing: Timing


def build_stack(planes: list[Plane], *, name: str) -> Stack:
    """Sort the planes of one series, slices along the normal (row direction x column direction).

    The step of the affine from slice to slice is that of the positions.  With one slice it is along the normal, by
    SpacingBetweenSlices or SliceThickness.  Steps in the plane are those of orientation and PixelSpacing.

    Args:
        planes: in any order; one orientation, one pixel spacing.
        name: name of the series for messages.

    Warns:
        UserWarning: one slice without a thickness; frames without reliable times.

    Raises:
        InputError: missing or duplicate slices, slices side by side or off one line, or unequal numbers of frames.
    """
    first = planes[0]
    along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(along_row, along_column)
    levels = _levels(planes, normal, name)
    places = [f"slice {n} at {_at(level[0], normal)}" for n, level in enumerate(levels, start=1)]
    timing = order_frames(levels, places, name=name)
    positions = np.array([level[0].position for level in levels])
    if len(levels) > 1:
        _check_even(positions, positions @ normal, name)
        step = (positions[-1] - positions[0]) / (len(levels) - 1)
    else:
        step = normal * _single_spacing(first, name)
    affine = np.eye(4)
    # PixelSpacing is (between rows, between columns): the row index moves along a column
    affine[:3, :3] = np.stack([step, along_column * first.spacing[0], along_row * first.spacing[1]], axis=1)
    affine[:3, 3] = positions[0]
    affine[:3] *= LPS_TO_RAS[:, None]
    frames = [[level[frame] for level in levels] for frame in range(len(levels[0]))]
    return Stack(frames, affine, timing)


def _levels(planes: list[Plane], normal: NDArray[np.float64], name: str) -> list[list[Plane]]:
    """Return the planes grouped by position, in ascending order along the normal."""
    ordered = sorted(planes, key=lambda plane: float(np.dot(plane.position, normal)))
    levels: list[list[Plane]] = []
    for plane in ordered:
        offset = np.subtract(plane.position, levels[-1][0].position) if levels else normal
        if not levels or float(offset @ normal) > _SAME:
            levels.append([plane])
        elif float(np.linalg.norm(offset)) <= 2 * _SAME:
            levels[-1].append(plane)
        else:
            raise InputError(
                f"{name}: images at {_at(plane, normal)} lie side by side: several fields of view in one "
                "series; separate the files"
            )
    return levels


def _check_even(positions: NDArray[np.float64], distances: NDArray[np.float64], name: str) -> None:
    gaps = np.diff(distances)
    usual = float(gaps.min())
    tolerance = max(_UNEVEN * usual, _SAME, min(_rounding(positions), _ROUNDED * usual))
    if gaps.max() - usual > tolerance:
        raise _uneven(gaps, distances, name)
    line = np.linspace(positions[0], positions[-1], len(positions))
    if np.linalg.norm(positions - line, axis=1).max() > tolerance:
        raise InputError(f"{name}: the slices are not evenly spaced on one line; choose another series")


def _rounding(positions: NDArray[np.float64]) -> float:
    """Return the error of gaps if all coordinates are rounded to tenths of a millimetre, else 0."""
    tenths = positions / _TENTH
    return math.sqrt(3) * _TENTH if np.abs(tenths - np.rint(tenths)).max() < 1e-4 else 0.0


def _uneven(gaps: NDArray[np.float64], distances: NDArray[np.float64], name: str) -> InputError:
    """Return the error for uneven slices: extra, missing or misplaced ones, by the most frequent gap."""
    near = max(_UNEVEN * float(gaps.max()), _SAME)
    common = max((int(np.count_nonzero(abs(gaps - gap) <= near)), float(gap)) for gap in gaps)[1]
    for n, start in enumerate(distances[:-1]):
        end = int(np.searchsorted(distances, start + common - near))
        extra = end - n - 1
        if extra > 0 and end < len(distances) and distances[end] - start <= common + near:
            return InputError(
                f"{name}: slices overlap: {extra} extra slice{'s' * (extra > 1)} between those at {start:.2f} and "
                f"{distances[end]:.2f} mm, others lie {common:.2f} mm apart; remove the files that do not belong"
            )
    usual, what = float(gaps.min()), "missing; add its file"
    wide = gaps > 1.5 * usual
    n = int(np.argmax(wide))
    if not wide.any():
        usual, what = common, "misplaced; export the series again"
        n = int(np.argmax(abs(gaps - common)))
    return InputError(
        f"{name}: slices {n + 1} and {n + 2} lie {gaps[n]:.2f} mm apart (at {distances[n]:.2f} and "
        f"{distances[n + 1]:.2f} mm), others {usual:.2f} mm: a slice is {what}"
    )


def _single_spacing(plane: Plane, name: str) -> float:
    for spacing in (plane.spacing_between_slices, plane.thickness):
        if spacing is not None and abs(spacing) > 0:
            return abs(spacing)
    warnings.warn(f"{name}: one slice without a thickness: 1 mm is assumed", UserWarning, stacklevel=2)
    return 1.0


def _at(plane: Plane, normal: NDArray[np.float64]) -> str:
    return f"{float(np.dot(plane.position, normal)):.2f} mm"
