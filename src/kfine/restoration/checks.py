"""Checks before the work of a restoration: options, input, room for the result.  Loads nothing heavy by itself."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from kfine.errors import InputError, UsageError
from kfine.restoration.settings import Settings

if TYPE_CHECKING:
    from kfine.image import Image
    from kfine.io.dicom.derived.source import SourceSeries
    from kfine.io.dicom.header import DicomFile
    from kfine.io.dicom.images import Series, Wanted
    from kfine.models.checkpoint import Model

NIFTI_LONGEST = 32767  # voxels along an axis
_SOME_NOISE = 0.01
# Bytes a voxel of one slice, all its frames: in double precision the image, its k-space and copies; and what the
# networks of cines, which see a whole slice, keep of it.
_WORK, _CINE_WORK = 100, 600


def ready(settings: Settings, *, dicom: str | None) -> Model | None:
    """Return the model that is named, or raise what would be wrong with every image: before the first one.

    dicom: whether DICOM is written, and which kind.
    """
    from kfine.models.checkpoint import load_model
    from kfine.models.devices import choose_device
    from kfine.restoration.options import Choice, check_use, check_values

    names = {field.name for field in fields(Choice)}
    given = {name: value for name, value in settings.of_restore.items() if name in names}
    # What raw k-space tells of its noise is a number above 0, known when it is read.
    choice = Choice(**given | {"noise": _SOME_NOISE if settings.noise == "data" else settings.noise})
    check_values(choice)
    if choice.method != "auto":
        check_use(choice, in_time=settings.in_time)
    choose_device(settings.device)
    if dicom is not None:
        from kfine.io.dicom.derived.writer import check_writer

        check_writer()
    named = settings.model
    return load_model(named) if isinstance(named, str | os.PathLike) else named


def check_original(low: Image, *, force: bool) -> None:
    """Raise `InputError` if `low` was computed from other images or is a phase, unless `force`."""
    if low.source.derived and low.source.kind == "nifti" and not force:
        raise InputError(
            f"{low.source.name}: expected the scanner's image, got a result of kfine, whose k-space is not what was "
            "measured; choose the image that it was made from, or add --force"
        )
    if low.source.derived and not force:
        raise InputError(
            f"{low.source.name}: expected the scanner's images, got derived ones (ImageType DERIVED), whose k-space is "
            "not what was measured; choose the original series, or add --force"
        )
    if low.source.component == "P" and not force:
        raise InputError(
            f"{low.source.name}: expected a magnitude image, got a phase image, whose wraps would be "
            "restored as edges; choose the magnitude, or add --force"
        )


def check_drawable(low: Image, taken: tuple[int, int] | None) -> None:
    """Raise `InputError` if the slices to be restored have nothing that a figure could show."""
    first, stop = taken or (0, low.slices)
    part = low.voxels[:, first:stop]
    if (part == part.flat[0]).all():
        raise InputError(
            f"{low.source.name}: expected slices with some contrast for a figure, {first}:{stop} have none; choose "
            "others, or leave --figure out"
        )


def study_of(low: Image, path: Path, series: Series) -> SourceSeries:
    """Return the series whose study DICOM output joins: what is wrong with it is said before the work."""
    from kfine.io.dicom.derived.source import source_series
    from kfine.io.dicom.derived.writer import check_writer

    # First that there is a study: without one no package helps.
    source = source_series(low, path, series=series)
    check_writer()
    return source


def study_of_files(low: Image, files: list[DicomFile], *, name: str, wanted: Wanted) -> SourceSeries:
    """Return the same for an image of known files; wanted: which of theirs it is."""
    from kfine.io.dicom.derived.source import series_of
    from kfine.io.dicom.derived.writer import check_writer

    check_writer()
    return series_of(low, files, name=name, wanted=wanted)


def check_room(
    low: Image,
    matrix: tuple[int, int] | None,
    scale: float | None,
    *,
    taken: tuple[int, int] | None,
    frames_scale: int | None,
    frames: int | None,
    method: str,
) -> None:
    """Raise if the result fits neither into a NIfTI file nor into memory: asking for it may kill the process."""
    from kfine.acquisition.grid import high_matrix, show
    from kfine.acquisition.scan import timing_of_image
    from kfine.acquisition.zero_fill import measured_block
    from kfine.io.checks import check_memory

    timing = timing_of_image(low, frames_scale=frames_scale, frames=frames)
    may_stay = timing.changed or measured_block(low) != low.matrix
    high = high_matrix(low.matrix, matrix=matrix, scale=scale, may_stay=may_stay)
    if max(*high, len(timing.at)) > NIFTI_LONGEST:
        raise UsageError(
            f"target {show(high)}, {len(timing.at)} frames: a NIfTI file holds at most {NIFTI_LONGEST} voxels "
            "along an axis"
        )
    plane = high[0] * high[1] * len(timing.at)
    slices = taken[1] - taken[0] if taken else low.slices
    cine = low.frames > 1 and method in ("auto", "cine-ldm", "cine-regression")
    work = _CINE_WORK if cine else _WORK
    # Mean and standard deviation of all slices, and the work on one.
    check_memory((low.voxels.itemsize + 4) * slices * plane + work * plane, name=f"target {show(high)}")
