"""View of a cine: the slice and region that move most, a line through it, and times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from kfine.acquisition.timing import Timing
from kfine.image import Image, magnitude
from kfine.viz.drawing import Box
from kfine.viz.view import Scene, make_scene

_REGION = 0.45  # of the shown window's shorter side
_BLUR_MM = 3.0
_EXTREME = 99.0  # percentile: a few pixels of fat or flowing blood must not decide where the heart is
_WHITE = 99.5  # percentile of the region


@dataclass(frozen=True)
class Line:
    """A straight line across the picture, along a row or a column of it.

    Attributes:
        across: whether it runs from left to right; else from top to bottom.
        place: in mm from the centre, downwards for a line across, to the right for one down.
        first, last: where it begins and ends along itself, mm.
    """

    across: bool
    place: float
    first: float
    last: float


@dataclass(frozen=True)
class CineScene:
    """One slice of a cine, as it is drawn.

    Attributes:
        still: the slice; its zoom is the region that moves most.
        line: through that region, for the picture of the line over time.
        timing: when frames were measured and when they are shown.
        seconds: whether times are seconds; else they are counted in frames.
    """

    still: Scene
    line: Line
    timing: Timing
    seconds: bool

    def held(self) -> list[int]:
        """Return for each time shown the measured frame that a viewer still sees: the last one before it."""
        times, at = np.asarray(self.timing.times), np.asarray(self.timing.at)
        step = (at[-1] - at[0]) / max(len(at) - 1, 1)
        last = np.searchsorted(times, at + 1e-6 * step, side="right") - 1
        # Before the first frame of a heart beat, the last one of the beat before.
        return [
            int(frame) % len(times) if self.timing.period is not None else max(int(frame), 0)
            for frame in last
        ]

    def chosen(self, count: int) -> list[int]:
        """Return `count` frames to show, fewer if there are fewer: invented ones if any, evenly over time."""
        measured = {restored for _, restored in self.timing.pairs}
        frames = [frame for frame in range(len(self.timing.at)) if frame not in measured]
        frames = frames or list(range(len(self.timing.at)))
        return sorted({frames[(2 * number + 1) * len(frames) // (2 * count)] for number in range(count)})

    def said(self, frame: int) -> str:
        """Return when a frame is, and whether it was measured."""
        measured = any(frame == restored for _, restored in self.timing.pairs)
        return f"{self.when(frame)} · {'measured' if measured else 'between frames'}"

    def when(self, frame: int) -> str:
        """Return when a frame is, from the first one on."""
        after = self.timing.at[frame] - self.timing.at[0]
        return f"{1000 * after:.0f} ms" if self.seconds else f"frame {after:g}"

    def along_line(self, image: Image) -> NDArray[Any]:
        """Return the picture (place on the line, frame) of the line over time, from every frame of `image`."""
        still, line = self.still, self.line
        box = still.extent(image.matrix)
        columns = []
        for frame in range(image.frames):
            plane = still.plane(image, frame=frame)
            down, across = box.height / plane.shape[0], box.width / plane.shape[1]
            if line.across:
                row = _index(line.place, box.top, down, plane.shape[0])
                ends = [_index(mm, box.left, across, plane.shape[1]) for mm in (line.first, line.last)]
                columns.append(plane[row, ends[0] : ends[1] + 1])
            else:
                column = _index(line.place, box.left, across, plane.shape[1])
                ends = [_index(mm, box.top, down, plane.shape[0]) for mm in (line.first, line.last)]
                columns.append(plane[ends[0] : ends[1] + 1, column])
        return np.stack(columns, axis=1)


def make_cine_scene(
    guide: Image, timing: Timing, *, slice_index: int | None = None, seconds: bool = True
) -> CineScene:
    """Return the scene of `guide`, the cine that has the detail, whose frames are at `timing.at`.

    slice_index: counted from 0; by default the slice that changes most over time.  The region is a square of 0.45 of
    the window around what moves; white is what is brightest there; the line is the row or the column through the
    middle of what moves there, whichever intensities vary along more.
    """
    index = liveliest_slice(guide) if slice_index is None else slice_index
    still = make_scene(guide, slice_index=index)
    frames = magnitude(guide).voxels[:, index]
    box, (down, across) = still.extent(guide.matrix), still.spacing
    smooth = ndimage.gaussian_filter(
        still.view.turn(frames.std(axis=0)), (_BLUR_MM / down, _BLUR_MM / across)
    )
    energy = np.minimum(smooth, np.percentile(smooth, _EXTREME)) ** 2
    side = _REGION * min(still.window.width, still.window.height)
    height, width = (
        min(max(2, round(side / mm)), n) for mm, n in zip((down, across), energy.shape, strict=True)
    )
    within = ndimage.uniform_filter(energy, (height, width), mode="constant")
    centre = np.unravel_index(int(np.argmax(within)), within.shape)
    rows, columns = (
        slice(max(0, int(middle) - size // 2), int(middle) - size // 2 + size)
        for middle, size in zip(centre, (height, width), strict=True)
    )
    part = energy[rows, columns]
    # The square is larger than the heart: of all places where it holds it, the heart in the middle.
    row, column = rows.start + _middle(part.sum(axis=1)), columns.start + _middle(part.sum(axis=0))
    y, x = box.top + (row + 0.5) * down, box.left + (column + 0.5) * across
    region = Box(x - side / 2, x + side / 2, y + side / 2, y - side / 2)
    if part[row - rows.start].mean() >= part[:, column - columns.start].mean():
        line = Line(True, y, region.left, region.right)
    else:
        line = Line(False, x, region.top, region.bottom)
    bright = np.stack([still.view.turn(frame)[rows, columns] for frame in frames])
    white = max(float(np.percentile(bright, _WHITE)), still.grey[0] + 1e-6 * abs(still.grey[1]))
    return CineScene(replace(still, zoom=region, grey=(still.grey[0], white)), line, timing, seconds)


def liveliest_slice(image: Image) -> int:
    """Return the slice, counted from 0, that changes most over time."""
    return int(np.argmax([plane.std(axis=0).sum() for plane in magnitude(image).voxels.swapaxes(0, 1)]))


def _middle(weights: NDArray[Any]) -> int:
    """Return the index of the centre of mass of `weights`, the middle if there are none."""
    total = float(weights.sum())
    places = np.arange(len(weights))
    return round(float(weights @ places) / total) if total > 0 else len(weights) // 2


def _index(mm: float, first: float, size: float, count: int) -> int:
    """Return which of `count` pixels of `size` mm, the first of which begins at `first`, holds the place `mm`."""
    return min(max(int((mm - first) / size), 0), count - 1)
