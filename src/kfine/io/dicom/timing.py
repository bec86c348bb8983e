"""Times and order of the frames of a DICOM stack, and checks that frames form volumes."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.io.dicom.frame import Plane

_BEAT = (100.0, 3000.0)  # ms: range of heart beats, from a mouse to 20 beats a minute
_EVEN = 0.05  # of the frame spacing
_ROUNDED = 1.0  # ms: some scanners write whole milliseconds
_SAME_RATE = 0.2  # HeartRate is another mean; prospective gating omits more of the beat than this


@dataclass(frozen=True)
class Timing:
    """Seconds of each frame after the R wave, and the period in seconds; None if unknown."""

    times: tuple[float, ...] | None = None
    period: float | None = None


def measured_timing(levels: list[list[Plane]], *, name: str) -> Timing:
    """Return the times of the frames of `levels[slice][frame]` from trigger times, which increase in each slice.

    Slices from different breath-holds have slightly different heart beats.  The time of a frame is the median over
    slices; a warning reports deviations of more than half a frame.

    The period is the median nominal heart beat (NominalInterval; RRIntervalTimeNominal in enhanced files), else
    frames x spacing if the frames are evenly spaced, as many as CardiacNumberOfImages, and consistent with HeartRate.
    It is None if the header does not show that the frames share one heart beat.
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
            f"{spacing:.0f} ms{why}: the median over slices is used",
            UserWarning,
            stacklevel=2,
        )
    period = _period(times, levels)
    return Timing(tuple(float(t) / 1000 for t in times), None if period is None else period / 1000)


def spread_timing(levels: list[list[Plane]]) -> Timing:
    """Return times for frames without usable trigger times, from the nominal heart beat if possible.

    If CardiacNumberOfImages equals the number of frames, they are spread evenly over the heart beat, from 0.
    RepetitionTime is not used: on some scanners it is the time between frames, on others that between excitations.
    """
    beat, frames = nominal_beat(levels), len(levels[0])
    if beat is None or _per_beat(levels) != frames:
        return Timing()
    return Timing(tuple(beat * frame / frames / 1000 for frame in range(frames)), beat / 1000)


def nominal_beat(levels: list[list[Plane]]) -> float | None:
    """Return the nominal heart beat in ms (median over slices), None without a plausible value."""
    beats = _beats(levels)
    return float(np.median(beats)) if beats else None


def _beats(levels: list[list[Plane]]) -> list[float]:
    """Return the plausible nominal heart beats in ms."""
    beats = [
        plane.nominal_interval for level in levels for plane in level if plane.nominal_interval is not None
    ]
    return [beat for beat in beats if _BEAT[0] <= beat <= _BEAT[1]]


def _period(times: NDArray[np.float64], levels: list[list[Plane]]) -> float | None:
    """Return the period in ms of frames at `times`, None if the header does not show one."""
    frames, span = len(times), float(times[-1] - times[0])
    beat, per_beat = nominal_beat(levels), _per_beat(levels)
    if per_beat == 1:  # each frame in another heart beat: perfusion, mapping
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
    """Return CardiacNumberOfImages if all images agree."""
    found = {plane.cardiac_number_of_images for level in levels for plane in level}
    only = found.pop() if len(found) == 1 else None
    return None if only is None else int(only)


_COUNTERS = {
    "temporal_position": "TemporalPositionIdentifier",
    "dimensions": "DimensionIndexValues",
    "b_value": "DiffusionBValue",
    "acquisition": "AcquisitionNumber",
    "instance": "InstanceNumber",
}
_LATE = 2.0  # heart beats: later times are not relative to the R wave
_FAST = 2.0  # ms: smaller spacings are frame numbers or seconds instead of milliseconds


def order_frames(levels: list[list[Plane]], places: list[str], *, name: str) -> Timing:
    """Sort the frames of each slice by time, in place, and return their times.

    Frames are ordered by trigger times unless these are implausible: missing or negative, all equal or repeated within
    a slice, less than 2 ms apart, later than two heart beats, or contrary to TemporalPositionIdentifier.  Then a
    warning is issued, and frames are ordered by the first value that distinguishes those of each slice
    (TemporalPositionIdentifier, DimensionIndexValues, DiffusionBValue, AcquisitionNumber, InstanceNumber), with times
    from the nominal heart beat if possible.

    Args:
        levels: `levels[slice][frame]`, sorted in place.
        places: name of each slice for messages.
        name: name of the series for messages.

    Raises:
        InputError: duplicates, several sets or kinds of images, or slices with different frames.
    """
    for level, place in zip(levels, places, strict=True):
        if len({(plane.uid, plane.index) for plane in level}) < len(level):
            raise _duplicates(place, name)
    if all(len(level) == 1 for level in levels):
        return Timing()
    check_kinds(levels, places, name=name)
    _refuse_repeated_sets(levels, places, name)
    trouble = _trouble(levels, places)
    key = _counter(levels) if trouble else "trigger_time"
    for level, place in zip(levels, places, strict=True):
        values = _distinct(level, key)
        if len(level) > 1 and (None in values or len(values) < len(level)):
            raise _duplicates(place, name)
        level.sort(key=lambda plane: _sortable(plane, key))
    _check_counts(levels, places, name)
    check_volumes(levels, places, key, name=name)
    if not trouble:
        return measured_timing(levels, name=name)
    timing = spread_timing(levels)
    known = (
        f"times spread evenly over the heart beat of {1000 * timing.period:.0f} ms"
        if timing.period
        else "their times are unknown"
    )
    warnings.warn(
        f"{name}: {len(levels[0])} frames without reliable trigger times ({trouble}): in order of "
        f"{_COUNTERS[key]}, {known}",
        UserWarning,
        stacklevel=2,
    )
    return timing


def _refuse_repeated_sets(levels: list[list[Plane]], places: list[str], name: str) -> None:
    """Refuse slices in which every trigger time occurs equally often, more than once: several cines in one series."""
    for level, place in zip(levels, places, strict=True):
        times = Counter(plane.trigger_time for plane in level)
        often = set(times.values())
        if None not in times and len(times) > 1 and len(often) == 1 and often != {1}:
            raise InputError(
                f"{name}: {place} has {often.pop()} images of each trigger time: duplicates or several "
                "reconstructions in one series; separate the files"
            )


def _trouble(levels: list[list[Plane]], places: list[str]) -> str:
    """Return why the trigger times are implausible, "" if they are plausible."""
    missing = sum(plane.trigger_time is None for level in levels for plane in level)
    if missing:
        total = sum(map(len, levels))
        return "missing" if missing == total else f"missing in {missing} of {total} images"
    beat = nominal_beat(levels)
    for level, place in zip(levels, places, strict=True):
        times = [plane.trigger_time or 0.0 for plane in level]
        span = max(times) - min(times)
        if min(times) < 0:
            return f"negative in {place}"
        if len(level) > 1 and span == 0:
            return f"all equal in {place}"
        if len(set(times)) < len(times):
            return f"repeated in {place}"
        if len(level) > 1 and span < _FAST * (len(level) - 1):
            return f"{span / (len(level) - 1):.2g} ms apart in {place}"
        if beat is not None and max(times) > _LATE * beat:
            return f"up to {max(times):.0f} ms in {place}, a heart beat is {beat:.0f} ms"
        if len(_distinct(level, "temporal_position") - {None}) == len(level) and not _follows(level):
            return f"contrary to TemporalPositionIdentifier in {place}"
    return ""


def _follows(level: list[Plane]) -> bool:
    """Return whether the trigger times increase with the temporal positions."""
    ordered = sorted(level, key=lambda plane: plane.temporal_position or 0)
    return all((a.trigger_time or 0) < (b.trigger_time or 0) for a, b in pairwise(ordered))


def _counter(levels: list[list[Plane]]) -> str:
    """Return the counter to sort by: the first that is unique within every slice, the last if none is.

    Temporal positions that vary but repeat are returned too: they indicate duplicates, which are refused.
    """
    for key in _COUNTERS:
        if any(None in _distinct(level, key) for level in levels):
            continue
        distinct = [len(_distinct(level, key)) for level in levels]
        unique = all(n == len(level) for n, level in zip(distinct, levels, strict=True))
        if unique or (key == "temporal_position" and max(distinct) > 1):
            return key
    return "instance"


def _sortable(plane: Plane, key: str) -> tuple[float, ...]:
    value = getattr(plane, key)
    return value if isinstance(value, tuple) else (value or 0.0,)


def _distinct(level: list[Plane], key: str) -> set[Any]:
    return {getattr(plane, key) for plane in level}


def _check_counts(levels: list[list[Plane]], places: list[str], name: str) -> None:
    counts = [len(level) for level in levels]
    usual = max(counts, key=lambda n: (counts.count(n), n))
    for count, place in zip(counts, places, strict=True):
        if count != usual:
            raise InputError(
                f"{name}: {place} has {count} frame{'s' * (count != 1)}, others have {usual}: some are missing "
                "or duplicated; export the series again"
            )


def _duplicates(place: str, name: str) -> InputError:
    return InputError(
        f"{name}: {place} has several images of one time, or copies: duplicates; remove the copies"
    )


_SHOWN = 4  # kinds in a message
_SAME_WEIGHTING = (0.05, 5.0)  # relative, and s/mm2: scanners round b-values or write the achieved ones
_SAME_DIRECTION = 0.05  # along each axis of a unit vector


def check_kinds(levels: list[list[Plane]], places: list[str], *, name: str) -> None:
    """Refuse slices with images of several kinds, such as the contrasts of a Dixon scan, which are not frames in time.

    Args:
        levels: `levels[slice][frame]`.
        places: name of each slice for messages.
        name: name of the series for messages.

    Raises:
        InputError: several kinds; the message lists them.
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
    """Refuse sorted frames that differ between slices, which would mix volumes.

    Args:
        levels: `levels[slice][frame]`, sorted.
        places: name of each slice for messages.
        key: attribute of `Plane` that they were sorted by.
        name: name of the series for messages.

    Raises:
        InputError: frames of one rank differ between slices.
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
    """Return the difference of temporal positions; some scanners continue counting from slice to slice."""
    return (plane.temporal_position or 0.0) - (first.temporal_position or 0.0)
