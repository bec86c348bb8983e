"""How a stored plane is turned so that it hangs on the screen as radiologists expect it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.geometry import Affine
from kfine.image import Image


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


def view_of_image(image: Image) -> View:
    """Return `view_of` the image's affine; as stored where nothing says how the patient lay.

    Raw k-space and arrays made in memory come with the default directions, which are nobody's.
    """
    directions = image.affine[:3, :3]
    unknown = image.source.kind in {"kspace", "array"} and np.array_equal(
        directions, np.diag(np.diag(directions))
    )
    return View() if unknown and bool((np.diag(directions) > 0).all()) else view_of(image.affine)
