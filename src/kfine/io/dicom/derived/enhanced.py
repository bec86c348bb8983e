"""Enhanced MR: all planes in one multi-frame object."""

from __future__ import annotations

from typing import Any

from kfine.io.dicom.derived.derivation import item_of, put
from kfine.io.dicom.derived.rescale import Rescale
from kfine.io.dicom.derived.series import Derived, content_time, decimal_strings, joins_study
from kfine.io.dicom.header import ENHANCED_MR

_UNKNOWN = "UNKNOWN"
# PS3.3 C.8.13.3.1.1: value 2 is PRIMARY in every enhanced image, what DERIVED says is in values 1 and 4
_IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
_EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
_REGIONS = {  # BodyPartExamined -> SNOMED CT (PS3.16, annex L)
    "HEART": ("80891009", "Heart"),
    "CHEST": ("816094009", "Chest"),
    "HEAD": ("69536005", "Head"),
    "BRAIN": ("12738006", "Brain"),
    "ABDOMEN": ("818981001", "Abdomen"),
    "PELVIS": ("816092008", "Pelvis"),
    "KNEE": ("72696002", "Knee"),
    "BREAST": ("76752008", "Breast"),
    "PROSTATE": ("41216001", "Prostate"),
    "LIVER": ("10200004", "Liver"),
    "SPINE": ("421060004", "Spine"),
}
_WHOLE = ("38266002", "Entire body")  # where nothing is said: true of any part


def enhanced_image(derived: Derived) -> Any:
    """Return one data set with every plane, slices within frames in time."""
    from pydicom.dataset import Dataset

    kept, dataset, rescale = derived.origin.header(0, 0), Dataset(), derived.rescale()
    joins_study(dataset, kept)
    for keyword in _EQUIPMENT:
        if not dataset.get(keyword):
            setattr(dataset, keyword, _UNKNOWN)
    if "Laterality" in dataset:
        del dataset.Laterality  # the frames' anatomy has it
    dataset.SOPClassUID, dataset.Modality = ENHANCED_MR, "MR"
    dataset.SOPInstanceUID = derived.derivation.uid("enhanced", "image")
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = content_time(kept)
    dataset.ImageType = _IMAGE_TYPE
    _kind(dataset)
    dataset.ContentQualification = "RESEARCH"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "01" if kept.get("LossyImageCompression") == "01" else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in kept and dataset.LossyImageCompression == "01":
            dataset.add(kept[keyword])
    dataset.AcquisitionContextSequence = []
    dataset.ApplicableSafetyStandardAgency = kept.get("ApplicableSafetyStandardAgency") or _UNKNOWN
    strength = _number(kept, "MagneticFieldStrength")
    if strength is not None:
        dataset.MagneticFieldStrength = strength
    put(dataset, **derived.series_names("enhanced"))
    derived.say_equipment(dataset)
    dataset.SourceImageEvidenceSequence = [_evidence(derived, kept)]
    _dimensions(dataset, derived)
    dataset.SharedFunctionalGroupsSequence = [_shared(derived, kept, rescale, dataset)]
    places = [(f, s) for f in range(derived.image.frames) for s in range(derived.image.slices)]
    dataset.PerFrameFunctionalGroupsSequence = [_own(derived, place) for place in places]
    dataset.NumberOfFrames = len(places)
    dataset.Rows, dataset.Columns = derived.image.matrix
    dataset.PixelData = b"".join(rescale.pixels(derived.image.voxels[place]).tobytes() for place in places)
    return dataset


def _kind(dataset: Any) -> None:
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ComplexImageComponent, dataset.AcquisitionContrast = "MAGNITUDE", _UNKNOWN


def _evidence(derived: Derived, kept: Any) -> Any:
    """Return which images the frames refer to, and in which study and series these are."""
    plane = derived.origin.nearest(0, 0)
    series = item_of(SeriesInstanceUID=plane.file.series_uid, ReferencedSOPSequence=derived.all_references())
    return item_of(StudyInstanceUID=kept.StudyInstanceUID, ReferencedSeriesSequence=[series])


def _dimensions(dataset: Any, derived: Derived) -> None:
    """Frames are told apart by stack, place in the stack and, in a cine, time."""
    from pydicom.datadict import tag_for_keyword

    uid = derived.derivation.uid("enhanced", "dimensions")
    keywords = ["StackID", "InStackPositionNumber"]
    keywords += ["TemporalPositionIndex"] if derived.image.frames > 1 else []
    dataset.DimensionOrganizationSequence = [item_of(DimensionOrganizationUID=uid)]
    dataset.DimensionIndexSequence = [
        item_of(
            DimensionOrganizationUID=uid,
            DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
            DimensionDescriptionLabel=keyword,
        )
        for keyword in keywords
    ]


def _shared(derived: Derived, kept: Any, rescale: Rescale, dataset: Any) -> Any:
    """Return the functional groups that are the same for all frames."""
    scaling, window, kind = item_of(), item_of(), item_of(FrameType=_IMAGE_TYPE)
    rescale.describe(dataset, rescale=scaling, window=window)
    _kind(kind)
    measures = {key: value for key, value in derived.pixel_measures(kept).items() if value is not None}
    shared = item_of(
        PixelMeasuresSequence=[item_of(**measures)],
        PlaneOrientationSequence=[
            item_of(ImageOrientationPatient=decimal_strings(derived.geometry.orientation))
        ],
        FrameAnatomySequence=[_anatomy(kept)],
        PixelValueTransformationSequence=[scaling],
        FrameVOILUTSequence=[window],
        MRImageFrameTypeSequence=[kind],
    )
    if _number(kept, "EchoTime") is not None:
        shared.MREchoSequence = [item_of(EffectiveEchoTime=_number(kept, "EchoTime"))]
    return shared


def _own(derived: Derived, place: tuple[int, int]) -> Any:
    """Return the functional groups of one frame."""
    frame, slice_ = place
    cine = derived.image.frames > 1
    content = item_of(
        StackID="1",
        InStackPositionNumber=slice_ + 1,
        DimensionIndexValues=[1, slice_ + 1, *([frame + 1] if cine else [])],
    )
    if cine:
        content.TemporalPositionIndex = frame + 1
    own = item_of(
        FrameContentSequence=[content],
        PlanePositionSequence=[
            item_of(ImagePositionPatient=decimal_strings(derived.geometry.positions[slice_]))
        ],
        DerivationImageSequence=[item_of(**derived.derivation_of(frame, slice_))],
    )
    if derived.heart.trigger is not None:
        heart = item_of(NominalCardiacTriggerDelayTime=float(derived.heart.trigger[place]))
        beat = derived.heart.beat[slice_]
        if beat is not None:
            heart.RRIntervalTimeNominal = float(beat)
        own.CardiacSynchronizationSequence = [heart]
    return own


def _anatomy(kept: Any) -> Any:
    from highdicom.sr import CodedConcept

    region = list(kept.get("AnatomicRegionSequence") or [])[:1]
    if not region:
        code, meaning = _REGIONS.get(str(kept.get("BodyPartExamined") or "").upper(), _WHOLE)
        region = [CodedConcept(value=code, scheme_designator="SCT", meaning=meaning)]
    side = str(kept.get("Laterality") or "U")
    return item_of(FrameLaterality=side, AnatomicRegionSequence=region)


def _number(kept: Any, keyword: str) -> float | None:
    value = kept.get(keyword)
    return None if value in (None, "") else float(value)
