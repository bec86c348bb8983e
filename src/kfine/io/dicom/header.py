"""Header of a DICOM file, unpacked if compressed by gzip, and values of its frames."""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from struct import unpack_from
from typing import Any, BinaryIO

from kfine.errors import InputError
from kfine.io.dicom.mosaic import CSA, UIH_GRID, Tiles, tiles_of
from kfine.io.dicom.privacy import names_patient, patient_words
from kfine.text import clean_text, human_size

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_LEGACY_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.4"
_MR_CLASSES = {MR, ENHANCED_MR, _LEGACY_ENHANCED_MR}
_DIRECTORY = b"1.2.840.10008.1.3.10"
_DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"}
_FIRST = 64  # bytes: the longest value of an element that a data set begins with
_FIRST_TAGS = {
    *((0x0008, element) for element in (0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0014, 0x0016, 0x0018)),
    (0x0002, 0x0000),
    (0x0002, 0x0001),
}
_TAGS: list[Any] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "Modality",
    "PatientName",
    "PatientID",
    "PatientIdentityRemoved",
    "BurnedInAnnotation",
    "ImageType",
    "ComplexImageComponent",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "MRAcquisitionType",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "NominalInterval",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "CardiacNumberOfImages",
    "HeartRate",
    "CardiacSynchronizationTechnique",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "InstanceNumber",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "PhaseContrast",
    "SequenceName",
    "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "DimensionIndexSequence",
    (0x0043, 0x102F),
    *CSA,
    UIH_GRID,
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class DicomFile:
    """A DICOM file with an image.

    Attributes:
        path: path of the file.
        header: pydicom's data set of the elements that readers need, without pixels; it contains patient data, which
            never goes into images, messages or names.
        transfer_syntax: UID of the transfer syntax, "" if unknown.
        series_uid: SeriesInstanceUID, "" if unknown.
        series_number: SeriesNumber, None if unknown.
        description: SeriesDescription as one printable line, "" if it names the patient.
        modality: "MR" or another modality; "" if unknown.
        matrix: (rows, columns) of each frame.
        frames: number of frames.
        tiles: slices in each frame of a Siemens mosaic; None for other images, and for mosaics that do not place them.
        shown: pseudonym for messages if the file name identifies the patient, else "".
    """

    path: Path
    header: Any = field(repr=False)
    transfer_syntax: str
    series_uid: str
    series_number: int | None
    description: str
    modality: str
    matrix: tuple[int, int]
    frames: int
    tiles: Tiles | None = None
    shown: str = ""

    @property
    def slice_matrix(self) -> tuple[int, int]:
        """(rows, columns) of a slice."""
        return self.matrix if self.tiles is None else self.tiles.matrix

    @property
    def name(self) -> str:
        """Name for messages."""
        return self.shown or clean_text(self.path.name)


@contextmanager
def pydicom_errors(name: str, what: str) -> Iterator[None]:
    """Turn exceptions of pydicom into one-line errors, and silence its warnings (one per tag and file).

    pydicom converts values at their first access, and damaged ones raise almost any exception.  Its text may contain
    the value, and with it the name of a patient; therefore it is not passed on.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    except Exception:
        raise InputError(
            f"{name}: {what} cannot be read: truncated or damaged; export the file again"
        ) from None


class DamagedFile(InputError):
    """A truncated or damaged DICOM file; `header` is its readable part, None if there is none."""

    def __init__(self, message: str, header: Any = None) -> None:
        super().__init__(message)
        self.header = header


def read_file(path: Path) -> DicomFile | None:
    """Return the header of the file at `path`, or None if it is not a DICOM file or has no image.

    Raises:
        InputError: a DICOM image that is truncated or damaged.
    """
    with opened(path) as file:
        start = file.read(132)
    bare = is_bare(start)
    if start[128:] != b"DICM" and not bare:
        return None
    name = clean_text(path.name)
    with pydicom_errors(name, "its DICOM header"):
        return _parse(path, name, bare=bare)


def is_directory(path: Path) -> bool:
    """Return whether `path` is a DICOMDIR, the table of contents of its folder."""
    if not path.is_file() or path.name.upper() != "DICOMDIR":
        return False
    with path.open("rb") as file:
        start = file.read(1024)
    return start[128:132] == b"DICM" and _DIRECTORY in start


def is_bare(start: bytes) -> bool:
    """Return whether a file with these first bytes may be DICOM without preamble and DICM prefix."""
    if start[128:132] == b"DICM" or len(start) < 132:
        return False
    group, element = unpack_from("<2H", start)
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    short = unpack_from("<I", start, 4)[0] <= _FIRST
    return (group, element) in _FIRST_TAGS and (explicit or short)


def open_dicom(path: Path, **options: Any) -> Any:
    """Return pydicom's data set of the file at `path`; for files without preamble the transfer syntax is detected.

    options: options of `pydicom.dcmread`.
    """
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with opened(path) as file:
        bare = is_bare(file.read(132))
        file.seek(0)
        dataset = dcmread(file, force=bare, **options)
    if bare and "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _parse(path: Path, name: str, *, bare: bool) -> DicomFile | None:
    meta = _meta_of(path, bare=bare)
    syntax, stored = (str(meta.get(k, "")) for k in ("TransferSyntaxUID", "MediaStorageSOPClassUID"))
    if syntax in _DEFLATED:  # pydicom would inflate all of it at once, which allows decompression bombs
        if _is_no_image(stored):
            return None
        raise InputError(
            f"{name}: deflated DICOM is not supported; convert it, for example with dcmtk's dcmconv +te"
        )
    header = open_dicom(path, stop_before_pixels=True, specific_tags=_TAGS)
    if header.get("Rows") is None or header.get("Columns") is None:
        what = str(header.get("SOPClassUID", "")) or stored
        if what in _MR_CLASSES or not (what or bare):
            raise DamagedFile(
                f"{name}: expected an MR image, its header is incomplete: truncated; export it again", header
            )
        return None
    matrix = int(header.Rows), int(header.Columns)
    frames = int(header.get("NumberOfFrames") or 1)
    if min(*matrix, frames) < 1:
        raise InputError(
            f"{name}: expected a positive matrix, got {matrix} x {frames} frames; export it again"
        )
    number = optional_number(header.get("SeriesNumber"))
    return DicomFile(
        path=path,
        header=header,
        transfer_syntax=syntax,
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        series_number=None if number is None else int(number),
        description=_description(header),
        modality=clean_text(header.get("Modality") or ""),
        matrix=matrix,
        frames=frames,
        tiles=tiles_of(header) if "MOSAIC" in image_type(header) and frames == 1 else None,
    )


def _meta_of(path: Path, *, bare: bool) -> Any:
    """Return the file meta information of a file, before its data set is parsed or inflated."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    if bare:
        return open_dicom(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
    with opened(path) as file:
        read_preamble(file, False)
        return _read_file_meta_info(file)


def _is_no_image(sop_class: str) -> bool:
    """Return whether a SOP class is known and not one of images: a report, a presentation state, a directory."""
    from pydicom.uid import UID

    keyword = UID(sop_class).keyword
    return bool(keyword) and "Image" not in keyword


def optional_number(value: Any) -> float | None:
    """Return `value` as a finite float, None if it is missing or not a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def one_text(value: Any) -> str:
    """Return `value` as one text; pydicom splits texts with backslashes into lists."""
    several = hasattr(value, "__iter__") and not isinstance(value, str)
    return " ".join(map(str, value)) if several else str(value or "")


def image_type(header: Any) -> list[str]:
    """Return the values of ImageType as a list; pydicom returns a text for a single value, None for none."""
    value = header.get("ImageType") or []
    return [str(item) for item in ([value] if isinstance(value, str) else value)]


def _description(header: Any) -> str:
    """Return the series description, "" if it contains the patient's name or number."""
    text = clean_text(one_text(header.get("SeriesDescription")))
    return "" if names_patient(text, patient_words(header)) else text


def group_value(header: Any, index: int, where: tuple[str, str]) -> Any:
    """Return a value of frame `index` from its own functional group, the shared group or the top level, in this order.

    Args:
        header: pydicom's data set.
        index: from 0.
        where: keywords of the sequence of the group and of the value in it.
    """
    sequence, keyword = where
    for group in _groups(header, index):
        items = group.get(sequence)
        if items and items[0].get(keyword) is not None:
            return items[0].get(keyword)
    return header.get(keyword)


def _groups(header: Any, index: int) -> list[Any]:
    """Return the functional groups of frame `index`, its own first; classic files may have empty ones."""
    own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    return [*(own[index : index + 1] if own else []), *(shared[:1] if shared else [])]


_MAGIC = b"\x1f\x8b"
_MOST = 1 << 31  # bytes, unpacked
_RATIO = 200  # compression ratio beyond that of any image: a decompression bomb
_SMALL = 1 << 26


def is_packed_dicom(path: Path) -> bool:
    """Return whether the gzip file at `path` contains a DICOM file; False if it is damaged."""
    try:
        with gzip.open(path) as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, EOFError, zlib.error):
        return False


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield the open file at `path`, unpacked if it is a DICOM file compressed by gzip.

    Raises:
        InputError: it unpacks to more than an image can have, or is damaged.
    """
    with path.open("rb") as file:
        packed = file.read(2) == _MAGIC
        file.seek(0)
        if not (packed and is_packed_dicom(path)):
            yield file
            return
    name, size = clean_text(path.name), path.stat().st_size
    most = min(_MOST, max(_RATIO * size, _SMALL))
    try:
        with gzip.open(path) as stream:
            content = stream.read(most + 1)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{name}: truncated or damaged: it cannot be unpacked; copy it again") from None
    if len(content) > most:
        raise InputError(
            f"{name}: damaged: unpacks from {human_size(size)} to more than {human_size(most)}; unpack it with gunzip"
        )
    yield BytesIO(content)


def size_of(path: Path) -> int:
    """Return the unpacked size of the file at `path` in bytes."""
    with opened(path) as file:
        return file.seek(0, 2)
