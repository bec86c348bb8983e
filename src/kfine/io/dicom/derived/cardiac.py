"""When each plane of a derived cine was, by the clock of its own slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfine.image import Image
from kfine.io.dicom.derived.source import Origin

_DIGITS = 3  # of a millisecond


@dataclass(frozen=True)
class HeartTimes:
    """Milliseconds after the R wave of each (frame, slice), and each slice's nominal heart beat; None: not known."""

    trigger: NDArray[np.float64] | None
    beat: tuple[float | None, ...]


def heart_times(image: Image, origin: Origin) -> HeartTimes:
    """Return the trigger times of the derived `image`.

    Slices breath-held one after another have clocks of their own (`kfine.io.dicom.timing`): a frame that was measured
    keeps the trigger time of its slice, one in between gets the interpolated one.  Where the source's trigger times
    were not believed, those of the image are the same for all slices; where it has none, none are written, also where
    the image was given times since: they are nobody's trigger times.
    """
    slices = range(origin.first, origin.first + image.slices)
    beats = tuple(origin.stack.planes[0][s].nominal_interval for s in slices)
    times = origin.stack.timing.times
    if image.frames == 1 or image.frame_times is None or times is None:
        single = [[origin.stack.planes[p.nearest][s].trigger_time for s in slices] for p in origin.places]
        known = image.frames == 1 and all(time is not None for row in single for time in row)
        return HeartTimes(np.array(single, dtype=np.float64) if known else None, beats)
    clocks = _clocks(origin, times)[:, list(slices)]
    period = origin.stack.timing.period
    rows = []
    for place in origin.places:
        later = clocks[place.after].copy()
        if place.after < place.before:
            own = [beat if beat else 1000 * (period or 0.0) for beat in beats]
            later += np.where(clocks[0] + own > clocks[-1], own, 1000 * (period or 0.0))
        exact = clocks[place.before] + place.part * (later - clocks[place.before])
        rows.append(exact if place.part == 0 else exact.round(_DIGITS))
    return HeartTimes(np.array(rows), beats)


def _clocks(origin: Origin, times: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the milliseconds of each measured (frame, slice): the files' own where the reader believed them.

    times: seconds of the measured frames, as the reader has them.
    """
    common = 1000 * np.array(times)[:, None] * np.ones(len(origin.stack.planes[0]))
    triggers = [[plane.trigger_time for plane in row] for row in origin.stack.planes]
    if any(time is None for row in triggers for time in row):
        return common
    own = np.array(triggers, dtype=np.float64)
    return own if np.allclose(np.median(own, axis=1), common[:, 0], rtol=0, atol=1e-6) else common
