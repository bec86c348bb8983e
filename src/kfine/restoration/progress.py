"""Progress of a restoration: callbacks, display, and a forecast of its time from its first steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

FASTER = {"vdm": "core", "ldm": "core", "cine-ldm": "cine-core"}  # a faster method for the same images
# Seconds of work after which the forecast is certain: with two complete groups of slices, or with part of one.
_SOON, _LATEST = 1.0, 5.0


class Forecast:
    """Forecast of the total and remaining time.

    Call it with (done, total) after each step, and first with what was done before the start.  Call `group` where a
    group of slices begins, if the work has groups.  The first group includes loading and warming up, so its speed
    counts only until a second group is complete.

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
        self._points: list[tuple[float, int]] = []  # (time, done) of steps: the first two and the latest
        self._groups: list[tuple[float, int]] = []  # the same where groups begin

    def __call__(self, done: int, total: int) -> None:
        """Record that `done` of `total` is done."""
        self._total = total
        self._points.append((self._clock(), done))
        if len(self._points) > 3:
            del self._points[2:-1]

    def group(self) -> None:
        """Record that a group of slices begins."""
        done = self._points[-1][1] if self._points else 0
        self._groups.append((self._clock(), done))
        if len(self._groups) > 3:
            del self._groups[2:-1]

    @property
    def seconds(self) -> float | None:
        """Total time of the work from the first call; None until it can be estimated."""
        if not self._points:
            return None
        pace, (now, done) = self._pace(), self._points[-1]
        return None if pace is None else now - self._points[0][0] + pace * (self._total - done)

    @property
    def left(self) -> float | None:
        """Remaining time; None until it can be estimated."""
        if self.seconds is None:
            return None
        return max(0.0, self.seconds - (self._clock() - self._points[0][0]))

    @property
    def certain(self) -> bool:
        """Whether the forecast is reliable."""
        if self.seconds is None:
            return False
        worked = self._points[-1][0] - self._points[0][0]
        return worked >= _LATEST or (len(self._groups) > 2 and worked >= _SOON)

    def _pace(self) -> float | None:
        """Return seconds per step."""
        spans = [
            self._groups[1:] if len(self._groups) > 2 else [],  # from the second group to the latest
            self._groups[:2] if len(self._groups) > 1 else [],  # the first group
            [self._points[1], self._points[-1]] if self._groups and len(self._points) > 2 else [],
            [self._points[0], self._points[-1]],
        ]
        for span in spans:
            if len(span) == 2 and span[1][1] > span[0][1]:
                return (span[1][0] - span[0][0]) / (span[1][1] - span[0][1])
        return None


class Progress(Protocol):
    """A display of progress."""

    @property
    def forecast(self) -> Forecast:
        """The forecast of the time."""
        ...

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` evaluations are done."""
        ...

    def name(self, text: str) -> None:
        """Show `text` as the name of the work."""
        ...

    def group(self, text: str) -> None:
        """Show `text` for the group of slices that begins."""
        ...

    def say(self, line: str) -> None:
        """Print `line` above the display."""
        ...


class Silent:
    """A display of progress without output."""

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
        steps: receives (done, total) evaluations.
        slices: receives (first, stop) of the slices whose restoration begins.
        method: receives the name of the method once it is chosen.
        fit: receives (done, total) updates of a network that is fitted to the image; total 0: not known yet.
    """

    steps: Callable[[int, int], None] = lambda done, total: None
    slices: Callable[[int, int], None] = lambda first, stop: None
    method: Callable[[str], None] = lambda name: None
    fit: Callable[[int, int], None] = lambda done, total: None


def duration(seconds: float) -> str:
    """Return `seconds` as text.

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
