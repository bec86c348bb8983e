"""The uncertainty of a derived image: Parametric Maps in the same frame of reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from kfine._version import __version__
from kfine.io.dicom.derived.attributes import EMPTY_IF_UNKNOWN
from kfine.io.dicom.derived.derivation import item_of, put
from kfine.io.dicom.derived.rescale import SHOWN
from kfine.io.dicom.derived.series import Derived, content_time, decimal_strings, joins_study
from kfine.io.dicom.header import MR

_MANUFACTURER = "The kfine developers"
_SCANNER = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "StationName")


# By what a map shows: content label, description, and whether its quantity is a standard deviation.
_CONTENT = {
    "std": ("STD", "Standard deviation of the error"),
    "lower": ("LOWER", "Lower end of the interval"),
    "upper": ("UPPER", "Upper end of the interval"),
}


def parametric_map(derived: Derived, *, what: str = "std") -> Any:
    """Return a data set with `derived.image`, 32-bit floats: the standard deviation of every plane.

    what: "std", or "lower" or "upper" of an interval.

    highdicom makes it; frames in time are channels to it, labelled with their times.  What it draws by chance or from
    the clock is replaced by what follows from the work, so that the same work gives the same bytes.
    """
    from highdicom import pm

    kept, image = derived.origin.header(0, 0), derived.image
    named = derived.series_names(what)
    label, description = _CONTENT[what]
    largest = float(image.voxels.max()) or 1.0
    dataset = pm.ParametricMap(
        source_images=[_source(derived, kept)],
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
        **_placed(derived, kept),
    )
    _settle(dataset, derived, kept, what=what)
    return dataset


def _placed(derived: Derived, kept: Any) -> dict[str, Any]:
    """Return the geometry as highdicom's arguments."""
    import highdicom
    from highdicom.enum import CoordinateSystemNames

    patient, geometry = CoordinateSystemNames.PATIENT, derived.geometry
    thickness = kept.get("SliceThickness")
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


def _source(derived: Derived, kept: Any) -> Any:
    """Return as much of a source image as highdicom asks for; patient and study come later, unchecked."""
    from pydicom.dataset import Dataset

    plane, source = derived.origin.nearest(0, 0), Dataset()
    source.SOPClassUID, source.SOPInstanceUID = MR, plane.uid
    source.StudyInstanceUID, source.SeriesInstanceUID = kept.StudyInstanceUID, plane.file.series_uid
    source.FrameOfReferenceUID = kept.FrameOfReferenceUID
    source.Rows, source.Columns = plane.file.matrix
    source.ImageOrientationPatient, source.ImagePositionPatient = (
        list(plane.orientation),
        list(plane.position),
    )
    source.PixelSpacing = list(plane.spacing)
    source.SliceThickness = kept.get("SliceThickness")
    for keyword in _SCANNER:
        if keyword in kept:
            source.add(kept[keyword])
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


def _settle(dataset: Any, derived: Derived, kept: Any, *, what: str) -> None:
    """Put in the patient, the references and the times of frames; take out chance and clock."""
    joins_study(dataset, kept, scanner=False)
    dataset.ContentDate, dataset.ContentTime = content_time(kept)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        delattr(dataset, keyword)
    for item in dataset.ContributingEquipmentSequence:
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    derived.say_equipment(dataset)
    dataset.SourceImageSequence = derived.all_references()
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = derived.all_references()
    _dimensions(dataset, derived, what)


def _dimensions(dataset: Any, derived: Derived, what: str) -> None:
    """Let each frame say its time and its sources; add time to what tells frames apart."""
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
