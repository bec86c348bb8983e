"""Position and time of each frame of a classic or enhanced DICOM file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from kfine.errors import InputError
from kfine.io.dicom.aspect import Aspect, Contrast, contrast, echo_of
from kfine.io.dicom.header import DicomFile, group_value, optional_number, pydicom_errors

_PARALLEL = 1e-3


@dataclass(frozen=True)
class Plane:
    """One slice at one time.

    Attributes:
        file: file with its pixels.
        index: index of the frame in that file, from 0.
        uid: SOP instance UID of the file.
        position: LPS+ mm of the centre of the first pixel.
        orientation: unit vectors along a row (column index grows) and along a column (row index grows).
        spacing: mm between rows and between columns.
        spacing_between_slices, thickness: mm, None if unknown.
        trigger_time: ms after the R wave, None if unknown.
        nominal_interval: nominal heart beat in ms, None if unknown or not gated.
        cardiac_number_of_images: per heart beat; heart_rate: beats a minute; None if unknown.
        temporal_position, acquisition, instance: counters of the file, None if unknown.
        slope, intercept: voxel = slope * pixel + intercept.
        echo: echo time in ms, None if unknown.  echo_number: EchoNumbers as text, "" if unknown.
        contrast: component, kind, diffusion weighting and dimension indices.
    """

    file: DicomFile
    index: int
    uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    spacing_between_slices: float | None
    thickness: float | None
    trigger_time: float | None
    nominal_interval: float | None
    cardiac_number_of_images: float | None
    heart_rate: float | None
    temporal_position: float | None
    acquisition: float | None
    instance: float | None
    slope: float
    intercept: float
    echo: float | None
    echo_number: str
    contrast: Contrast

    @property
    def aspect(self) -> Aspect:
        """Properties that determine the image of the series that it belongs to."""
        return Aspect.of(self.contrast, echo=self.echo, number=self.echo_number, position=self.position)

    @property
    def b_value(self) -> float | None:
        """The b-value in s/mm2, None if unknown."""
        return self.contrast.b_value

    @property
    def dimensions(self) -> tuple[float, ...] | None:
        """DimensionIndexValues without those of the slice, None if the file has none."""
        return self.contrast.dimensions


def planes(file: DicomFile) -> list[Plane]:
    """Return the frames of `file` in its order: one for a classic image, several for an enhanced one or a mosaic.

    Raises:
        InputError: a frame without position, orientation or pixel spacing, or with damaged ones.
    """
    with pydicom_errors(file.name, "its geometry"):
        groups = len(file.header.get("PerFrameFunctionalGroupsSequence") or [])
        if file.frames > 1 and groups != file.frames:
            raise InputError(
                f"{file.name}: expected a functional group for each of {file.frames} frames, got {groups}; "
                "export the original MR series"
            )
        if file.tiles is not None:
            whole = _plane(file, 0)
            return [
                replace(whole, index=index, position=file.tiles.position(index))
                for index in range(file.tiles.count)
            ]
        return [_plane(file, index) for index in range(file.frames)]


def _plane(file: DicomFile, index: int) -> Plane:
    header = file.header

    def get(sequence: str, keyword: str) -> Any:
        return group_value(header, index, (sequence, keyword))

    def numbers(sequence: str, keyword: str, count: int) -> tuple[float, ...]:
        return _numbers(get(sequence, keyword), count, keyword, file.name)

    def number(sequence: str, keyword: str) -> float | None:
        return optional_number(get(sequence, keyword))

    orientation = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    _check_orientation(orientation, file.name)
    spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise InputError(
            f"{file.name}: expected a positive PixelSpacing, got {spacing}; export the series again"
        )
    slope = number("PixelValueTransformationSequence", "RescaleSlope")
    echo, echo_number = echo_of(header, index)
    trigger = optional_number(header.get("TriggerTime"))
    if trigger is None:
        trigger = number("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")
    beat = optional_number(header.get("NominalInterval"))
    if beat is None:
        beat = number("CardiacSynchronizationSequence", "RRIntervalTimeNominal")
    gated = str(header.get("CardiacSynchronizationTechnique") or "") not in ("NONE", "REALTIME")
    acquisition = number("FrameContentSequence", "FrameAcquisitionNumber")
    temporal = number("FrameContentSequence", "TemporalPositionIndex")
    return Plane(
        file=file,
        index=index,
        uid=str(header.get("SOPInstanceUID") or file.path),
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=orientation,
        spacing=spacing,
        spacing_between_slices=number("PixelMeasuresSequence", "SpacingBetweenSlices"),
        thickness=number("PixelMeasuresSequence", "SliceThickness"),
        trigger_time=trigger,
        nominal_interval=beat if gated else None,
        cardiac_number_of_images=optional_number(header.get("CardiacNumberOfImages")) if gated else None,
        heart_rate=optional_number(header.get("HeartRate")),
        temporal_position=optional_number(header.get("TemporalPositionIdentifier"))
        if temporal is None
        else temporal,
        acquisition=optional_number(header.get("AcquisitionNumber")) if acquisition is None else acquisition,
        instance=index if file.frames > 1 else optional_number(header.get("InstanceNumber")),
        slope=1.0 if slope is None else slope,
        intercept=number("PixelValueTransformationSequence", "RescaleIntercept") or 0.0,
        echo=echo,
        echo_number=echo_number,
        contrast=contrast(header, index),
    )


def frame_orientations(file: DicomFile) -> frozenset[tuple[float, ...]]:
    """Return the known orientations of the frames of `file`: unit vectors along a row and along a column."""
    with pydicom_errors(file.name, "its geometry"):
        found = {_orientation(file.header, index) for index in range(file.frames)}
    return frozenset(orientation for orientation in found if len(orientation) == 6)


def _orientation(header: Any, index: int) -> tuple[float, ...]:
    value = group_value(header, index, ("PlaneOrientationSequence", "ImageOrientationPatient"))
    return tuple(number for item in value or () if (number := optional_number(item)) is not None)


def several_planes(orientations: Iterable[tuple[float, ...]]) -> bool:
    """Return whether `orientations` differ by more than rounding."""
    first, *others = [*orientations] or [()]
    return any(max(abs(a - b) for a, b in zip(first, other, strict=True)) > _PARALLEL for other in others)


def _numbers(value: Any, count: int, keyword: str, name: str) -> tuple[float, ...]:
    several = hasattr(value, "__iter__") and not isinstance(value, (str, bytes))
    found = [optional_number(item) for item in value] if several else []
    if len(found) != count or None in found:
        got = "none" if value is None else "something else"
        raise InputError(
            f"{name}: expected {count} numbers in {keyword}, got {got}; export the original MR series, "
            "not screenshots or reports"
        )
    return tuple(number for number in found if number is not None)


def _check_orientation(orientation: tuple[float, ...], name: str) -> None:
    row, column = orientation[:3], orientation[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    skew = sum(a * b for a, b in zip(row, column, strict=True))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(skew)) > 1e-3:
        raise InputError(
            f"{name}: expected two orthogonal unit vectors in ImageOrientationPatient, got others; "
            "export the series again"
        )
