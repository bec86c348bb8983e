"""Checks that the frames of a stack are volumes: of one kind, and the same from slice to slice."""

from __future__ import annotations

import math

from kfine.errors import InputError
from kfine.io.dicom.frame import Plane

_SHOWN = 4  # kinds in a message
_SAME_WEIGHTING = (0.05, 5.0)  # of the b-value, and s/mm2: scanners round it, or write what they reached
_SAME_DIRECTION = 0.05  # along each axis of a unit vector


def check_kinds(levels: list[list[Plane]], places: list[str], *, name: str) -> None:
    """Refuse slices with images of several kinds, such as the contrasts of a Dixon scan: these are no times.

    Args:
        levels: `levels[slice][frame]`.
        places: how a message names each slice.
        name: of the series, for messages.

    Raises:
        InputError: which kinds there are.
    """
    for level, place in zip(levels, places, strict=True):
        kinds = sorted({plane.contrast.kind for plane in level})
        if len(kinds) > 1:
            shown = ", ".join(kind or "none" for kind in kinds[:_SHOWN]) + ", ..." * (len(kinds) > _SHOWN)
            raise InputError(
                f"{name}: expected images of one kind, {place} has {len(kinds)} (ImageType {shown}); separate the "
                "files by ImageType"
            )


def check_volumes(levels: list[list[Plane]], places: list[str], key: str, *, name: str) -> None:
    """Refuse sorted frames that are not the same in every slice: volumes would be mixed.

    Args:
        levels: `levels[slice][frame]`, sorted.
        places: how a message names each slice.
        key: what they were sorted by, an attribute of `Plane`.
        name: of the series, for messages.

    Raises:
        InputError: in what they differ.
    """
    for level, place in zip(levels[1:], places[1:], strict=True):
        pairs = list(zip(levels[0], level, strict=True))
        if not all(_same_weighting(first, plane) for first, plane in pairs):
            what = "diffusion weighting"
        elif key == "dimensions" and any(first.dimensions != plane.dimensions for first, plane in pairs):
            what = "DimensionIndexValues"
        elif key == "temporal_position" and len({_later(*pair) for pair in pairs}) > 1:
            what = "TemporalPositionIdentifier"
        else:
            continue
        raise InputError(
            f"{name}: expected volumes, frames of one rank differ in {what} between the first slice and {place}: "
            "some are missing, or their order is not known; export the series again"
        )


def _same_weighting(first: Plane, plane: Plane) -> bool:
    a, b = first.b_value, plane.b_value
    if a is None or b is None:
        return a is b
    if not math.isclose(a, b, rel_tol=_SAME_WEIGHTING[0], abs_tol=_SAME_WEIGHTING[1]):
        return False
    along, other = first.contrast.gradient, plane.contrast.gradient
    if along is None or other is None:
        return True
    return math.dist(along, other) <= 2 * _SAME_DIRECTION


def _later(first: Plane, plane: Plane) -> float:
    """Return by how many temporal positions `plane` is later: some scanners count on from slice to slice."""
    return (plane.temporal_position or 0.0) - (first.temporal_position or 0.0)
