"""Small DICOM files made for a test; every value can be replaced by keyword."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SERIES = "1.2.826.0.1.3680043.8.498.1"

# A tilted plane: row and column directions are orthonormal, none along an axis of the patient.
ROW = np.array([2.0, 2.0, 1.0]) / 3
COLUMN = np.array([-2.0, 1.0, 2.0]) / 3
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([12.5, -30.0, 41.25])
SPACING = (1.5, 0.75)  # between rows, between columns
STEP = 5.0


def position(slice_: int, step: float = STEP) -> list[float]:
    return [round(float(x), 6) for x in ORIGIN + slice_ * step * NORMAL]


def pixels(seed: int = 0, shape: tuple[int, ...] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.uint16)


def classic(stored: np.ndarray | None = None, **tags: object) -> FileDataset:
    """Return a classic MR image of `stored` (row, column); `tags` replace, None removes."""
    stored = pixels() if stored is None else stored
    dataset = _dataset(MR, stored)
    dataset.SeriesNumber = 3
    dataset.SeriesDescription = "t2 tse"
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient = position(0)
    dataset.ImageOrientationPatient = [round(float(x), 9) for x in (*ROW, *COLUMN)]
    dataset.PixelSpacing = list(SPACING)
    dataset.SliceThickness = 4.0
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def enhanced(
    stored: np.ndarray,
    positions: list[list[float]],
    *,
    trigger: list[float] | None = None,
    beat: float | None = None,
) -> FileDataset:
    """Return an enhanced MR image of (frame, row, column), frame n with slope n + 1 and intercept n.

    `trigger`, of each frame, and `beat`, the nominal R-R interval, are in ms.
    """
    dataset = _dataset(ENHANCED_MR, stored)
    dataset.NumberOfFrames = len(stored)
    dataset.SeriesNumber = 7
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [round(float(x), 9) for x in (*ROW, *COLUMN)]
    measures.PixelSpacing = list(SPACING)
    measures.SliceThickness = 4.0
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    own = []
    for n, where in enumerate(positions):
        plane, scaling, group = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = where
        scaling.RescaleSlope, scaling.RescaleIntercept = n + 1, n
        group.PlanePositionSequence = Sequence([plane])
        group.PixelValueTransformationSequence = Sequence([scaling])
        if trigger is not None:
            heart = Dataset()
            heart.NominalCardiacTriggerDelayTime = trigger[n]
            if beat is not None:
                heart.RRIntervalTimeNominal = beat
            group.CardiacSynchronizationSequence = Sequence([heart])
        own.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(own)
    return dataset


def save(dataset: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, slices: int = 4, **tags: object) -> list[np.ndarray]:
    """Write a classic series whose file names and instance numbers run against its positions."""
    stored = [pixels(n) for n in range(slices)]
    for n, image in enumerate(stored):
        number = slices - n
        dataset = classic(image, ImagePositionPatient=position(n), InstanceNumber=number, **tags)
        save(dataset, folder / f"im{number:03d}.dcm")
    return stored


def cine(
    folder: Path,
    trigger: Callable[[int, int], float | None] = lambda slice_, frame: 20.0 + 40 * frame,
    *,
    slices: int = 3,
    frames: int = 4,
    stored: np.ndarray | None = None,
    **tags: object,
) -> np.ndarray:
    """Write a classic cine, (frame, slice, row, column) returned, whose file names tell nothing of its order.

    `trigger(slice, frame)` is in ms, None leaves the tag out.  Instance numbers rise with the frame.  `stored` are
    its voxels; noise if left out.
    """
    if stored is None:
        stored = np.stack([[pixels(100 * s + f) for s in range(slices)] for f in range(frames)])
    frames, slices = stored.shape[:2]
    names = np.random.default_rng(1).permutation(slices * frames)
    for f, s in np.ndindex(frames, slices):
        time = trigger(s, f)
        beat = {} if time is None else {"TriggerTime": round(time, 6)}
        number = 1 + (slices - 1 - s) * frames + f
        own: dict[str, object] = {"ImagePositionPatient": position(s), "InstanceNumber": number}
        save(classic(stored[f, s], **(own | beat | tags)), folder / f"{names[f * slices + s]:03d}.dcm")
    return stored


def _dataset(sop_class: str, stored: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = SERIES
    dataset.Modality = "MR"
    dataset.PatientName = "Secretova^Anna"
    dataset.PatientID = "PID-47110815"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    return dataset
