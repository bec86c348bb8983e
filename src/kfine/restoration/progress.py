"""Progress of a restoration: callbacks, display, and a forecast of its time from that of its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# A method with a network, and one for the same images that is faster.
FASTER = {"vdm": "core", "ldm": "core", "cine-ldm": "cine-core"}
_SOON, _LATEST = (
    1.0,
    5.0,
)  # seconds of work after which two groups of slices, or a part of one, allow a forecast


class Forecast:
    """How long the work takes in all and how long it still takes.

    Called with (done, total) whenever some of it is done; the first time with what had been done before.  `group` is
    called where a group of slices begins, if the work has such groups.  The first group also loads and warms up, so its
    pace counts only until there is another.

    >>> seconds = iter([0.0, 10.0, 20.0])
    >>> forecast = Forecast(clock=lambda: next(seconds))
    >>> forecast(0, 40)
    >>> forecast(10, 40)
    >>> forecast.seconds
    40.0
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._total = 0
        self._points: list[tuple[float, int]] = []  # (time, done), the first and the last two kinds below
        self._groups: list[tuple[float, int]] = []

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` is done."""
        self._total = total
        self._points.append((self._clock(), done))
        if len(self._points) > 3:
            del self._points[2:-1]

    def group(self) -> None:
        """Note that a group of slices begins."""
        done = self._points[-1][1] if self._points else 0
        self._groups.append((self._clock(), done))
        if len(self._groups) > 3:
            del self._groups[2:-1]

    @property
    def seconds(self) -> float | None:
        """What the work takes in all, from its first call; None as long as nothing is known."""
        if not self._points:
            return None
        pace, (now, done) = self._pace(), self._points[-1]
        return None if pace is None else now - self._points[0][0] + pace * (self._total - done)

    @property
    def left(self) -> float | None:
        """What is left of it."""
        if self.seconds is None:
            return None
        return max(0.0, self.seconds - (self._clock() - self._points[0][0]))

    @property
    def certain(self) -> bool:
        """Whether the forecast will hardly change any more."""
        if self.seconds is None:
            return False
        worked = self._points[-1][0] - self._points[0][0]
        return worked >= _LATEST or (len(self._groups) > 2 and worked >= _SOON)

    def _pace(self) -> float | None:
        """Return seconds a step."""
        spans = [
            self._groups[1:] if len(self._groups) > 2 else [],  # from the second group to the latest
            self._groups[:2] if len(self._groups) > 1 else [],  # the first
            [self._points[1], self._points[-1]] if self._groups and len(self._points) > 2 else [],
            [self._points[0], self._points[-1]],
        ]
        for span in spans:
            if len(span) == 2 and span[1][1] > span[0][1]:
                return (span[1][0] - span[0][0]) / (span[1][1] - span[0][1])
        return None


class Progress(Protocol):
    """A display of how far a piece of work is."""

    @property
    def forecast(self) -> Forecast:
        """The time that the work takes."""
        ...

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` evaluations are done."""
        ...

    def name(self, text: str) -> None:
        """Show `text` as the name of the work from now on."""
        ...

    def group(self, text: str) -> None:
        """Show `text` from now on, where a group of slices begins."""
        ...

    def say(self, line: str) -> None:
        """Print a line of its own."""
        ...


class Silent:
    """A display of progress that shows nothing."""

    def __init__(self) -> None:
        self.forecast = Forecast()

    def __call__(self, done: int, total: int) -> None:
        """Show nothing."""

    def name(self, text: str) -> None:
        """Show nothing."""

    def group(self, text: str) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""


@dataclass(frozen=True)
class Watch:
    """Callbacks for the progress.

    Attributes:
        steps: takes (done, total) evaluations.
        slices: takes the (first, stop) of the slices that are restored from now on.
        method: takes the name of the method, once it is chosen.
        fit: takes (done, total) updates of a network that is fitted to the image; total 0: not known yet.
    """

    steps: Callable[[int, int], None] = lambda done, total: None
    slices: Callable[[int, int], None] = lambda first, stop: None
    method: Callable[[str], None] = lambda name: None
    fit: Callable[[int, int], None] = lambda done, total: None


def duration(seconds: float) -> str:
    """Return `seconds` as one reads them.

    >>> duration(8.4), duration(95), duration(8100)
    ('8 s', '1 min 35 s', '2 h 15 min')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"
