"""The left ventricle's area: manual contours of the Sunnybrook Cardiac Data, and an estimate from the grey values.

Radau et al., Evaluation framework for algorithms segmenting short axis cardiac MRI, MIDAS Journal 2009.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree  # type: ignore[import-untyped]
from skimage.draw import polygon2mask
from skimage.measure import find_contours

from kfine.errors import InputError
from kfine.image import Image

Array = NDArray[np.float64]

PHASES = ("end diastole", "end systole")
_NAME = re.compile(r"IM-\d+-(\d+)-icontour-manual\.txt$")
# mm from the contour: surely blood inside, surely muscle outside, and how far the estimate may stray.
_DEEP, _WALL, _REACH = 3.0, (2.0, 5.0), 4.0


@dataclass(frozen=True)
class Contour:
    """The endocardium in one image, papillary muscles counted as blood.

    Attributes:
        frame, slice: of the image it was drawn on.
        points: (point, 2): row and column, 0 at the centre of the first pixel, of a closed line.
        phase: one of `PHASES`.
    """

    frame: int
    slice: int
    points: Array
    phase: str

    def area(self, spacing: tuple[float, float]) -> float:
        """Return the area inside, mm^2; `spacing`: mm a row and a column."""
        rows, columns = (self.points * spacing).T
        twice = rows @ np.roll(columns, -1) - columns @ np.roll(rows, -1)
        return abs(float(twice)) / 2

    def on_matrix(self, old: tuple[int, int], new: tuple[int, int]) -> Contour:
        """Return the contour in pixels of another matrix over the same field of view (see `kfine.geometry`)."""
        o, n = np.array(old), np.array(new)
        return Contour(self.frame, self.slice, (self.points - o // 2) * n / o + n // 2, self.phase)


def read_contours(folder: Path, *, dicom: Path, image: Image) -> list[Contour]:
    """Return the endocardial contours of one patient, by slice and frame of `image`.

    A file's number, IM-0001-0040-icontour-manual.txt, is the InstanceNumber of the DICOM image that it was drawn on.
    Of the two contours of a slice the larger one is end diastole; slices with one contour are left out.

    Args:
        folder: holds the contour files, in itself or below.
        dicom: the folder of the cine that they belong to.
        image: that cine, read by `kfine.io.read`, all slices.

    Raises:
        InputError: no contours, a file that holds no points, or images that are not in `dicom` or `image`.
    """
    places = _places(dicom, image)
    found: dict[int, list[Contour]] = {}
    for path in sorted(folder.rglob("*")):
        name = _NAME.search(path.name)
        if name is None:
            continue
        if int(name[1]) not in places:
            raise InputError(
                f"{path.name}: expected an image of this InstanceNumber in {dicom.name}, got none"
            )
        frame, number = places[int(name[1])]
        found.setdefault(number, []).append(Contour(frame, number, _points(path), ""))
    if not found:
        raise InputError(f"{folder.name}: expected contours IM-...-icontour-manual.txt, got none")
    contours = []
    for number in sorted(found):
        pair = sorted(found[number], key=lambda contour: -contour.area((1.0, 1.0)))
        if len(pair) == 2:
            contours += [Contour(c.frame, number, c.points, p) for c, p in zip(pair, PHASES, strict=True)]
    return contours


def pool_area(plane: NDArray[Any], contour: Contour, *, spacing: tuple[float, float]) -> float:
    """Return the area of the blood pool in mm^2 as the grey values of `plane` (row, column) show it.

    Blood is the median more than 3 mm inside the contour, muscle the median from 2 to 5 mm outside.  The line half-way
    between the two grey values is followed to a part of a pixel (marching squares), no further than 4 mm outside the
    contour, and the area is that of the convex hull of its largest piece: papillary muscles count as blood, as in
    the contours.  The contour only says where to look and where to take the grey values.  nan where blood is not
    brighter than muscle.
    """
    outward = _distance(plane.shape, contour.points, spacing)
    ring = (outward > _WALL[0]) & (outward < _WALL[1])
    if not ((outward < 0).any() and ring.any()):
        return math.nan
    deep = outward < -_DEEP
    blood = float(np.median(plane[deep if deep.any() else outward < 0]))
    wall = float(np.median(plane[ring]))
    if not blood > wall:
        return math.nan
    within = np.where(outward <= _REACH, plane, wall).astype(np.float64)
    lines = find_contours(np.pad(within, 1, constant_values=wall), (blood + wall) / 2)
    return max((_hull_area(line * spacing) for line in lines), default=math.nan)


@dataclass(frozen=True)
class PoolAreas:
    """The blood pool's area in one image, mm^2: as drawn by hand, in the truth, and after restoration."""

    phase: str
    slice: int
    frame: int
    contour: float
    truth: float
    restored: float


def area_errors(areas: Iterable[PoolAreas]) -> dict[str, dict[str, float]]:
    """Return for each phase of the heart beat mean relative errors of the area, 0 at best.

    "restored": against the truth's estimate, the error that restoration makes; "restored_contour" and
    "truth_contour": against the contour, the second being what the estimator itself is off.  A pool that cannot be
    found any more counts as an error of 1.
    """
    areas = list(areas)
    found = {}
    for phase in PHASES:
        rows = [row for row in areas if row.phase == phase and row.truth > 0]
        if rows:
            found[phase] = {
                "restored": _relative([(row.restored, row.truth) for row in rows]),
                "restored_contour": _relative([(row.restored, row.contour) for row in rows]),
                "truth_contour": _relative([(row.truth, row.contour) for row in rows]),
            }
    return found


def _relative(pairs: list[tuple[float, float]]) -> float:
    return sum(1.0 if math.isnan(a) else abs(a / b - 1) for a, b in pairs) / len(pairs)


def _distance(shape: tuple[int, ...], points: Array, spacing: tuple[float, float]) -> Array:
    """Return how far each pixel's centre is from a closed line, mm; negative inside."""
    parts = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    line = ((1 - parts) * points + parts * np.roll(points, -1, axis=0)).reshape(-1, 2)
    centres = np.moveaxis(np.indices(shape), 0, -1) * np.asarray(spacing)
    distance, _ = cKDTree(line * spacing).query(centres)
    return np.where(polygon2mask(shape, points), -distance, distance)


def _hull_area(points: Array) -> float:
    if len(np.unique(points, axis=0)) < 3 or np.linalg.matrix_rank(points - points[0]) < 2:
        return 0.0
    return float(ConvexHull(points).volume)  # in the plane, the volume is the area


def _points(path: Path) -> Array:
    """Return (point, 2), row and column, from lines of "x y"."""
    try:
        points = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError):
        points = np.empty((0, 0))
    if points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise InputError(
            f"{path.name}: expected lines of two numbers, x and y, at least 3; got something else"
        )
    return points[:, ::-1]


def _places(dicom: Path, image: Image) -> dict[int, tuple[int, int]]:
    """Return (frame, slice) of `image` for the InstanceNumber of each image in `dicom`."""
    import pydicom

    tags = ["InstanceNumber", "ImagePositionPatient", "TriggerTime"]
    to_index = np.linalg.inv(image.affine)
    slices: dict[int, list[tuple[float, int]]] = {}
    for path in sorted(dicom.rglob("*")):
        if not path.is_file():
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            x, y, z = (float(value) for value in header.ImagePositionPatient)
            time, number = float(header.TriggerTime), int(header.InstanceNumber)
        except (pydicom.errors.InvalidDicomError, AttributeError, TypeError, ValueError):
            raise InputError(
                f"{path.name}: expected a DICOM image with position, trigger time and InstanceNumber"
            ) from None
        # DICOM's x and y point the other way than the affine's.
        level = round(float((to_index @ (-x, -y, z, 1.0))[0]))
        slices.setdefault(level, []).append((time, number))
    return {
        number: (frame, level)
        for level, images in slices.items()
        for frame, (_, number) in enumerate(sorted(images))
    }
