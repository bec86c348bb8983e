"""Times of the measured and of the restored frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kfine.errors import InputError, UsageError
from kfine.image import Image

Times = tuple[float, ...]

_COINCIDES = 1e-6  # of a step between restored frames
_EVEN = 0.05  # of a step: trigger times are rounded to whole milliseconds


@dataclass(frozen=True)
class Timing:
    """Times of measured and restored frames, seconds.

    Attributes:
        times: of the measured frames, increasing.
        at: of the restored frames, increasing.
        period: after which the frames begin again; None if time is not periodic.
        pairs: (measured frame, restored frame) at the same time; the first frames always form a pair.
    """

    times: Times
    at: Times
    period: float | None
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def unchanged(cls, times: Sequence[float], period: float | None) -> Timing:
        """Return the timing that restores the measured frames."""
        times = tuple(times)
        return cls(times, times, period, tuple((frame, frame) for frame in range(len(times))))

    @property
    def changed(self) -> bool:
        """Whether the restored times differ from the measured ones."""
        return self.times != self.at


def timing_of_image(image: Image, *, frames_scale: int | None, frames: int | None) -> Timing:
    """Return `timing_of` the frames of `image`; without frame times they are taken as evenly spaced, one a second."""
    times = image.frame_times or tuple(float(frame) for frame in range(image.frames))
    return timing_of(times, image.period, frames_scale=frames_scale, frames=frames)


def timing_of(
    times: Sequence[float], period: float | None, *, frames_scale: int | None, frames: int | None
) -> Timing:
    """Return the timing of `frames_scale` times as many frames, of `frames` frames, or of the measured frames.

    With a period the restored frames cover it from the time of the first frame; without one they extend from the first
    frame to the last.  `frames_scale` s puts s - 1 frames evenly into each interval between measured frames, so that
    every measured frame stays: s n frames with a period, s (n - 1) + 1 without.  `frames` are evenly spaced in time,
    except that a frame within 5 % of the smallest step of a measured frame takes its time, since scanners round times
    to milliseconds.  If the measured frames are evenly spaced, the restored ones are evenly spaced in frame numbers.

    Args:
        times: of the measured frames, seconds, increasing.
        period: seconds after which the frames begin again, or None.
        frames_scale: at least 1.
        frames: at least 1.

    Raises:
        UsageError: both, or a number below 1.
        InputError: several frames from a single one, or times that do not increase.
    """
    if frames_scale is not None and frames is not None:
        raise UsageError(f"expected either frames_scale or frames, got {frames_scale} and {frames}")
    name, wanted = ("frames", frames) if frames is not None else ("frames_scale", frames_scale)
    if wanted is None:
        return Timing.unchanged(times, period)
    if wanted < 1:
        raise UsageError(f"{name} {wanted}: expected a number of at least 1")
    count = len(times)
    if count == 1 and wanted > 1:
        raise InputError(
            f"{name} {wanted}: expected several frames, the image has one; choose a cine, or leave it out"
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError("expected finite frame times in increasing order; check the image's frame times")
    intervals = count if period is not None else count - 1
    if frames_scale is not None:
        number = frames_scale * intervals + (period is None)
        return _at_places(times, period, np.arange(number) / frames_scale)
    assert frames is not None
    places = np.arange(frames) * (intervals / (frames if period is not None else max(frames - 1, 1)))
    if _even(times, period):
        return _at_places(times, period, places)
    span = period if period is not None else times[-1] - times[0]
    at = times[0] + places * (span / max(intervals, 1))
    step = min(np.diff(times).min(initial=span), np.diff(at).min(initial=span))
    near = np.abs(np.subtract.outer(np.asarray(times), at)) <= _EVEN * step
    measured, restored = near.nonzero()
    at[restored] = np.asarray(times)[measured]
    return Timing(
        tuple(times), _plain(at), period, tuple(zip(_numbers(measured), _numbers(restored), strict=True))
    )


def _at_places(times: Sequence[float], period: float | None, places: np.ndarray) -> Timing:
    """Return the timing of restored frames at `places`, in units of measured frames: 0.5 is between frames 0 and 1."""
    knots = np.append(times, times[0] + period) if period is not None else np.asarray(times, np.float64)
    whole = np.rint(places)
    step = places[1] - places[0] if len(places) > 1 else 1.0
    met = np.abs(places - whole) <= _COINCIDES * step
    at = np.where(met, knots[whole.astype(int)], np.interp(places, np.arange(len(knots)), knots))
    pairs = tuple((int(whole[number]), number) for number in _numbers(met.nonzero()[0]))
    return Timing(tuple(times), _plain(at), period, pairs)


def _even(times: Sequence[float], period: float | None) -> bool:
    """Return whether the frames are evenly spaced, around the period if there is one."""
    knots = np.append(times, times[0] + period) if period is not None else np.asarray(times, np.float64)
    step = (knots[-1] - knots[0]) / max(len(knots) - 1, 1)
    return bool(np.abs(knots - knots[0] - step * np.arange(len(knots))).max() <= _EVEN * step)


def _plain(values: np.ndarray) -> Times:
    return tuple(float(value) for value in values)


def _numbers(values: np.ndarray) -> list[int]:
    return [int(value) for value in values]
