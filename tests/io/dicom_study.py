"""A cine with a complete header, and a stand-in for what a restoration makes of it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from dicom_files import cine

from kfine.image import Image
from kfine.io import read, write_dicom

STUDY = "1.2.826.0.1.3680043.8.498.20"
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.21"
BEAT = 200  # ms, 5 frames from 20 ms on
HEADER: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyInstanceUID": STUDY,
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A-17",
    "ReferringPhysicianName": "Doktorova^Eva",
    "PatientName": "Secretova^Anña",
    "PatientBirthDate": "19700101",
    "PatientSex": "F",
    "Manufacturer": "Scanner works",
    "ManufacturerModelName": "S 1",
    "DeviceSerialNumber": "123",
    "SoftwareVersions": ["v1", "b"],
    "FrameOfReferenceUID": FRAME_OF_REFERENCE,
    "PatientPosition": "HFS",
    "SeriesDescription": "sax cine",
    "SeriesDate": "20200102",
    "SeriesTime": "101500",
    "ContentDate": "20200102",
    "ContentTime": "101501",
    "BodyPartExamined": "HEART",
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    "AcquisitionNumber": 1,
    "ScanningSequence": "GR",
    "SequenceVariant": "SS",
    "ScanOptions": "CG",
    "MRAcquisitionType": "2D",
    "RepetitionTime": 3.7,
    "EchoTime": 1.6,
    "EchoTrainLength": 1,
    "FlipAngle": 45,
    "MagneticFieldStrength": 1.5,
    "NominalInterval": BEAT,
    "CardiacNumberOfImages": 5,
    "SliceLocation": -12.5,
    "WindowCenter": 40,
    "WindowWidth": 80,
    "SmallestImagePixelValue": 0,
    "ImagesInAcquisition": 15,
}


@dataclass(frozen=True)
class Made:
    """The source folder, an image of twice the matrix and frames, its deviation, and what made it."""

    source: Path
    mean: Image
    std: Image
    made_by: dict[str, Any]

    def write(self, folder: Path, **options: Any) -> list[Any]:
        """Write the mean and return its data sets in the order of their instance numbers."""
        write_dicom(self.mean, folder, **({"source": self.source, "made_by": self.made_by} | options))
        return datasets(folder)


def datasets(folder: Path) -> list[Any]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def made(source: Path, *, slices: tuple[int, int] = (0, 3), lowest: float = 0.0, seed: int = 0) -> Made:
    """Write a cine of 5 frames and 3 slices to `source` and return what a restoration of `slices` could be."""
    if not source.exists():
        cine(source, frames=5, **HEADER)
    return derived(read(source), source, slices=slices, lowest=lowest, seed=seed)


def derived(low: Image, source: Path, *, slices: tuple[int, int], lowest: float = 0.0, seed: int = 0) -> Made:
    part = low.take_slices(*slices)
    rows, columns = low.matrix
    frames = 2 * low.frames if low.frames > 1 else 1
    voxels = np.random.default_rng(seed).gamma(2, 150, (frames, part.slices, 2 * rows, 2 * columns)) + lowest
    times = low.frame_times
    if times is not None:
        knots = [*times, times[0] + (low.period or 0)]
        times = tuple(float(t) for t in np.interp(np.arange(frames) / 2, np.arange(len(knots)), knots))
    mean = part.with_frames(voxels.astype(np.float32), times)
    record = {
        "input": {"kind": "dicom", "name": source.name, "sha256": low.source.digest},
        "matrix": {"measured": list(low.matrix), "restored": list(mean.matrix)},
        "frames": {"measured": low.frames, "restored": frames},
        "method": "cine-ldm",
        "model": {"name": "tiny", "sha256": "ab" * 32},
        "options": {"samples": 2},
        "kspace": "simulated from a real image",
        "seed": seed,
    }
    return Made(source, mean, replace(mean, voxels=mean.voxels * 0.1 + 1), record)
