"""View of a figure: slice, upright orientation, crop, grey window; of a cine also region, line and times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]

from kfine.acquisition.timing import Timing
from kfine.errors import InputError
from kfine.evaluation.comparison import grid_distance
from kfine.evaluation.foreground import bounding_box, busiest_window, foreground
from kfine.geometry import Affine, resized_affine
from kfine.image import Image, magnitude
from kfine.operators.fourier import centre_pad, fft2c
from kfine.viz.drawing import Box

_MARGIN_MM = 6.0
_ZOOM = 0.36  # of the shown width

_REGION = 0.45  # of the shown window's shorter side
_BLUR_MM = 3.0
_EXTREME = 99.0  # percentile: a few pixels of fat or flowing blood must not determine the region
_WHITE = 99.5  # percentile of the region


@dataclass(frozen=True)
class View:
    """An orientation of 2-D arrays: rotation by multiples of 90 degrees and mirroring, without interpolation.

    Attributes:
        flip: whether the stored (rows, columns) run against the picture, before the transposition.
        transpose: whether rows become columns.
        left: letter of the patient's side at the left of the picture ("R" or "A"); "" if unknown.
    """

    flip: tuple[bool, bool] = (False, False)
    transpose: bool = False
    left: str = ""

    def turn(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return `plane` (row, column) in the orientation of the picture, first row on top."""
        turned = plane[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flip)]
        return turned.T if self.transpose else turned

    def edges(self, shape: tuple[int, int], sizes: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return the edges of a stored plane in the picture, (left, right, bottom, top) in mm, down positive.

        shape, sizes: stored (rows, columns) and mm a pixel.  The origin is the centre of pixel n // 2, which planes of
        the same field of view and any matrix share; the result is matplotlib's `extent`.
        """
        spans = []
        for n, size, flip in zip(shape, sizes, self.flip, strict=True):
            first, last = (-0.5 - n // 2) * size, (n - 0.5 - n // 2) * size
            spans.append((-last, -first) if flip else (first, last))
        vertical, horizontal = reversed(spans) if self.transpose else spans
        return horizontal[0], horizontal[1], vertical[1], vertical[0]


def view_of(affine: Affine) -> View:
    """Return the orientation in which a plane of `affine` ((slice, row, column) to RAS+ mm) is upright.

    Each voxel axis is assigned to the world axis nearest to it.  Axial planes have anterior on top, coronal and
    sagittal ones superior.  Patient left is on the right of the picture (radiological convention); in a sagittal plane
    anterior is on the left.
    """
    rotation = np.asarray(affine)[:3, :3] / np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    # world[k] is the world axis (0 R, 1 A, 2 S) of voxel axis k (0 slice, 1 row, 2 column).
    world = max(
        permutations(range(3)), key=lambda axes: float(sum(abs(rotation[axes[k], k]) for k in range(3)))
    )
    # In each of the three planes the rows of the picture follow the later world axis and its columns the earlier
    # one, both downwards: axial (A, R), coronal (S, R), sagittal (S, A).
    flip = (bool(rotation[world[1], 1] > 0), bool(rotation[world[2], 2] > 0))
    return View(flip=flip, transpose=world[1] < world[2], left="RAS"[min(world[1], world[2])])


def plane_name(affine: Affine) -> str:
    """Return "axial", "coronal" or "sagittal": what slices of `affine` are called, by the world axis across them."""
    normal = np.abs(np.cross(affine[:3, 1], affine[:3, 2]))
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]


def view_of_image(image: Image) -> View:
    """Return `view_of` the image's affine; the stored orientation if that of the patient is unknown."""
    return view_of(image.affine) if is_oriented(image) else View()


def is_oriented(image: Image) -> bool:
    """Return whether the directions of the patient are known.

    Raw k-space and arrays made in memory have default directions that describe no patient.
    """
    directions = image.affine[:3, :3]
    if image.source.kind not in {"kspace", "array"}:
        return True
    return not np.array_equal(directions, np.diag(np.diag(directions))) or bool(
        (np.diag(directions) <= 0).any()
    )


@dataclass(frozen=True)
class Scene:
    """View of one slice.

    Attributes:
        view: orientation of stored planes in the picture.
        matrix: (rows, columns) of the fine grid, as stored.
        sizes: mm a pixel of the fine grid along (row, column), as stored.
        index: the slice, counted from 0.
        grey: grey window of all images, in their units.
        window, zoom: extents of the large and of the zoomed panels, mm.
    """

    view: View
    matrix: tuple[int, int]
    sizes: tuple[float, float]
    index: int
    grey: tuple[float, float]
    window: Box
    zoom: Box

    @property
    def spacing(self) -> tuple[float, float]:
        """Millimetres a pixel (downwards, across) in the picture."""
        return (self.sizes[1], self.sizes[0]) if self.view.transpose else self.sizes

    def plane(self, image: Image, *, frame: int = 0) -> NDArray[Any]:
        """Return the magnitude of the slice of `image` (row, column), upright."""
        plane = image.voxels[frame, self.index]
        return self.view.turn(np.abs(plane) if image.measured else plane)

    def extent(self, matrix: tuple[int, int]) -> Box:
        """Return the extent in mm of a plane of `matrix` over the same field of view."""
        sizes = [size * n / own for size, n, own in zip(self.sizes, self.matrix, matrix, strict=True)]
        return Box(*self.view.edges(matrix, (sizes[0], sizes[1])))

    def kspace(self, image: Image) -> NDArray[np.float64]:
        """Return log10 |k-space| of the slice on the fine grid, upright; nan outside the k-space of `image`.

        A coarser image is scaled by sqrt(N / n), with N and n the numbers of pixels, to the level of the fine k-space.
        """
        rows, columns = image.matrix
        gain = (self.matrix[0] * self.matrix[1] / (rows * columns)) ** 0.5
        values = fft2c(torch.from_numpy(np.array(image.voxels[0, self.index]))).abs().to(torch.float64) * gain
        known = centre_pad(torch.ones(image.matrix), self.matrix).numpy() > 0
        padded = centre_pad(values, self.matrix).numpy()
        return self.view.turn(np.where(known, np.log10(np.maximum(padded, 1e-12)), np.nan))

    def block(self, matrix: tuple[int, int]) -> Box:
        """Return the outline of the central `matrix` of the fine grid's upright k-space, in pixel indices."""
        inside = self.view.turn(centre_pad(torch.ones(matrix), self.matrix).numpy() > 0)
        rows, columns = bounding_box(inside, margin=0)
        return Box(columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)


def make_scene(guide: Image, *, slice_index: int | None, widest: float = 1.45) -> Scene:
    """Return the scene of `guide`, the image with most detail: the reference or a restored image.

    slice_index: counted from 0; default: the slice with the largest signal.  The window is the bounding box of the
    foreground with a margin of 6 mm, with an aspect ratio of at most `widest`.
    """
    index = brightest_slice(guide) if slice_index is None else slice_index
    if not 0 <= index < guide.slices:
        raise InputError(f"slice {index}: expected 0 to {guide.slices - 1}, the image's slices")
    view = view_of_image(guide)
    stored = magnitude(guide).voxels[0, index]
    _, row_mm, column_mm = guide.voxel_sizes
    plane = view.turn(stored)
    down, across = (column_mm, row_mm) if view.transpose else (row_mm, column_mm)
    # The square root includes tissue far from the coil.
    body = view.turn(foreground(Image(np.sqrt(np.maximum(stored, 0))[None, None], guide.affine))[0, 0])
    extent = Box(*view.edges(guide.matrix, (row_mm, column_mm)))

    def in_mm(rows: slice, columns: slice) -> Box:
        left, top = extent.left, extent.top
        return Box(
            left + columns.start * across,
            left + columns.stop * across,
            top + rows.stop * down,
            top + rows.start * down,
        )

    margin = min(round(_MARGIN_MM / min(down, across)), max(guide.matrix) // 16)
    box = in_mm(*bounding_box(body, margin=margin))
    window = box.widened(min(max(box.height / box.width, 1 / widest), widest))
    side = _ZOOM * min(window.width, window.height)
    shape = max(2, round(side / down)), max(2, round(side / across))
    zoom = in_mm(*busiest_window(plane, body, shape=shape, spacing=(down, across)))
    return Scene(view, guide.matrix, (row_mm, column_mm), index, _grey(stored), window, zoom.widened(1.0))


def check_low(low: Image, guide: Image) -> None:
    """Raise `InputError` unless `low` is a coarser grid over the field of view of `guide`."""
    if low.slices != guide.slices or any(n > big for n, big in zip(low.matrix, guide.matrix, strict=True)):
        rows, columns = guide.matrix
        raise InputError(
            f"low-resolution image: expected {guide.slices} slices of at most {rows}x{columns}, "
            f"got {low.slices} of {low.matrix[0]}x{low.matrix[1]}; pass the image that was restored"
        )
    shape = low.voxels.shape[1:]
    apart = grid_distance(low.affine, resized_affine(guide.affine, guide.voxels.shape[1:], shape), shape)
    if apart > 0.01 * min(low.voxel_sizes):
        raise InputError(
            f"low-resolution image: expected the field of view of the restored one, got voxels up to "
            f"{apart:.3g} mm away from it; pass the image that was restored"
        )


def brightest_slice(image: Image) -> int:
    """Return the slice, counted from 0, with the largest signal in frame 0."""
    return int(np.argmax([np.sum(plane, dtype=np.float64) for plane in magnitude(image).voxels[0]]))


def _grey(plane: NDArray[Any]) -> tuple[float, float]:
    """Return black and white: 0 and the 99.8th percentile of the middle half of the rows and columns.

    The organ of interest is in the middle; with fat beside a surface coil as white, a heart would be black.  If the
    middle is empty, white is a third of the percentile of the whole plane.  Black is the minimum if that is clearly
    below 0; small negative values come from ringing.
    """
    rows, columns = (slice(n // 4, n - n // 4) for n in plane.shape)
    middle, whole = (float(np.percentile(pixels, 99.8)) for pixels in (plane[rows, columns], plane))
    low, high = float(plane.min()), max(middle, whole / 3)
    low = low if low < -0.1 * abs(high) else 0.0
    return low, high if high > low else low + 1.0


@dataclass(frozen=True)
class Line:
    """A straight line along a row or a column of the picture.

    Attributes:
        across: whether it runs from left to right; else from top to bottom.
        place: mm from the centre, downwards for a line across, to the right for one from top to bottom.
        first, last: its ends along itself, mm.
    """

    across: bool
    place: float
    first: float
    last: float


@dataclass(frozen=True)
class CineScene:
    """View of one slice of a cine.

    Attributes:
        still: the slice; its zoom is the region that moves most.
        line: through that region, drawn over time.
        timing: times of the measured and of the shown frames.
        seconds: whether times are in seconds; else in frames.
    """

    still: Scene
    line: Line
    timing: Timing
    seconds: bool

    def latest_measured(self) -> list[int]:
        """Return for each shown time the latest measured frame, which a viewer of the input sees then."""
        times, at = np.asarray(self.timing.times), np.asarray(self.timing.at)
        step = (at[-1] - at[0]) / max(len(at) - 1, 1)
        last = np.searchsorted(times, at + 1e-6 * step, side="right") - 1
        # Before the first frame of a heart beat: the last frame of the previous beat.
        return [
            int(frame) % len(times) if self.timing.period is not None else max(int(frame), 0)
            for frame in last
        ]

    def chosen(self, count: int) -> list[int]:
        """Return at most `count` frames evenly over time: interpolated frames if there are any, else any frames."""
        measured = {restored for _, restored in self.timing.pairs}
        frames = [frame for frame in range(len(self.timing.at)) if frame not in measured]
        frames = frames or list(range(len(self.timing.at)))
        return sorted({frames[(2 * number + 1) * len(frames) // (2 * count)] for number in range(count)})

    def label(self, frame: int) -> str:
        """Return the time of a frame, and whether it was measured."""
        measured = any(frame == restored for _, restored in self.timing.pairs)
        return f"{self.when(frame)} · {'measured' if measured else 'between frames'}"

    def when(self, frame: int) -> str:
        """Return the time of a frame after the first one."""
        after = self.timing.at[frame] - self.timing.at[0]
        return f"{1000 * after:.0f} ms" if self.seconds else f"frame {after:g}"

    def along_line(self, image: Image) -> NDArray[Any]:
        """Return the intensities (position on the line, frame) of every frame of `image`."""
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
    """Return the scene of `guide`, the cine with most detail, whose frames are at `timing.at`.

    slice_index: counted from 0; default: the slice that changes most over time.  The region is a square around the
    motion, of 0.45 of the window's shorter side; its brightest pixels are white.  The line is the row or the column
    through the centre of the motion, whichever changes more over time.
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
    # The square is larger than the heart: centre it on the heart.
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
    """Return the index, below `count`, of the pixel at the position `mm`; pixels of `size` mm begin at `first`."""
    return min(max(int((mm - first) / size), 0), count - 1)
