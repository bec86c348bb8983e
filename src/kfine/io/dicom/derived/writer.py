"""DICOM output: derived MR series and their uncertainty, in the study of the source series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

from kfine.errors import ResourceError
from kfine.files.atomic import atomic_file
from kfine.files.staging import atomic_folder, image_name
from kfine.image import Image, magnitude
from kfine.io.dicom.derived.series import Derived
from kfine.io.dicom.derived.source import series_behind
from kfine.io.dicom.header import pydicom_errors
from kfine.io.dicom.images import Series
from kfine.io.dicom.reader import DicomSeries

_IMPLEMENTATION = "KFINE"
_WHAT = "its header, which the output inherits,"


def write_dicom(
    image: Image,
    folder: str | PathLike[str],
    *,
    source: str | PathLike[str],
    series: Series = None,
    std: Image | None = None,
    made_by: Mapping[str, Any] | None = None,
    enhanced: bool = False,
    overwrite: bool = False,
) -> None:
    """Write `image` to the new `folder` as a derived MR series in the study of `source`, completely or not at all.

    Geometry and times are those of `image` (no times if the source has none); intensities are rounded to 16 bits.
    Patient, study, frame of reference and scanner are those of the source.  Processing, software and source images are
    recorded.  The same image and provenance give the same bytes.

    Args:
        image: restored from `read(source)`: the same field of view, any matrix and frames, all or some slices.  The
            magnitude of a complex image is written.
        folder: new folder, with one classic MR image for each plane.
        source: the DICOM file or folder that was read.
        series: as in `read`.
        std: standard deviation of each voxel, written as a Parametric Map beside `folder`, named FOLDER_std.dcm.
        made_by: provenance of a `kfine.Restoration`.
        enhanced: write one Enhanced MR image instead.
        overwrite: replace a folder from an earlier call.

    Raises:
        UsageError: `image` was not read from DICOM or does not lie in `source`; the folder or the map cannot be
            written there.
        InputError: the source cannot be read, has changed or names no study; voxels are not finite.
        ResourceError: highdicom is missing (extra `dicom`), or the disk is full or read-only.
    """
    folder = Path(folder)
    check_writer()
    found = series_behind(image, Path(source), series=series)
    record = made_by or {}
    with ExitStack() as stack:  # both are written before either is moved into place
        if std is not None:
            beside = folder.with_name(f"{folder.name}_std.dcm")
            write_map(
                std,
                stack.enter_context(atomic_file(beside, overwrite=overwrite)),
                source=found,
                made_by=record,
            )
        partial = stack.enter_context(atomic_folder(folder, overwrite=overwrite))
        write_series(image, partial, source=found, made_by=record, enhanced=enhanced)


def check_writer() -> None:
    """Raise `ResourceError` if a package that DICOM output needs is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise ResourceError(
            "DICOM output needs highdicom, which is not installed; install it with: pip install 'kfine[dicom]'"
        ) from None


def write_series(
    image: Image,
    folder: Path,
    *,
    source: DicomSeries,
    made_by: Mapping[str, Any],
    enhanced: bool,
    what: str = "",
) -> None:
    """Write `image` into the existing, empty `folder`; see `write_dicom`.

    what: "sharp" of a sharp image; "" of the restored one.
    """
    derived = replace(Derived.of(magnitude(image), source, made_by=made_by), what=what)
    for number, content in enumerate(_images(derived, source, enhanced=enhanced), start=1):
        (folder / image_name(number)).write_bytes(content)


def write_map(
    image: Image, path: Path, *, source: DicomSeries, made_by: Mapping[str, Any], what: str = "std"
) -> None:
    """Write the standard deviation of a restoration to `path` as a Parametric Map; see `write_dicom`.

    what: "std", or "lower" or "upper" of an interval.
    """
    from kfine.io.dicom.derived.parametric_map import parametric_map

    derived = Derived.of(image, source, made_by=made_by)
    with pydicom_errors(source.name, _WHAT):
        content = _encoded(parametric_map(derived, what=what))
    path.write_bytes(content)


def _images(derived: Derived, source: DicomSeries, *, enhanced: bool) -> Iterator[bytes]:
    from kfine.io.dicom.derived.mr_images import classic_images, enhanced_image

    with pydicom_errors(source.name, _WHAT):
        for dataset in [enhanced_image(derived)] if enhanced else classic_images(derived):
            yield _encoded(dataset)


def _encoded(dataset: Any) -> bytes:
    """Return the bytes of a DICOM file."""
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = _IMPLEMENTATION
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
