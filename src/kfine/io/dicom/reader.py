"""DICOM input: image of a classic or enhanced MR series, from one file or a folder."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError
from kfine.image import Image, Source
from kfine.io.checks import check_memory, check_voxels
from kfine.io.dicom.frame import Plane
from kfine.io.dicom.header import DicomFile, image_type, one_text, optional_number, pydicom_errors
from kfine.io.dicom.images import Series, SeriesImage, Wanted, choose_image
from kfine.io.dicom.pixels import frames_of
from kfine.io.dicom.series import choose_series, find_series, series_digest, series_planes
from kfine.io.dicom.stack import Stack, build_stack
from kfine.io.dicom.values import complex_voxels, upright, without_padding
from kfine.text import clean_text

ANY = Wanted()
_APART = 0.05  # mm


@dataclass(frozen=True)
class DicomSeries:
    """Files of one MR series, read once: source of the image and of DICOM output.

    Slices are sorted along the normal of the plane, frames by trigger time.  `frame_times` (s) are the trigger times
    (median over slices), and `period` (s) is the mean heart beat of a gated cine (`kfine.io.dicom.timing`).  Missing or
    implausible times give a warning and are not replaced by estimates.  The image contains no patient data: its source
    has a digest and the name of the file or folder, or a pseudonym if that name identifies the patient.

    Attributes:
        files: all files of the series.
        name: name for messages and the provenance.
        wanted: selection among several images of the series.
    """

    files: list[DicomFile]
    name: str
    wanted: Wanted = ANY

    @classmethod
    def at(cls, path: Path, series: Series = None) -> DicomSeries:
        """Return the series in `path`, a DICOM file or a folder of them (subfolders included).

        Args:
            path: file or folder.
            series: SeriesNumber or SeriesInstanceUID, required if the folder contains several.  A `Wanted` also selects
                among the images of a series.

        Raises:
            InputError: no MR series, several series, or damaged files.
            OSError: the system cannot read a file.
        """
        groups, name = find_series(path, series)
        return cls(choose_series(groups, series, name=name), name, Wanted.of(series))

    @cached_property
    def planes(self) -> list[Plane]:
        """The planes of all images of the series.

        Raises:
            InputError: no MR images of one matrix and orientation.
        """
        return series_planes(self.files, name=self.name)

    @cached_property
    def chosen(self) -> SeriesImage:
        """The selected image.

        Raises:
            InputError: several images without a selection, or none that matches it.
        """
        return choose_image({plane.aspect for plane in self.planes}, self.wanted, name=self.name)

    @cached_property
    def stacks(self) -> list[Stack]:
        """The sorted planes of the image; for a complex image, those of its two parts.

        Raises:
            InputError: missing or duplicate slices, slices with differing numbers of frames, parts that differ.
        """
        return stacks_of(self.planes, self.chosen, name=self.name)

    @property
    def stack(self) -> Stack:
        """The first stack: for a complex image that of its magnitude or real part."""
        return self.stacks[0]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' bytes, computed at the first access."""
        return series_digest(self.files)

    def image(self) -> Image:
        """Return the image.

        Raises:
            InputError: as `stacks`; damaged files or a missing codec.
            ResourceError: image larger than the machine's memory.
            OSError: the system cannot read a file.
        """
        for file in self.files:
            _check_codec(file)
        voxels = _voxels(self.stacks, self.chosen, self.files, self.name, sure=self.wanted.part is not None)
        first = self.stack.planes[0][0]
        voxels, remarks = upright(voxels, first.file, name=self.name)
        check_voxels(voxels, name=self.name)
        source = Source(
            kind="dicom",
            name=self.name,
            digest=self.digest,
            acquired_matrix=_acquired_matrix(self.files),
            derived=any(is_derived(file) for file in self.files),
            component="" if np.iscomplexobj(voxels) else first.contrast.component,
            slice_thickness=first.thickness,
            three_dimensional=_three_dimensional(self.files),
            remarks=(
                *remarks,
                *([f"of the series' images: {self.chosen.text}"] if self.chosen.label else []),
            ),
        )
        timing, affine = self.stack.timing, self.stack.affine
        return Image(voxels, affine=affine, frame_times=timing.times, period=timing.period, source=source)


def stacks_of(planes: list[Plane], chosen: SeriesImage, *, name: str) -> list[Stack]:
    """Return the stack of an image, or the two stacks of a complex image, of equal shape and position.

    Raises:
        InputError: see `build_stack`; or parts of different shape or position.
    """
    stacks = [
        build_stack([plane for plane in planes if plane.aspect in part], name=name) for part in chosen.parts
    ]
    shapes = {(len(stack.planes), len(stack.planes[0])) for stack in stacks}
    if len(shapes) > 1 or any(
        not np.allclose(stack.affine, stacks[0].affine, atol=_APART) for stack in stacks
    ):
        raise InputError(
            f"{name}: expected the two parts of a complex image to have the same slices and frames, they differ; "
            "choose one with part=NAME"
        )
    return stacks


def _voxels(
    stacks: list[Stack], chosen: SeriesImage, files: list[DicomFile], name: str, *, sure: bool
) -> NDArray[Any]:
    """Return the voxels of an image; with an unusable phase, the magnitude, or the error if `sure`."""
    first = _read_voxels(stacks[0], files, name)
    if len(stacks) == 1:
        return first
    second = _read_voxels(stacks[1], files, name)
    plane = stacks[1].planes[0][0]
    try:
        return complex_voxels(first, second, plane, polar=plane.contrast.component == "P", name=name)
    except InputError as error:
        if sure:
            raise
        reason = str(error).removeprefix(f"{name}: ").split("; ")[0]
        warnings.warn(f"{name}: only the magnitude is used: {reason}", UserWarning, stacklevel=2)
        return first


def _read_voxels(stack: Stack, files: list[DicomFile], name: str) -> NDArray[np.float32]:
    """Return voxels (frame, slice, row, column); each file is opened once and may have its frames in any order."""
    shape = (len(stack.planes), len(stack.planes[0]), *files[0].slice_matrix)
    check_memory(4 * int(np.prod(shape, dtype=object)), name=name)
    voxels = np.empty(shape, dtype=np.float32)
    places: dict[Path, dict[int, tuple[int, int, Plane]]] = defaultdict(dict)
    for f, slices in enumerate(stack.planes):
        for s, plane in enumerate(slices):
            places[plane.file.path][plane.index] = f, s, plane
    for file in files:
        here = places.get(file.path, {})
        for index, pixels in enumerate(frames_of(file)) if here else ():
            if index in here:
                f, s, plane = here[index]
                voxels[f, s] = without_padding(pixels, file) * plane.slope + plane.intercept
    return voxels


def _check_codec(file: DicomFile) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    syntax = clean_text(UID(file.transfer_syntax).name)
    try:
        decoder = get_decoder(file.transfer_syntax)
    except NotImplementedError:
        raise InputError(
            f"{file.name}: pixels stored as {syntax or 'an unknown transfer syntax'} cannot be read; "
            "convert the file to Explicit VR Little Endian"
        ) from None
    if not decoder.is_available:
        raise InputError(
            f"{file.name}: pixels compressed as {syntax} need a codec that is not installed; "
            "install it with: pip install 'kfine[codecs]'"
        )


def is_derived(file: DicomFile) -> bool:
    """Return whether the file is marked as computed from other images."""
    with pydicom_errors(file.name, "its image type"):
        return "DERIVED" in image_type(file.header)[:1]


def _three_dimensional(files: list[DicomFile]) -> bool | None:
    """Return whether MRAcquisitionType is 3D; None if it is missing or differs between files."""
    types = {one_text(file.header.get("MRAcquisitionType")).strip().upper() for file in files}
    return {"3D": True, "2D": False}.get(types.pop()) if len(types) == 1 else None


def _acquired_matrix(files: list[DicomFile]) -> tuple[int, int] | None:
    """Return the measured (rows, columns) if all files name the same smaller matrix, else None."""
    with pydicom_errors(files[0].name, "its acquisition matrix"):
        found = {_acquisition_matrix(file) for file in files}
    return found.pop() if len(found) == 1 else None


def _acquisition_matrix(file: DicomFile) -> tuple[int, int] | None:
    # The tag is (frequency rows, frequency columns, phase rows, phase columns), where "rows" means "encoded
    # along a row": that count belongs to the columns of the image.  InPlanePhaseEncodingDirection ROW goes
    # with (0, f, p, 0), and the phase direction of such scans is the horizontal one.
    tag = file.header.get("AcquisitionMatrix")
    if tag is None or len(tag) != 4:
        return _enhanced_block(file)
    counts = [int(optional_number(item) or 0) for item in tag]
    along_row, along_column = (counts[0], counts[2]), (counts[1], counts[3])
    if sum(n > 0 for n in along_row) != 1 or sum(n > 0 for n in along_column) != 1:
        return None
    return _smaller(max(along_column), max(along_row), file)


def _enhanced_block(file: DicomFile) -> tuple[int, int] | None:
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (file.header.get(keyword) or [])[:1]:
            for item in (group.get("MRFOVGeometrySequence") or [])[:1]:
                frequency = int(optional_number(item.get("MRAcquisitionFrequencyEncodingSteps")) or 0)
                phase = int(optional_number(item.get("MRAcquisitionPhaseEncodingStepsInPlane")) or 0)
                direction = item.get("InPlanePhaseEncodingDirection")
                if direction == "ROW":
                    return _smaller(frequency, phase, file)
                if direction in ("COLUMN", "COL"):
                    return _smaller(phase, frequency, file)
    return None


def _smaller(rows: int, columns: int, file: DicomFile) -> tuple[int, int] | None:
    """Return (rows, columns) if they are a proper part of the file's matrix, else None."""
    matrix = file.slice_matrix
    inside = 0 < rows <= matrix[0] and 0 < columns <= matrix[1]
    return (rows, columns) if inside and (rows, columns) != matrix else None
