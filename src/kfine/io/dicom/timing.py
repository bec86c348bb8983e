"""When the frames of a DICOM stack were: their times after the R wave, and the heart beat they begin again with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfine.io.dicom.frame import Plane

_BEAT = (100.0, 3000.0)  # ms: a mouse's heart, and 20 beats a minute
_EVEN = 0.05  # of the frame spacing
_ROUNDED = 1.0  # ms: some scanners write whole milliseconds
_SAME_RATE = 0.2  # HeartRate is a mean of its own; prospective gating leaves out more of the beat than this


@dataclass(frozen=True)
class Timing:
    """Seconds of each frame after the R wave, and those after which the frames begin again; None: not known."""

    times: tuple[float, ...] | None = None
    period: float | None = None


def measured_timing(levels: list[list[Plane]], *, name: str) -> Timing:
    """Return when the frames of `levels[slice][frame]` were by their trigger times, which rise in each slice.

    Slices breath-held one after another have slightly different heart beats: a frame's time is the median over
    slices, with a warning where a slice is more than half a frame off.

    The period is the median nominal heart beat (NominalInterval, in enhanced files RRIntervalTimeNominal), else
    frames x spacing if the frames are evenly spaced, as many as CardiacNumberOfImages and not contradicted by
    HeartRate.  It is None where nothing says that the frames share one heart beat.
    """
    table = np.array([[plane.trigger_time for plane in level] for level in levels], dtype=np.float64)
    times = np.median(table, axis=0)
    spacing = float(times[-1] - times[0]) / (len(times) - 1)
    off = float(np.abs(table - times).max())
    if off > spacing / 2:
        beats = _beats(levels)
        why = f" (heart beats of {min(beats):.0f} to {max(beats):.0f} ms)" if beats else ""
        warnings.warn(
            f"{name}: slices differ in trigger time by up to {off:.0f} ms, the frame spacing is "
            f"{spacing:.0f} ms{why}: the median over slices is taken",
            UserWarning,
            stacklevel=2,
        )
    period = _period(times, levels)
    return Timing(tuple(float(t) / 1000 for t in times), None if period is None else period / 1000)


def spread_timing(levels: list[list[Plane]]) -> Timing:
    """Return times for frames whose trigger times are no use: what the nominal heart beat tells, if anything.

    Where CardiacNumberOfImages says that all frames belong to one heart beat they are spread evenly over it,
    from 0.  RepetitionTime is not asked: on some scanners it is the time between frames, on others that between
    excitations.
    """
    beat, frames = nominal_beat(levels), len(levels[0])
    if beat is None or _per_beat(levels) != frames:
        return Timing()
    return Timing(tuple(beat * frame / frames / 1000 for frame in range(frames)), beat / 1000)


def nominal_beat(levels: list[list[Plane]]) -> float | None:
    """Return the nominal heart beat in ms, the median over slices, None where none is given that can be one."""
    beats = _beats(levels)
    return float(np.median(beats)) if beats else None


def _beats(levels: list[list[Plane]]) -> list[float]:
    """Return the nominal heart beats in ms, those that can be one."""
    beats = [
        plane.nominal_interval for level in levels for plane in level if plane.nominal_interval is not None
    ]
    return [beat for beat in beats if _BEAT[0] <= beat <= _BEAT[1]]


def _period(times: NDArray[np.float64], levels: list[list[Plane]]) -> float | None:
    """Return the milliseconds after which frames at `times` begin again, None where nothing says they do."""
    frames, span = len(times), float(times[-1] - times[0])
    beat, per_beat = nominal_beat(levels), _per_beat(levels)
    if per_beat == 1:  # each frame in a heart beat of its own: perfusion, mapping
        return None
    if beat is not None and beat > span:
        return beat
    spacing = span / (frames - 1)
    period = frames * spacing
    even = np.abs(times - np.linspace(times[0], times[-1], frames)).max() <= max(_EVEN * spacing, _ROUNDED)
    if per_beat != frames or not even or not _BEAT[0] <= period <= _BEAT[1]:
        return None
    rates = [p.heart_rate for level in levels for p in level if p.heart_rate is not None and p.heart_rate > 0]
    if rates and abs(period * float(np.median(rates)) / 60000 - 1) > _SAME_RATE:
        return None
    return period


def _per_beat(levels: list[list[Plane]]) -> int | None:
    """Return CardiacNumberOfImages where all images agree."""
    found = {plane.cardiac_number_of_images for level in levels for plane in level}
    only = found.pop() if len(found) == 1 else None
    return None if only is None else int(only)
