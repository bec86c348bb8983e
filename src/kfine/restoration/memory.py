"""Memory of a restoration: an estimate of its peak, and the largest batches and tiles below a limit."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kfine.acquisition.plan import Acquisition
from kfine.allocator import return_freed_memory
from kfine.errors import ResourceError
from kfine.restoration.options import BASELINES, Options
from kfine.restoration.selection import ResolvedMethod
from kfine.restoration.streaming import Room
from kfine.text import human_size

# Bytes per pixel of a network call, by `benchmarks/memory.py`: the greatest of float32 and bfloat16, rounded up.
_CALL = {
    "core": 700, "sharp": 750, "srresnet": 1000, "srgan": 900, "vdm": 850, "ldm": 1000,
    "cine-core": 700, "cine-ldm": 1000, "cine-regression": 650, "cine-photographic": 700,
}  # fmt: skip
# A call processes all frames of a slice.
_WHOLE_BEATS = ("cine-core", "cine-ldm", "cine-regression", "cine-photographic")
_TILED = ("core", "sharp")
_MARGIN = 264  # pixels that the margins of `kfine.methods.core.in_tiles` add to a side
_WORK = 60  # bytes per voxel of the slices of a call: measurement, samples, residual
_STACK_WORK = 24  # bytes per voxel of the finer stack of one frame, at the extent of its margins
_INTERVAL = 16  # bytes per voxel
_REST = 80 * 2**20  # modules and tables that are loaded during the work


def resident() -> int:
    """Return the memory of this process in bytes; outside Linux its greatest so far, and 0 where that is unknown."""
    return_freed_memory()
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Need:
    """Estimated memory of a restoration beside the process as it is, in bytes.

    Attributes:
        acquisition: the plan.
        resolved: method of the planes; None if they are not restored.
        through: method of finer slices; None without them.
        options: of the restoration.
        slices: number of measured slices that are restored.
        keep_samples: whether the result holds every sample.
    """

    acquisition: Acquisition
    resolved: ResolvedMethod | None
    through: ResolvedMethod | None
    options: Options
    slices: int
    keep_samples: bool = False

    @property
    def plane(self) -> int:
        """Voxels of a restored slice with its frames."""
        rows, columns = self.acquisition.high
        return rows * columns * len(self.acquisition.timing.at)

    @property
    def results(self) -> int:
        """Bytes of the results."""
        item = self.acquisition.measured.voxels.itemsize
        each = item + 4 + (4 if item > 4 else 0)  # mean, standard deviation, magnitude
        samples = self.resolved.method.samples if self.resolved and self.keep_samples else 0
        each += item * (samples + self.options.sharp)
        interval = _INTERVAL if self.options.confidence is not None else 0
        plan = self.acquisition.slices
        if plan is None:
            return (each + interval) * self.slices * self.plane
        fine = (each + interval + 4) * plan.fine  # the spread in plane and that of the slice direction
        return (fine + (each + item) * self.slices) * self.plane

    @property
    def planes_a_slice(self) -> int:
        """Number of planes of a slice in the calls of its method: all frames of all samples."""
        return self._frames * (1 if self.resolved is None else self.resolved.method.samples)

    def planes(self, at_once: int, side: int) -> int:
        """Bytes of a call that restores `at_once` planes, in tiles of `side`."""
        if self.resolved is None:
            return 0
        rows, columns = self.acquisition.high
        slices = max(1, min(self.slices, at_once // self.planes_a_slice))
        planes = slices * self._frames if self.resolved.method.name in _WHOLE_BEATS else at_once
        arrays = slices * (self.planes_a_slice + self._frames) * rows * columns * _WORK
        return arrays + min(planes, slices * self.planes_a_slice) * _network(
            self.resolved, rows, columns, side
        )

    @property
    def _frames(self) -> int:
        timing = self.acquisition.scan.timing
        return max(len(timing.times), len(timing.at))

    def stack(self, at_once: int, side: int) -> int:
        """Bytes of finer slices: one frame, and a call."""
        plan = self.acquisition.slices
        if plan is None or self.through is None:
            return 0
        rows, columns = self.acquisition.high
        call = at_once * _network(self.through, plan.fine_margined, max(rows, columns), side)
        return _STACK_WORK * plan.fine_margined * rows * columns + call


def _network(resolved: ResolvedMethod, rows: int, columns: int, side: int) -> int:
    """Return the bytes of one plane of `rows` x `columns` in a call."""
    name, pixels = resolved.method.name, rows * columns
    if name in BASELINES or resolved.device.type != "cpu":
        return _WORK * pixels
    tile = pixels
    if name in _TILED and pixels > side * side:
        tile = min(rows, side + _MARGIN) * min(columns, side + _MARGIN)
    return _CALL[name] * tile + _WORK * (pixels - tile)


def peak(need: Need, planes: Room, stack: Room | None) -> int:
    """Return the estimated peak of this process with the batches and tiles of both rooms, in bytes."""
    calls = [need.planes(planes.at_once, planes.side)]
    calls += [] if stack is None else [need.stack(stack.at_once, stack.side)]
    return _base(need) + max(calls)


def fit(need: Need, limit: int, planes: Room, stack: Room | None) -> None:
    """Reduce the batches and tiles of both rooms until the restoration fits into `limit` bytes.

    Raises:
        ResourceError: not even the smallest ones fit.
    """
    high, plan = need.acquisition.high, need.acquisition.slices
    base = _base(need)
    calls = [planes.fit(need.planes, limit - base, planes=need.slices * need.planes_a_slice, matrix=high)]
    if stack is not None and plan is not None:
        matrix = (plan.fine_margined, max(high))
        calls.append(stack.fit(need.stack, limit - base, planes=sum(high), matrix=matrix))
    least = base + max(calls)
    if least > limit:
        fewer = ", or restore fewer slices at a time with slices=(A, B)" if stack is None else ""
        raise ResourceError(
            f"memory {human_size(limit)}: this restoration needs about {human_size(least)}; raise the limit{fewer}"
        )


def _base(need: Need) -> int:
    """Return the bytes beside those of calls."""
    return resident() + _REST + need.results
