"""Relation of a derived image to the planes of its source series."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError, UsageError
from kfine.image import Image
from kfine.io.dicom.derived.attributes import inherited_header
from kfine.io.dicom.frame import Plane
from kfine.io.dicom.header import open_dicom, pydicom_errors
from kfine.io.dicom.images import Series
from kfine.io.dicom.reader import DicomSeries
from kfine.io.dicom.stack import Stack
from kfine.text import display_name

_ON_GRID = 0.01  # voxels
_ON_FRAME = 1e-3  # of the frame spacing


@dataclass(frozen=True)
class Place:
    """Position of a frame of the derived image in time: the fraction `part` of the way from `before` to `after`."""

    before: int
    after: int
    part: float

    @property
    def frames(self) -> tuple[int, ...]:
        """The measured frames that it is computed from."""
        return (self.before,) if self.part == 0 else (self.before, self.after)

    @property
    def nearest(self) -> int:
        """The measured frame nearest in time."""
        return self.before if self.part <= 0.5 else self.after


@dataclass(frozen=True)
class Origin:
    """Source series, and position of a derived image in it.

    Attributes:
        stack: sorted planes of the series.
        slices: the nearest slice of the series for each slice of the derived image.
        places: position of each frame of the derived image among the measured ones.
    """

    stack: Stack
    slices: tuple[int, ...]
    places: tuple[Place, ...]
    _headers: dict[Path, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, image: Image, series: DicomSeries) -> Origin:
        """Return the position of `image` in `series`.

        Args:
            image: consecutive slices of `series`, or finer slices over all of them, with the same field of view and any
                matrix and times.
            series: the source of `image`.

        Raises:
            UsageError: `image` lies elsewhere.
        """
        slices = _slices(image, series.stack, series.name)
        return cls(series.stack, slices, tuple(_places(image, series.stack)))

    def sources(self, frame: int, slice_: int) -> list[Plane]:
        """Return the measured planes that a plane of the derived image is computed from."""
        return [self.stack.planes[f][self.slices[slice_]] for f in self.places[frame].frames]

    def nearest(self, frame: int, slice_: int) -> Plane:
        """Return the measured plane nearest in time."""
        return self.stack.planes[self.places[frame].nearest][self.slices[slice_]]

    def header(self, frame: int, slice_: int) -> Any:
        """Return a new data set with the attributes that a plane inherits from the nearest measured one."""
        plane = self.nearest(frame, slice_)
        with pydicom_errors(plane.file.name, "its header"):
            if plane.file.path not in self._headers:
                # one at a time: frames of a slice, or of an enhanced file, are written one after another
                self._headers.clear()
                self._headers[plane.file.path] = open_dicom(plane.file.path, stop_before_pixels=True)
            inherited = inherited_header(self._headers[plane.file.path], plane)
        if self.finer and "SliceLocation" in inherited:
            del inherited.SliceLocation  # that of another position
        return inherited

    @property
    def finer(self) -> bool:
        """Whether the slices are finer than those of the series."""
        return len(set(self.slices)) < len(self.slices)


def series_behind(image: Image, path: Path, *, series: Series = None) -> DicomSeries:
    """Return the series at `path` that `image`, or its source, was read from.

    Args:
        image: result of `read(path, series=series)`, or derived from it.
        path: DICOM file or folder.
        series: as in `read`.

    Raises:
        UsageError: `image` was not read from DICOM.
        InputError: the series cannot be read, has changed, or names no study.
    """
    if image.source.kind != "dicom":
        raise no_dicom(display_name(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same warnings were issued when the image was read
        found = DicomSeries.at(path, series)
        found.stack  # noqa: B018
    if found.digest != image.source.digest:
        raise InputError(
            f"{found.name}: expected the files that the image was read from, but they have changed; restore it again"
        )
    check_study(found)
    return found


def no_dicom(name: str) -> UsageError:
    """Return the error for DICOM output of the image `name` from another format."""
    return UsageError(
        f"{name}: DICOM output joins the study of a DICOM input, and this is not DICOM; write a .nii.gz file"
    )


def check_study(series: DicomSeries) -> None:
    """Raise `InputError` if the files of `series` name no study for derived images."""
    for file in series.files:
        if file.tiles is not None:
            raise InputError(
                f"{file.name}: DICOM output of Siemens mosaics is not supported; write a .nii.gz file"
            )
        with pydicom_errors(file.name, "its identifiers"):
            named = all(file.header.get(keyword) for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
        if not named:
            raise InputError(
                f"{file.name}: expected StudyInstanceUID and SOPInstanceUID, which DICOM output needs; "
                "write a .nii.gz file"
            )


def _slices(image: Image, stack: Stack, name: str) -> tuple[int, ...]:
    """Return the nearest measured slice for each slice of the image."""
    rows, columns = stack.planes[0][0].file.matrix
    centres = np.array([[0, n // 2, m // 2, 1] for n, m in (image.matrix, (rows, columns))], dtype=np.float64)
    here = np.linalg.inv(stack.affine) @ image.affine @ centres[0] - [0, *centres[1][1:3], 1]
    # The same field of view up to rounding of positions, see geometry.resized_affine.
    steps = np.linalg.solve(stack.affine[:3, :3], image.affine[:3, :3])
    pace = float(steps[0, 0])
    sizes = np.diag([1 / pace if pace else 1.0, image.matrix[0] / rows, image.matrix[1] / columns])
    measured = len(stack.planes[0])
    at = here[0] + pace * np.arange(image.slices)
    finer = 0 < pace < 1 - _ON_GRID
    off = max(
        0.0 if finer else float(np.abs(at - np.rint(at)).max()),
        *np.abs(here[1:3]),
        float(np.abs(steps @ sizes - np.eye(3)).max()),
    )
    # Finer slices extend over the outer halves of the first and the last slice.
    margin = 1.0 if finer else _ON_GRID
    if off > _ON_GRID or at.min() < -margin or at.max() > measured - 1 + margin:
        raise UsageError(
            f"{name}: expected an image over the slices and field of view of this series, got one that lies elsewhere; "
            "write a .nii.gz file"
        )
    return tuple(int(number) for number in np.clip(np.rint(at), 0, measured - 1))


def _places(image: Image, stack: Stack) -> list[Place]:
    """Return the positions of the frames among the measured ones, by time, else evenly from first to last."""
    measured, count = len(stack.planes), image.frames
    times = stack.timing.times
    if times is None or image.frame_times is None:
        numbers = np.linspace(0, measured - 1, count)
    else:
        numbers = _frame_numbers(np.array(times), np.array(image.frame_times), stack.timing.period)
    places = []
    for number in numbers:
        whole = round(float(number))
        part = 0.0 if abs(number - whole) < _ON_FRAME else float(number - np.floor(number))
        before = whole if part == 0 else int(np.floor(number))
        places.append(Place(before % measured, (before + 1) % measured, part))
    return places


def _frame_numbers(
    times: NDArray[np.float64], wanted: NDArray[np.float64], period: float | None
) -> NDArray[np.float64]:
    """Return the fractional frame numbers of the `wanted` times among `times`."""
    if period is None:
        return np.interp(wanted, times, np.arange(len(times)))
    known = np.append(times, times[0] + period)
    return np.interp(times[0] + (wanted - times[0]) % period, known, np.arange(len(known)))
