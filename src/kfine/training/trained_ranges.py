"""What a model was trained on, for the table "ranges" of its config.json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kfine.models.domain import Interval, Ranges


def trained_ranges(seen: Iterable[Ranges], *, scale: float, brightness: float) -> dict[str, Any]:
    """Return the ranges of training images, widened by what training does to them, JSON-ready.

    Args:
        seen: of the images at the matrices that they are brought to.
        scale: the greatest factor by which a scan's matrix is smaller; one direction may be whole.
        brightness: the greatest factor, and its inverse, by which intensities are scaled.
    """
    own = Ranges.around(seen)
    wide: dict[str, Interval] = {"scale": (1.0, scale)}
    if own.brightness:
        wide["brightness"] = own.brightness[0] / brightness, own.brightness[1] * brightness
    named = own.model_copy(update=wide).model_dump(exclude_none=True)
    return {name: [float(f"{bound:.3g}") for bound in interval] for name, interval in named.items()}
