"""What the benchmarks share: real reference slices, degraded and scored by the package's own commands."""

from __future__ import annotations

from pathlib import Path

import kfine
from kfine.benchmark.cases import machine
from kfine.benchmark.truths import spread_slices, take
from kfine.image import Image
from kfine.io.discovery import find_volumes, subject_of

__all__ = ["VALIDATION", "machine", "references"]

VALIDATION = ("sub-11", "sub-12", "sub-62", "sub-63")


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
