"""Classic MR images: one file a plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfine.io.dicom.derived.attributes import IMAGE_AND_ACQUISITION
from kfine.io.dicom.derived.derivation import put
from kfine.io.dicom.derived.rescale import Rescale
from kfine.io.dicom.derived.series import Derived, decimal_strings, joins_study
from kfine.io.dicom.header import MR, image_type
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
_NOT_SAID = {
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
}  # research mode: what enhanced images leave open


def classic_images(derived: Derived) -> Iterator[Any]:
    """Yield a data set for every plane, in the order of their instance numbers."""
    rescale = derived.rescale()
    for place in derived.places:
        yield _classic(derived, rescale, place)


def _classic(derived: Derived, rescale: Rescale, place: tuple[int, int]) -> Any:
    from pydicom.dataset import Dataset

    frame, slice_ = place
    kept, dataset = derived.origin.header(frame, slice_), Dataset()
    joins_study(dataset, kept)
    for keyword in IMAGE_AND_ACQUISITION:
        if keyword in kept and keyword not in _ENHANCED_ONLY:
            dataset.add(kept[keyword])
    for keyword in _EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    for keyword, value in _NOT_SAID.items():
        if keyword not in dataset:
            setattr(dataset, keyword, value)
    dataset.SOPClassUID, dataset.Modality = MR, "MR"
    dataset.SOPInstanceUID = derived.derivation.uid("mean", frame, slice_)
    dataset.InstanceNumber = derived.instance(frame, slice_)
    dataset.ImageType = ["DERIVED", "SECONDARY", *_image_type(kept, derived, place)]
    put(dataset, **derived.series_names("mean"), **derived.derivation_of(frame, slice_))
    derived.say_equipment(dataset)
    _geometry(dataset, kept, derived, slice_)
    _timing(dataset, derived, place)
    rescale.describe(dataset, rescale=dataset, window=dataset)
    dataset.Rows, dataset.Columns = derived.image.matrix
    dataset.PixelData = rescale.pixels(derived.image.voxels[frame, slice_]).tobytes()
    return dataset


def _image_type(kept: Any, derived: Derived, place: tuple[int, int]) -> list[str]:
    """Return the values after the second; those of an enhanced image mean something else."""
    classic = str(derived.origin.nearest(*place).file.header.SOPClassUID) == MR
    return (list(map(clean_text, image_type(kept)[2:])) if classic else []) or ["OTHER"]


def _geometry(dataset: Any, kept: Any, derived: Derived, slice_: int) -> None:
    geometry = derived.geometry
    dataset.ImagePositionPatient = decimal_strings(geometry.positions[slice_])
    dataset.ImageOrientationPatient = decimal_strings(geometry.orientation)
    put(dataset, **derived.pixel_measures(kept))


def _timing(dataset: Any, derived: Derived, place: tuple[int, int]) -> None:
    """Replace what the source says of its frames by what is true of these."""
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
