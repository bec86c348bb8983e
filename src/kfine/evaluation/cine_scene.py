"""What the pictures of a cine show: the slice and the region that move most, a line through it, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from kfine.evaluation.panels import Box
from kfine.evaluation.scene import Scene, make_scene
from kfine.image import Image, magnitude
from kfine.methods.scan import Timing

_REGION = 0.45  # of the shown window's shorter side
_BLUR_MM = 3.0
_EXTREME = 99.0  # percentile: a few pixels of flowing blood must not decide where the heart is


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

    slice_index: counted from 0; by default the slice that changes most over time.  The region is the square of
    0.45 of the window in which the variance over time is largest; the line is the row or the column through it along
    which intensities vary most.
    """
    index = liveliest_slice(guide) if slice_index is None else slice_index
    still = make_scene(guide, slice_index=index)
    moving = still.view.turn(magnitude(guide).voxels[:, index].std(axis=0))
    box, (down, across) = still.extent(guide.matrix), still.spacing
    smooth = ndimage.gaussian_filter(moving, (_BLUR_MM / down, _BLUR_MM / across))
    energy = np.minimum(smooth, np.percentile(smooth, _EXTREME)) ** 2
    side = _REGION * min(still.window.width, still.window.height)
    shape = tuple(
        min(max(2, round(side / mm)), n) for mm, n in zip((down, across), energy.shape, strict=True)
    )
    within = ndimage.uniform_filter(energy, shape, mode="constant")
    row, column = np.unravel_index(int(np.argmax(within)), within.shape)
    y, x = box.top + (float(row) + 0.5) * down, box.left + (float(column) + 0.5) * across
    region = Box(x - side / 2, x + side / 2, y + side / 2, y - side / 2)
    return CineScene(replace(still, zoom=region), _line(smooth, box, region), timing, seconds)


def liveliest_slice(image: Image) -> int:
    """Return the slice, counted from 0, that changes most over time."""
    return int(np.argmax([plane.std(axis=0).sum() for plane in magnitude(image).voxels.swapaxes(0, 1)]))


def _line(variation: NDArray[Any], box: Box, region: Box) -> Line:
    """Return the row or column of `variation`, which covers `box`, with the largest sum within `region`."""
    down, across = box.height / variation.shape[0], box.width / variation.shape[1]
    rows = [_index(mm, box.top, down, variation.shape[0]) for mm in (region.top, region.bottom)]
    columns = [_index(mm, box.left, across, variation.shape[1]) for mm in (region.left, region.right)]
    part = variation[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
    along_rows, along_columns = part.mean(axis=1), part.mean(axis=0)
    if along_rows.max() >= along_columns.max():
        y = box.top + (rows[0] + int(np.argmax(along_rows)) + 0.5) * down
        return Line(True, y, region.left, region.right)
    x = box.left + (columns[0] + int(np.argmax(along_columns)) + 0.5) * across
    return Line(False, x, region.top, region.bottom)


def _index(mm: float, first: float, size: float, count: int) -> int:
    """Return which of `count` pixels of `size` mm, the first of which begins at `first`, holds the place `mm`."""
    return min(max(int((mm - first) / size), 0), count - 1)
