"""Adapter: a method of planes as a method of slices, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing
from kfine.methods.base import Draws, PlaneMethod
from kfine.methods.optical_flow import flow_interpolated
from kfine.methods.time_interpolation import WEIGHTS, interpolated


class TimeMethod(Protocol):
    """A way to frames (frame, ..., row, column) at other times; a frame at its own time is kept."""

    def __call__(
        self, frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None
    ) -> Tensor:
        """Return (len(at), ..., row, column); air is at 0, times are seconds."""
        ...


TIME_METHODS: dict[str, TimeMethod] = {
    **{name: partial(interpolated, weights=weights) for name, weights in WEIGHTS.items()},
    "optical-flow": flow_interpolated,
}
BEST_TIME_METHOD = "optical-flow"


def check_time_method(name: str, timing: Timing) -> None:
    """Raise `InputError` if the time method cannot use these times: before the work, which may take hours."""
    if timing.changed and name in WEIGHTS:
        WEIGHTS[name](timing.times, timing.at, timing.period)


@dataclass(frozen=True)
class FrameByFrame:
    """Restore each measured frame by `plane`, and the frames at other times from those by interpolation in time.

    Attributes:
        plane: the method in space; each of its samples is interpolated on its own.
        time_method: a name of `TIME_METHODS`.
    """

    plane: PlaneMethod
    time_method: str = BEST_TIME_METHOD

    @property
    def name(self) -> str:
        """That of the method in space."""
        return self.plane.name

    @property
    def samples(self) -> int:
        """Samples of each slice."""
        return self.plane.samples

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the method in space."""
        return self.plane.options

    def evaluations(self, scan: Scan) -> int:
        """Return those of every measured frame."""
        return len(scan.timing.times) * self.plane.samples * self.plane.evaluations

    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return samples of each slice, see `Method.restore`."""
        slices, frames = y.shape[:2]
        # Each plane's noise is named by its frame as well.
        named = draws.named([(seed, frame, slice) for seed, slice in draws.names for frame in range(frames)])
        planes = self.plane.restore(scan.crop, y.flatten(0, 1), named)
        measured = planes.unflatten(0, (slices, frames)).transpose(1, 2)
        timing = scan.timing
        if not timing.changed:
            return measured
        air = 1.0 if scan.crop.real else 0.0  # what model units say of air is -1, of complex ones 0
        in_time = (measured + air).movedim(2, 0)
        restored = TIME_METHODS[self.time_method](in_time, timing.times, timing.at, period=timing.period)
        return restored.movedim(0, 2) - air
