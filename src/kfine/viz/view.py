"""View of a figure: one slice of every image, turned upright, and its grey windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.evaluation.comparison import grid_distance
from kfine.evaluation.foreground import bounding_box, busiest_window, foreground
from kfine.geometry import Affine, resized_affine
from kfine.image import Image, magnitude
from kfine.operators.fourier import centre_pad, fft2c
from kfine.viz.drawing import Box


@dataclass(frozen=True)
class View:
    """A turn of 2-D arrays by multiples of 90 degrees and mirrors; no voxel is interpolated.

    Attributes:
        flip: whether the stored (rows, columns) run against the picture, before they trade places.
        transpose: whether rows become columns.
        left: the letter of the patient's side on the left of the picture ("R" or "A"), "" when unknown.
    """

    flip: tuple[bool, bool] = (False, False)
    transpose: bool = False
    left: str = ""

    def turn(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return `plane` (row, column) as it is drawn: first row on top."""
        turned = plane[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flip)]
        return turned.T if self.transpose else turned

    def edges(self, shape: tuple[int, int], sizes: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return a stored plane's edges in the picture, (left, right, bottom, top) in mm, down positive.

        shape, sizes: stored (rows, columns) and mm a pixel.  The origin is the centre of pixel n // 2, which
        planes of the same field of view share whatever their matrix; matplotlib's `extent` takes the result.
        """
        spans = []
        for n, size, flip in zip(shape, sizes, self.flip, strict=True):
            first, last = (-0.5 - n // 2) * size, (n - 0.5 - n // 2) * size
            spans.append((-last, -first) if flip else (first, last))
        vertical, horizontal = reversed(spans) if self.transpose else spans
        return horizontal[0], horizontal[1], vertical[1], vertical[0]


def view_of(affine: Affine) -> View:
    """Return the turn that brings a plane of `affine` (from (slice, row, column) to RAS+ mm) upright.

    Each voxel axis is named after the world axis that it follows most closely.  Axial planes get anterior on
    top, coronal and sagittal ones superior; patient left is on the right of the picture (the radiological
    convention), and a sagittal plane looks to the left.
    """
    rotation = np.asarray(affine)[:3, :3] / np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    # world[k] is the world axis (0 R, 1 A, 2 S) of voxel axis k (0 slice, 1 row, 2 column).
    world = max(
        permutations(range(3)), key=lambda axes: float(sum(abs(rotation[axes[k], k]) for k in range(3)))
    )
    # In each of the three planes the picture's rows follow the later world axis and its columns the earlier
    # one, both downwards: axial (A, R), coronal (S, R), sagittal (S, A).
    flip = (bool(rotation[world[1], 1] > 0), bool(rotation[world[2], 2] > 0))
    return View(flip=flip, transpose=world[1] < world[2], left="RAS"[min(world[1], world[2])])


def plane_name(affine: Affine) -> str:
    """Return "axial", "coronal" or "sagittal": what slices of `affine` are called, by the world axis across them."""
    normal = np.abs(np.cross(affine[:3, 1], affine[:3, 2]))
    return ("sagittal", "coronal", "axial")[int(np.argmax(normal))]


def view_of_image(image: Image) -> View:
    """Return `view_of` the image's affine; as stored where nothing says how the patient lay.

    Raw k-space and arrays made in memory come with the default directions, which are nobody's.
    """
    directions = image.affine[:3, :3]
    unknown = image.source.kind in {"kspace", "array"} and np.array_equal(
        directions, np.diag(np.diag(directions))
    )
    return View() if unknown and bool((np.diag(directions) > 0).all()) else view_of(image.affine)


_MARGIN_MM = 6.0
_ZOOM = 0.36  # of the shown width


@dataclass(frozen=True)
class Scene:
    """One slice of frame 0, as it is drawn.

    Attributes:
        view: how stored planes are turned.
        matrix: (rows, columns) of the fine grid, as stored.
        sizes: mm a pixel of the fine grid along (row, column), as stored.
        index: the slice, counted from 0.
        grey: the grey window, the same for all images, in their units.
        window, zoom: what the large and the zoomed panels show, in mm.
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
        """Return the slice of `image` (row, column) upright, by magnitude."""
        plane = image.voxels[frame, self.index]
        return self.view.turn(np.abs(plane) if image.measured else plane)

    def extent(self, matrix: tuple[int, int]) -> Box:
        """Return where a plane of `matrix` over the same field of view lies, in mm."""
        sizes = [size * n / own for size, n, own in zip(self.sizes, self.matrix, matrix, strict=True)]
        return Box(*self.view.edges(matrix, (sizes[0], sizes[1])))

    def kspace(self, image: Image) -> NDArray[np.float64]:
        """Return log10 |k-space| of the slice on the fine grid, upright; nan where `image` has no data.

        A coarser image is scaled so that its k-space continues the fine one's (sqrt(N / n), N the pixels).
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
    """Return the scene of `guide`, the image that has the detail: the reference, or the restored one.

    slice_index: counted from 0; by default the slice with the largest signal.  The window is the bounding box
    of the foreground and 6 mm around it, no more elongated than `widest` : 1.
    """
    index = brightest_slice(guide) if slice_index is None else slice_index
    if not 0 <= index < guide.slices:
        raise InputError(f"slice {index}: expected 0 to {guide.slices - 1}, the image's slices")
    view = view_of_image(guide)
    stored = magnitude(guide).voxels[0, index]
    _, row_mm, column_mm = guide.voxel_sizes
    plane = view.turn(stored)
    down, across = (column_mm, row_mm) if view.transpose else (row_mm, column_mm)
    # Of the square root, so that tissue far from the coil belongs to the body as well.
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
            f"got {low.slices} of {low.matrix[0]}x{low.matrix[1]}; give the image that was restored"
        )
    shape = low.voxels.shape[1:]
    apart = grid_distance(low.affine, resized_affine(guide.affine, guide.voxels.shape[1:], shape), shape)
    if apart > 0.01 * min(low.voxel_sizes):
        raise InputError(
            f"low-resolution image: expected the field of view of the restored one, got voxels up to "
            f"{apart:.3g} mm away from it; give the image that was restored"
        )


def brightest_slice(image: Image) -> int:
    """Return the slice, counted from 0, with the largest signal in frame 0."""
    return int(np.argmax([np.sum(plane, dtype=np.float64) for plane in magnitude(image).voxels[0]]))


def _grey(plane: NDArray[Any]) -> tuple[float, float]:
    """Return black and white: 0 and the 99.8th percentile of the middle half of the rows and columns.

    The middle is where the operator aimed; fat beside a surface coil would leave a heart black.  Of an image that is
    empty there, white is a third of the whole's.  Black is the minimum where that lies clearly below 0, not where
    interpolation rings a little below it.
    """
    rows, columns = (slice(n // 4, n - n // 4) for n in plane.shape)
    middle, whole = (float(np.percentile(pixels, 99.8)) for pixels in (plane[rows, columns], plane))
    low, high = float(plane.min()), max(middle, whole / 3)
    low = low if low < -0.1 * abs(high) else 0.0
    return low, high if high > low else low + 1.0
