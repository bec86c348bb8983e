"""Derived image with the content of its DICOM files: geometry, times, attributes and pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.geometry import LPS_TO_RAS
from kfine.image import Image
from kfine.io.dicom.derived.attributes import EMPTY_IF_UNKNOWN, PATIENT_AND_STUDY, SERIES_AND_EQUIPMENT
from kfine.io.dicom.derived.derivation import Derivation, references, series_number, suffixed
from kfine.io.dicom.derived.source import Origin
from kfine.io.dicom.header import one_text, optional_number
from kfine.io.dicom.reader import DicomSeries
from kfine.io.dicom.stack import Stack
from kfine.text import clean_text


@dataclass(frozen=True)
class PlaneGeometry:
    """Positions of the planes of an image in DICOM's LPS+ millimetres.

    Attributes:
        orientation: unit vectors along a row (column index grows), then along a column (row index grows).
        spacing: distance between rows, and between columns.
        positions: (slice, 3), the centre of the first voxel of each slice.
        between: distance of slice centres along the normal.
    """

    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    positions: NDArray[np.float64]
    between: float

    @classmethod
    def of(cls, image: Image) -> PlaneGeometry:
        """Return the geometry of `image`, exactly that of its affine."""
        axes, sizes = image.affine[:3, :3] * LPS_TO_RAS[:, None], image.voxel_sizes
        along_row, along_column = axes[:, 2] / sizes[2], axes[:, 1] / sizes[1]
        positions = image.affine[:3, 3] * LPS_TO_RAS + np.arange(image.slices)[:, None] * axes[:, 0]
        between = abs(float(np.cross(along_row, along_column) @ axes[:, 0]))
        return cls(np.concatenate([along_row, along_column]), (sizes[1], sizes[2]), positions, between)


def decimal_strings(values: NDArray[np.float64] | tuple[float, ...]) -> list[str]:
    """Return the DICOM decimal strings (at most 16 characters) nearest to `values`.

    >>> decimal_strings((1 / 3, -12.0))
    ['0.33333333333333', '-12.0']
    """
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value) + 0.0) for value in values]


_DIGITS = 3  # of a millisecond


@dataclass(frozen=True)
class HeartTimes:
    """Milliseconds after the R wave of each (frame, slice), and nominal heart beat of each slice; None if unknown."""

    trigger: NDArray[np.float64] | None
    beat: tuple[float | None, ...]


def heart_times(image: Image, origin: Origin) -> HeartTimes:
    """Return the trigger times of the derived `image`.

    Slices from different breath-holds have different trigger times (`kfine.io.dicom.timing`): a measured frame has the
    trigger time of its slice, an interpolated frame the interpolated time.  If the trigger times of the source were
    implausible, those of the image are used for all slices.  Without times in the source none are written, even if the
    image has got times since, which are not trigger times.
    """
    slices = origin.slices
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
    """Return the times in ms of each measured (frame, slice): the trigger times if the reader used them.

    times: seconds of the measured frames from the reader.
    """
    common = 1000 * np.array(times)[:, None] * np.ones(len(origin.stack.planes[0]))
    triggers = [[plane.trigger_time for plane in row] for row in origin.stack.planes]
    if any(time is None for row in triggers for time in row):
        return common
    own = np.array(triggers, dtype=np.float64)
    return own if np.allclose(np.median(own, axis=1), common[:, 0], rtol=0, atol=1e-6) else common


def numbered_by_volume(stack: Stack) -> bool:
    """Return whether instance numbers follow each other within a volume more often than within a slice."""
    numbered = []
    for f, s in np.ndindex(len(stack.planes), len(stack.planes[0])):
        plane = stack.planes[f][s]
        number = optional_number(plane.file.header.get("InstanceNumber"))
        numbered.append((0.0 if number is None else number, plane.index, s, f))
    numbered.sort()
    within_volume = sum(a[3] == b[3] for a, b in pairwise(numbered))
    return within_volume > sum(a[2] == b[2] for a, b in pairwise(numbered))


_WHICH = {"std": 2, "lower": 3, "upper": 4, "sharp": 5}  # number of a derived series; that of images is 1
_NO_DATE, _NO_TIME = "19000101", "000000"  # if the standard requires one and the source has none


@dataclass(frozen=True)
class Derived:
    """A derived image and its origin.

    Attributes:
        image: real image.
        origin: the source series.
        geometry: positions of its planes.
        heart: trigger times.
        derivation: description of the processing.
        by_volume: whether instance numbers increase volume by volume, as in the source, or slice by slice.
        what: "sharp" of a sharp image; "" of the restored image or a map.
    """

    image: Image
    origin: Origin
    geometry: PlaneGeometry
    heart: HeartTimes
    derivation: Derivation
    by_volume: bool = False
    what: str = ""

    @classmethod
    def of(cls, image: Image, source: DicomSeries, *, made_by: Mapping[str, Any]) -> Derived:
        """Return `image` as derived from `source`; `made_by` is its provenance.

        Raises:
            UsageError: it does not lie on slices of `source`.
        """
        origin = Origin.of(image, source)
        content = hashlib.sha256(np.ascontiguousarray(image.voxels).tobytes()).hexdigest()
        return cls(
            image,
            origin,
            PlaneGeometry.of(image),
            heart_times(image, origin),
            Derivation(made_by, content),
            numbered_by_volume(origin.stack),
        )

    @property
    def resampled(self) -> bool:
        """Whether matrix or slices differ from the source."""
        return self.origin.finer or self.image.matrix != self.origin.nearest(0, 0).file.matrix

    @property
    def burnt_in(self) -> bool:
        """Whether an image of the source has text burnt into its pixels, which the restored image shows too."""
        files = {plane.file.path: plane.file for planes in self.origin.stack.planes for plane in planes}
        return any(
            one_text(file.header.get("BurnedInAnnotation")).strip() == "YES" for file in files.values()
        )

    def rescale(self) -> Rescale:
        """Return the scaling of the whole series."""
        return Rescale.of(self.image.voxels)

    def instance(self, frame: int, slice_: int) -> int:
        """Return the instance number of a plane in the order of the source, by which some programs stack images."""
        if self.by_volume:
            return 1 + frame * self.image.slices + slice_
        return 1 + slice_ * self.image.frames + frame

    @property
    def places(self) -> list[tuple[int, int]]:
        """The (frame, slice) of every plane, in the order of their instance numbers."""
        places = np.ndindex(self.image.frames, self.image.slices)
        return sorted(((f, s) for f, s in places), key=lambda place: self.instance(*place))

    def series_names(self, kind: str) -> dict[str, Any]:
        """Return identifier, number and description of the series `kind` by keyword.

        kind: "mean" or "enhanced", or "std", "lower", "upper" or "sharp".
        """
        file = self.origin.nearest(0, 0).file
        matrix = "x".join(map(str, self.image.matrix))
        which = _WHICH.get(kind, 1)
        suffix = f"kfine {kind}" if kind in _WHICH else f"kfine {matrix}"
        return {
            "SeriesInstanceUID": self.derivation.uid(kind, "series"),
            "SeriesNumber": series_number(file.series_number, which=which),
            "SeriesDescription": suffixed(clean_text(one_text(file.header.get("SeriesDescription"))), suffix),
        }

    def derivation_of(self, frame: int, slice_: int) -> dict[str, Any]:
        """Return description, codes and sources of a plane by keyword, for a classic image or a frame of another."""
        return {
            "DerivationDescription": self.derivation.description,
            "DerivationCodeSequence": self.derivation.codes(resampled=self.resampled),
            "SourceImageSequence": references(self.origin.sources(frame, slice_)),
        }

    def write_equipment(self, dataset: Any) -> None:
        """Write into `dataset` this software, after the equipment of the source, and whether text is burnt in."""
        former = list(dataset.get("ContributingEquipmentSequence") or [])
        dataset.ContributingEquipmentSequence = [*former, self.derivation.equipment()]
        dataset.BurnedInAnnotation = "YES" if self.burnt_in else "NO"

    def all_references(self) -> list[Any]:
        """Return every source image once, in the order of slices."""
        places = ((f, s) for s in range(self.image.slices) for f in range(self.image.frames))
        return references((plane for place in places for plane in self.origin.sources(*place)), plain=True)

    def pixel_measures(self, inherited: Any) -> dict[str, Any]:
        """Return PixelSpacing, SliceThickness and, with several slices, SpacingBetweenSlices."""
        measures = {
            "PixelSpacing": decimal_strings(self.geometry.spacing),
            "SliceThickness": decimal_strings((self.geometry.between,))[0]
            if self.origin.finer
            else inherited.get("SliceThickness"),
        }
        if (
            len(self.origin.stack.planes[0]) > 1
            or self.origin.nearest(0, 0).spacing_between_slices is not None
        ):
            measures["SpacingBetweenSlices"] = decimal_strings((self.geometry.between,))[0]
        return measures


def join_study(dataset: Any, inherited: Any, *, scanner: bool = True) -> None:
    """Copy patient and study of `inherited` into `dataset`, and if `scanner` its series and equipment."""
    series = SERIES_AND_EQUIPMENT if scanner else ("FrameOfReferenceUID", "BodyPartExamined", "Laterality")
    for keyword in (*PATIENT_AND_STUDY, *series):
        if keyword in inherited:
            dataset.add(inherited[keyword])
    empty = [
        *EMPTY_IF_UNKNOWN,
        "PositionReferenceIndicator",
        *(("PatientPosition", "Manufacturer") if scanner else ()),
    ]
    if "BodyPartExamined" not in inherited:
        empty.append("Laterality")  # must be absent for a part of the body that is not paired
    for keyword in empty:
        if keyword not in dataset:
            setattr(dataset, keyword, None)


def content_time(inherited: Any) -> tuple[str, str]:
    """Return a valid date and time of the content: those of the source, for reproducible bytes."""
    from pydicom.valuerep import DA, TM

    for which in ("Content", "Acquisition", "Series", "Study"):
        try:
            date, time = (DA(inherited.get(f"{which}Date")), TM(inherited.get(f"{which}Time") or _NO_TIME))
        except (ValueError, TypeError):
            continue
        if date is not None:
            return str(date), str(time)
    return _NO_DATE, _NO_TIME


SHOWN = 99.8  # percent of the voxels that the window does not clip


@dataclass(frozen=True)
class Rescale:
    """Scaling to 16-bit pixels for a whole series: voxel = slope * pixel, within half a slope.

    The intercept is 0, so that the many viewers that ignore the scaling of MR images still show correct ratios and
    black air.

    Attributes:
        slope: value of the decimal string in the file.
        signed: whether pixels are signed (the image has negative voxels).
        window: (centre, width) of the display window in units of voxels.
    """

    slope: float
    signed: bool
    window: tuple[float, float]

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Rescale:
        """Return the scaling that uses the whole range of 16 bits for real `voxels` of any shape.

        Raises:
            InputError: voxels are not finite.
        """
        low, high = float(voxels.min()), float(voxels.max())
        if not np.isfinite([low, high]).all():
            raise InputError("DICOM output: expected finite voxels, got NaN or Inf; write a .nii.gz file")
        signed = low < 0
        slope = _at_least(max(high / 32767, -low / 32768) if signed else high / 65535)
        shown = float(np.percentile(voxels, SHOWN))
        bottom = min(low, 0.0)
        width = max(shown - bottom, slope)
        return cls(slope, signed, (bottom + width / 2, width))

    def pixels(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return the 16-bit little-endian pixels of `plane` (row, column)."""
        kind = "<i2" if self.signed else "<u2"
        limits = np.iinfo(kind)
        stored = np.rint(np.asarray(plane, np.float64) / self.slope)
        return stored.clip(limits.min, limits.max).astype(kind)

    def describe(self, dataset: Any, *, rescale: Any, window: Any) -> None:
        """Write the pixel format, the scaling and the window into the data sets `dataset`, `rescale` and `window`."""
        from pydicom.valuerep import DSfloat

        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = int(self.signed)
        rescale.RescaleIntercept, rescale.RescaleType = 0, "US"
        rescale.RescaleSlope = DSfloat(self.slope, auto_format=True)
        centre, width = (DSfloat(float(f"{value:.6g}"), auto_format=True) for value in self.window)
        window.WindowCenter, window.WindowWidth = centre, width


def _at_least(slope: float) -> float:
    """Return the smallest number not below `slope` that a decimal string of 16 characters represents."""
    if slope < 1e-35:
        return 1.0  # all voxels are 0
    rounded = float(f"{slope:.9e}")
    return rounded if rounded >= slope else float(f"{slope * (1 + 2e-9):.9e}")
