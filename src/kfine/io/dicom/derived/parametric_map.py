"""Uncertainty of a derived image: Parametric Maps in the same frame of reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfine._version import __version__
from kfine.io.dicom.derived.attributes import EMPTY_IF_UNKNOWN
from kfine.io.dicom.derived.derivation import item_of, put
from kfine.io.dicom.derived.series import SHOWN, Derived, content_time, decimal_strings, join_study
from kfine.io.dicom.header import MR

_MANUFACTURER = "The kfine developers"
_SCANNER = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "StationName")


# Content label and description of each kind of map.
_CONTENT = {
    "std": ("STD", "Standard deviation of the error"),
    "lower": ("LOWER", "Lower end of the interval"),
    "upper": ("UPPER", "Upper end of the interval"),
}


def parametric_map(derived: Derived, *, what: str = "std") -> Any:
    """Return a data set with `derived.image` as 32-bit floats.

    what: kind of map: "std" (standard deviation), or "lower" or "upper" (end of an interval).

    highdicom creates it, with the frames as channels labelled by their times.  Its random identifiers and current times
    are replaced by deterministic ones, for reproducible bytes.
    """
    from highdicom import pm

    inherited, image = derived.origin.header(0, 0), derived.image
    named = derived.series_names(what)
    label, description = _CONTENT[what]
    largest = float(image.voxels.max()) or 1.0
    dataset = pm.ParametricMap(
        source_images=[_source(derived, inherited)],
        pixel_array=np.ascontiguousarray(image.voxels.transpose(1, 2, 3, 0)),
        series_instance_uid=named["SeriesInstanceUID"],
        series_number=named["SeriesNumber"],
        sop_instance_uid=derived.derivation.uid(what, "image"),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name="kfine",
        software_versions=__version__,
        device_serial_number="none",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(label, what, largest)] for label in _labels(derived, what)],
        voi_lut_transformations=[_window(image.voxels)],
        derived_pixel_contrast=pm.DerivedPixelContrastValues.STD_DEVIATION
        if what == "std"
        else pm.DerivedPixelContrastValues.NONE,
        content_label=label,
        content_description=description,
        series_description=named["SeriesDescription"],
        **_placed(derived, inherited),
    )
    _settle(dataset, derived, inherited, what=what)
    return dataset


def _placed(derived: Derived, inherited: Any) -> dict[str, Any]:
    """Return the geometry as highdicom's arguments."""
    import highdicom
    from highdicom.enum import CoordinateSystemNames

    patient, geometry = CoordinateSystemNames.PATIENT, derived.geometry
    thickness = inherited.get("SliceThickness")
    return {
        "pixel_measures": highdicom.PixelMeasuresSequence(
            pixel_spacing=geometry.spacing,
            slice_thickness=geometry.between if thickness is None else float(thickness),
            spacing_between_slices=geometry.between,
        ),
        "plane_orientation": highdicom.PlaneOrientationSequence(
            patient, [float(v) for v in decimal_strings(geometry.orientation)]
        ),
        "plane_positions": [
            highdicom.PlanePositionSequence(patient, [float(v) for v in decimal_strings(position)])
            for position in geometry.positions
        ],
    }


def _source(derived: Derived, inherited: Any) -> Any:
    """Return the attributes of a source image that highdicom requires; patient and study are copied later."""
    from pydicom.dataset import Dataset

    plane, source = derived.origin.nearest(0, 0), Dataset()
    source.SOPClassUID, source.SOPInstanceUID = MR, plane.uid
    source.StudyInstanceUID, source.SeriesInstanceUID = inherited.StudyInstanceUID, plane.file.series_uid
    source.FrameOfReferenceUID = inherited.FrameOfReferenceUID
    source.Rows, source.Columns = plane.file.matrix
    source.ImageOrientationPatient, source.ImagePositionPatient = (
        list(plane.orientation),
        list(plane.position),
    )
    source.PixelSpacing = list(plane.spacing)
    source.SliceThickness = inherited.get("SliceThickness")
    for keyword in _SCANNER:
        if keyword in inherited:
            source.add(inherited[keyword])
    put(source, **dict.fromkeys(EMPTY_IF_UNKNOWN))
    return source


def _labels(derived: Derived, what: str) -> list[str]:
    times = derived.image.frame_times
    if derived.image.frames == 1:
        return [what]
    if times is None:
        return [f"{what} frame {frame + 1}" for frame in range(derived.image.frames)]
    return [f"{what} {1000 * time:.1f} ms"[:16] for time in times]


def _mapping(label: str, what: str, largest: float) -> Any:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes

    return RealWorldValueMapping(
        lut_label=label,
        lut_explanation=f"{_CONTENT[what][1]}, in the image's own units",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, largest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.StandardDeviation if what == "std" else None,
    )


def _window(voxels: Any) -> Any:
    from highdicom import VOILUTTransformation

    width = max(float(f"{np.percentile(voxels, SHOWN):.6g}"), 1e-6)
    return VOILUTTransformation(window_center=width / 2, window_width=width)


def _settle(dataset: Any, derived: Derived, inherited: Any, *, what: str) -> None:
    """Add patient, references and frame times; remove random identifiers and current times."""
    join_study(dataset, inherited, scanner=False)
    dataset.ContentDate, dataset.ContentTime = content_time(inherited)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        delattr(dataset, keyword)
    for item in dataset.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    derived.write_equipment(dataset)
    dataset.SourceImageSequence = derived.all_references()
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = derived.all_references()
    _dimensions(dataset, derived, what)


def _dimensions(dataset: Any, derived: Derived, what: str) -> None:
    """Add time and sources to each frame, and time to the dimensions that distinguish frames."""
    from pydicom.datadict import tag_for_keyword

    uid, image = derived.derivation.uid(what, "dimensions"), derived.image
    if image.frames > 1:
        time = item_of(
            DimensionIndexPointer=tag_for_keyword("TemporalPositionIndex"),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
            DimensionDescriptionLabel="TemporalPositionIndex",
        )
        dataset.DimensionIndexSequence.append(time)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    positions = derived.geometry.positions
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame, content = number // image.slices, group.FrameContentSequence[0]
        here = np.array(group.PlanePositionSequence[0].ImagePositionPatient, np.float64)
        slice_ = int(np.linalg.norm(positions - here, axis=1).argmin())
        if image.frames > 1:
            content.TemporalPositionIndex = frame + 1
            values = content.DimensionIndexValues
            content.DimensionIndexValues = [*(values if hasattr(values, "__iter__") else [values]), frame + 1]
        group.DerivationImageSequence = [item_of(**derived.derivation_of(frame, slice_))]
