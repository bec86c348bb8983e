"""What the benchmarks share: real reference slices, degraded and scored by the package's own commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kfine
from kfine.benchmark.cases import machine
from kfine.benchmark.truths import spread_slices, take
from kfine.evaluation.metrics import feature_distance
from kfine.image import Image
from kfine.io.discovery import find_volumes, subject_of

__all__ = ["CORNERS", "VALIDATION", "machine", "references", "squeezenet_distance"]

VALIDATION = ("sub-11", "sub-12", "sub-62", "sub-63")
CORNERS = (0, 1)  # first rows and columns that a feature distance is averaged over


def references(
    data: Path, subjects: tuple[str, ...], matrix: tuple[int, int], count: int
) -> dict[str, Image]:
    """Return for each subject the `count` slices that `kfine benchmark` takes, at `matrix`."""
    found = {}
    for path in find_volumes(data):
        if subject_of(path, data) not in subjects:
            continue
        volume = kfine.read(path)
        found[subject_of(path, data)] = take(volume, spread_slices(volume, count), matrix=matrix)
    if len(found) != len(subjects):
        raise SystemExit(
            f"expected the subjects {', '.join(subjects)} below {data}, found {', '.join(found) or 'none'}"
        )
    return found


def squeezenet_distance(
    weights: Path, corners: Sequence[int] = CORNERS
) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """Return the SqueezeNet feature distance of two stacks (plane, row, column), a mean over `corners`."""
    distance = feature_distance(weights)
    return lambda a, b: np.mean([distance(a[:, n:, n:], b[:, n:, n:]) for n in corners], axis=0)
