"""A derived image with the content of its DICOM files: geometry, times and attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.geometry import LPS_TO_RAS
from kfine.image import Image
from kfine.io.dicom.derived.attributes import EMPTY_IF_UNKNOWN, PATIENT_AND_STUDY, SERIES_AND_EQUIPMENT
from kfine.io.dicom.derived.derivation import Derivation, references, series_number, suffixed
from kfine.io.dicom.derived.rescale import Rescale
from kfine.io.dicom.derived.source import Origin
from kfine.io.dicom.header import one_text, optional_number
from kfine.io.dicom.reader import DicomSeries
from kfine.io.dicom.stack import Stack
from kfine.text import clean_text


@dataclass(frozen=True)
class PlaneGeometry:
    """Where the planes of an image lie, in DICOM's LPS+ millimetres.

    Attributes:
        orientation: unit vectors along a row (column index grows), then along a column (row index grows).
        spacing: between rows, between columns.
        positions: (slice, 3), the centre of each slice's first voxel.
        between: of the slices' centres, along their normal.
    """

    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    positions: NDArray[np.float64]
    between: float

    @classmethod
    def of(cls, image: Image) -> PlaneGeometry:
        """Return the geometry of `image`: exactly that of its affine."""
        axes, sizes = image.affine[:3, :3] * LPS_TO_RAS[:, None], image.voxel_sizes
        along_row, along_column = axes[:, 2] / sizes[2], axes[:, 1] / sizes[1]
        positions = image.affine[:3, 3] * LPS_TO_RAS + np.arange(image.slices)[:, None] * axes[:, 0]
        between = abs(float(np.cross(along_row, along_column) @ axes[:, 0]))
        return cls(np.concatenate([along_row, along_column]), (sizes[1], sizes[2]), positions, between)


def decimal_strings(values: NDArray[np.float64] | tuple[float, ...]) -> list[str]:
    """Return DICOM decimal strings, of at most 16 characters each, as near to `values` as these can be.

    >>> decimal_strings((1 / 3, -12.0))
    ['0.33333333333333', '-12.0']
    """
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value) + 0.0) for value in values]


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
    """Return the milliseconds of each measured (frame, slice): the files' own where the reader believed them.

    times: seconds of the measured frames, as the reader has them.
    """
    common = 1000 * np.array(times)[:, None] * np.ones(len(origin.stack.planes[0]))
    triggers = [[plane.trigger_time for plane in row] for row in origin.stack.planes]
    if any(time is None for row in triggers for time in row):
        return common
    own = np.array(triggers, dtype=np.float64)
    return own if np.allclose(np.median(own, axis=1), common[:, 0], rtol=0, atol=1e-6) else common


def numbered_by_volume(stack: Stack) -> bool:
    """Return whether the instance numbers of a series go on within a volume more often than within a slice."""
    numbered = []
    for f, s in np.ndindex(len(stack.planes), len(stack.planes[0])):
        plane = stack.planes[f][s]
        number = optional_number(plane.file.header.get("InstanceNumber"))
        numbered.append((0.0 if number is None else number, plane.index, s, f))
    numbered.sort()
    within_volume = sum(a[3] == b[3] for a, b in pairwise(numbered))
    return within_volume > sum(a[2] == b[2] for a, b in pairwise(numbered))


_WHICH = {"std": 2, "lower": 3, "upper": 4}  # number of a derived series; that of images is 1
_NO_DATE, _NO_TIME = "19000101", "000000"  # where the standard wants one and the source has none


@dataclass(frozen=True)
class Derived:
    """An image and where it comes from.

    Attributes:
        image: real.
        origin: the series that it comes from.
        geometry: of its planes.
        heart: when they were.
        derivation: what made it.
        by_volume: whether instance numbers go volume by volume, as the source's, and not slice by slice.
    """

    image: Image
    origin: Origin
    geometry: PlaneGeometry
    heart: HeartTimes
    derivation: Derivation
    by_volume: bool = False

    @classmethod
    def of(cls, image: Image, source: DicomSeries, *, made_by: Mapping[str, Any]) -> Derived:
        """Return `image` as made from `source`; `made_by` is its provenance.

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
        """Whether the matrix or the slices are others than the source's."""
        return self.origin.finer or self.image.matrix != self.origin.nearest(0, 0).file.matrix

    @property
    def burnt_in(self) -> bool:
        """Whether an image of the source says that text is burnt into its pixels: the restored ones show it too."""
        files = {plane.file.path: plane.file for planes in self.origin.stack.planes for plane in planes}
        return any(
            one_text(file.header.get("BurnedInAnnotation")).strip() == "YES" for file in files.values()
        )

    def rescale(self) -> Rescale:
        """Return the scaling of the whole series."""
        return Rescale.of(self.image.voxels)

    def instance(self, frame: int, slice_: int) -> int:
        """Return the instance number of a plane, in the order of the source: some programs stack images by it."""
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

        kind: "mean" or "enhanced", or "std", "lower" or "upper".
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
        """Return what was done and from which images by keyword: of a classic image, or of a frame of another."""
        return {
            "DerivationDescription": self.derivation.description,
            "DerivationCodeSequence": self.derivation.codes(resampled=self.resampled),
            "SourceImageSequence": references(self.origin.sources(frame, slice_)),
        }

    def say_equipment(self, dataset: Any) -> None:
        """Write into `dataset` this software, behind what made the source, and whether text is burnt in."""
        former = list(dataset.get("ContributingEquipmentSequence") or [])
        dataset.ContributingEquipmentSequence = [*former, self.derivation.equipment()]
        dataset.BurnedInAnnotation = "YES" if self.burnt_in else "NO"

    def all_references(self) -> list[Any]:
        """Return every source image once, in the order of the slices, for sequences that list them."""
        places = ((f, s) for s in range(self.image.slices) for f in range(self.image.frames))
        return references((plane for place in places for plane in self.origin.sources(*place)), plain=True)

    def pixel_measures(self, kept: Any) -> dict[str, Any]:
        """Return PixelSpacing, SliceThickness and, where slices have one, SpacingBetweenSlices."""
        measures = {
            "PixelSpacing": decimal_strings(self.geometry.spacing),
            "SliceThickness": decimal_strings((self.geometry.between,))[0]
            if self.origin.finer
            else kept.get("SliceThickness"),
        }
        if (
            len(self.origin.stack.planes[0]) > 1
            or self.origin.nearest(0, 0).spacing_between_slices is not None
        ):
            measures["SpacingBetweenSlices"] = decimal_strings((self.geometry.between,))[0]
        return measures


def joins_study(dataset: Any, kept: Any, *, scanner: bool = True) -> None:
    """Write into `dataset` the patient and study of `kept`, as they are, and if `scanner` its series and equipment."""
    series = SERIES_AND_EQUIPMENT if scanner else ("FrameOfReferenceUID", "BodyPartExamined", "Laterality")
    for keyword in (*PATIENT_AND_STUDY, *series):
        if keyword in kept:
            dataset.add(kept[keyword])
    empty = [
        *EMPTY_IF_UNKNOWN,
        "PositionReferenceIndicator",
        *(("PatientPosition", "Manufacturer") if scanner else ()),
    ]
    if "BodyPartExamined" not in kept:
        empty.append("Laterality")  # of a part of the body that is not paired it must not be there
    for keyword in empty:
        if keyword not in dataset:
            setattr(dataset, keyword, None)


def content_time(kept: Any) -> tuple[str, str]:
    """Return a valid date and time for the content: the source's, so that the same work gives the same bytes."""
    from pydicom.valuerep import DA, TM

    for which in ("Content", "Acquisition", "Series", "Study"):
        try:
            date, time = (DA(kept.get(f"{which}Date")), TM(kept.get(f"{which}Time") or _NO_TIME))
        except (ValueError, TypeError):
            continue
        if date is not None:
            return str(date), str(time)
    return _NO_DATE, _NO_TIME
