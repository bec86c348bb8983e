"""Classic MR images, one per plane, and Enhanced MR images, one per series."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfine.io.dicom.derived.attributes import IMAGE_AND_ACQUISITION
from kfine.io.dicom.derived.derivation import item_of, put
from kfine.io.dicom.derived.series import Derived, Rescale, content_time, decimal_strings, join_study
from kfine.io.dicom.header import ENHANCED_MR, MR, image_type
from kfine.text import clean_text

_EMPTY = (
    "ScanOptions",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "SliceThickness",
)
_ENHANCED_ONLY = {"AcquisitionDateTime", "ApplicableSafetyStandardAgency", "ComplexImageComponent"}
_DEFAULTS = {
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
}  # research mode, for attributes that enhanced images leave open


def classic_images(derived: Derived) -> Iterator[Any]:
    """Yield a data set for every plane, in the order of their instance numbers."""
    rescale = derived.rescale()
    for place in derived.places:
        yield _classic(derived, rescale, place)


def _classic(derived: Derived, rescale: Rescale, place: tuple[int, int]) -> Any:
    from pydicom.dataset import Dataset

    frame, slice_ = place
    inherited, dataset = derived.origin.header(frame, slice_), Dataset()
    join_study(dataset, inherited)
    for keyword in IMAGE_AND_ACQUISITION:
        if keyword in inherited and keyword not in _ENHANCED_ONLY:
            dataset.add(inherited[keyword])
    for keyword in _EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    for keyword, value in _DEFAULTS.items():
        if keyword not in dataset:
            setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.Modality = MR, "MR"
    dataset.SOPInstanceUID = derived.derivation.uid("mean", frame, slice_)
    dataset.InstanceNumber = derived.instance(frame, slice_)
    dataset.ImageType = ["DERIVED", "SECONDARY", *_image_type(inherited, derived, place)]
    put(dataset, **derived.series_names(derived.what or "mean"), **derived.derivation_of(frame, slice_))
    derived.write_equipment(dataset)
    _geometry(dataset, inherited, derived, slice_)
    _timing(dataset, derived, place)
    rescale.describe(dataset, rescale=dataset, window=dataset)
    dataset.Rows, dataset.Columns = derived.image.matrix
    dataset.PixelData = rescale.pixels(derived.image.voxels[frame, slice_]).tobytes()
    return dataset


def _image_type(inherited: Any, derived: Derived, place: tuple[int, int]) -> list[str]:
    """Return the values after the second; those of an enhanced image have another meaning."""
    classic = str(derived.origin.nearest(*place).file.header.SOPClassUID) == MR
    return (list(map(clean_text, image_type(inherited)[2:])) if classic else []) or ["OTHER"]


def _geometry(dataset: Any, inherited: Any, derived: Derived, slice_: int) -> None:
    geometry = derived.geometry
    dataset.ImagePositionPatient = decimal_strings(geometry.positions[slice_])
    dataset.ImageOrientationPatient = decimal_strings(geometry.orientation)
    put(dataset, **derived.pixel_measures(inherited))


def _timing(dataset: Any, derived: Derived, place: tuple[int, int]) -> None:
    """Replace times and counts of the source by those of the derived frames."""
    heart, frames = derived.heart, derived.image.frames
    if heart.trigger is not None:
        dataset.TriggerTime = decimal_strings((heart.trigger[place],))[0]
    elif "TriggerTime" in dataset:
        del dataset.TriggerTime
    if frames == 1:
        return
    dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = place[0] + 1, frames
    if "CardiacNumberOfImages" in dataset and dataset.CardiacNumberOfImages == len(
        derived.origin.stack.planes
    ):
        dataset.CardiacNumberOfImages = frames


_UNKNOWN = "UNKNOWN"
# PS3.3 C.8.13.3.1.1: value 2 is PRIMARY in every enhanced image; values 1 and 4 describe the derivation
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
_WHOLE = ("38266002", "Entire body")  # for an unknown part of the body


def enhanced_image(derived: Derived) -> Any:
    """Return one data set with every plane, ordered by time, then by slice."""
    from pydicom.dataset import Dataset

    inherited, dataset, rescale = derived.origin.header(0, 0), Dataset(), derived.rescale()
    join_study(dataset, inherited)
    for keyword in _EQUIPMENT:
        if not dataset.get(keyword):
            setattr(dataset, keyword, _UNKNOWN)
    if "Laterality" in dataset:
        del dataset.Laterality  # it is in the anatomy of the frames
    dataset.SOPClassUID, dataset.Modality = ENHANCED_MR, "MR"
    dataset.SOPInstanceUID = derived.derivation.uid("enhanced", "image")
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = content_time(inherited)
    dataset.ImageType = _IMAGE_TYPE
    _kind(dataset)
    dataset.ContentQualification = "RESEARCH"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression = "01" if inherited.get("LossyImageCompression") == "01" else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in inherited and dataset.LossyImageCompression == "01":
            dataset.add(inherited[keyword])
    dataset.AcquisitionContextSequence = []
    dataset.ApplicableSafetyStandardAgency = inherited.get("ApplicableSafetyStandardAgency") or _UNKNOWN
    strength = _number(inherited, "MagneticFieldStrength")
    if strength is not None:
        dataset.MagneticFieldStrength = strength
    put(dataset, **derived.series_names(derived.what or "enhanced"))
    derived.write_equipment(dataset)
    dataset.SourceImageEvidenceSequence = [_evidence(derived, inherited)]
    _dimensions(dataset, derived)
    dataset.SharedFunctionalGroupsSequence = [_shared(derived, inherited, rescale, dataset)]
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


def _evidence(derived: Derived, inherited: Any) -> Any:
    """Return the images that the frames refer to, with their study and series."""
    plane = derived.origin.nearest(0, 0)
    series = item_of(SeriesInstanceUID=plane.file.series_uid, ReferencedSOPSequence=derived.all_references())
    return item_of(StudyInstanceUID=inherited.StudyInstanceUID, ReferencedSeriesSequence=[series])


def _dimensions(dataset: Any, derived: Derived) -> None:
    """Write the dimensions that distinguish frames: stack, index in the stack and, for a cine, time."""
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


def _shared(derived: Derived, inherited: Any, rescale: Rescale, dataset: Any) -> Any:
    """Return the functional groups common to all frames."""
    scaling, window, kind = item_of(), item_of(), item_of(FrameType=_IMAGE_TYPE)
    rescale.describe(dataset, rescale=scaling, window=window)
    _kind(kind)
    measures = {key: value for key, value in derived.pixel_measures(inherited).items() if value is not None}
    shared = item_of(
        PixelMeasuresSequence=[item_of(**measures)],
        PlaneOrientationSequence=[
            item_of(ImageOrientationPatient=decimal_strings(derived.geometry.orientation))
        ],
        FrameAnatomySequence=[_anatomy(inherited)],
        PixelValueTransformationSequence=[scaling],
        FrameVOILUTSequence=[window],
        MRImageFrameTypeSequence=[kind],
    )
    if _number(inherited, "EchoTime") is not None:
        shared.MREchoSequence = [item_of(EffectiveEchoTime=_number(inherited, "EchoTime"))]
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


def _anatomy(inherited: Any) -> Any:
    from highdicom.sr import CodedConcept

    region = list(inherited.get("AnatomicRegionSequence") or [])[:1]
    if not region:
        code, meaning = _REGIONS.get(str(inherited.get("BodyPartExamined") or "").upper(), _WHOLE)
        region = [CodedConcept(value=code, scheme_designator="SCT", meaning=meaning)]
    side = str(inherited.get("Laterality") or "U")
    return item_of(FrameLaterality=side, AnatomicRegionSequence=region)


def _number(inherited: Any, keyword: str) -> float | None:
    value = inherited.get(keyword)
    return None if value in (None, "") else float(value)
