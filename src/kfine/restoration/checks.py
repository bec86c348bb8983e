"""Checks before the work of a restoration: options, input, room for the result.  Loads nothing heavy by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kfine.errors import InputError, UsageError
from kfine.restoration.options import Options, check_use, check_values

if TYPE_CHECKING:
    from kfine.acquisition.plan import Acquisition
    from kfine.image import Image
    from kfine.io.dicom.reader import DicomSeries
    from kfine.io.reading import Reading
    from kfine.models.checkpoint import Model

NIFTI_LONGEST = 32767  # voxels along an axis
# Bytes a voxel of one slice, all its frames: in double precision the image, its k-space and copies; and what the
# networks of cines, which see a whole slice, keep of it.
_WORK, _CINE_WORK = 100, 600
_SLICE_WORK = 16  # and a voxel of a frame whose slices are restored


def ready(options: Options, *, dicom: str | None) -> Model | None:
    """Return the model that is named, or raise what would be wrong with every image: before the first one.

    dicom: whether DICOM is written, and which kind.
    """
    from kfine.acquisition.slices import check_slices
    from kfine.models.checkpoint import load_model
    from kfine.models.devices import choose_device

    check_values(options)
    check_slices(options.slice_scale, options.voxel, options.isotropic, options.slice_profile)
    if options.method != "auto":
        check_use(options, in_time=options.in_time)
    choose_device(options.device)
    if dicom is not None:
        from kfine.io.dicom.derived.writer import check_writer

        check_writer()
    named = options.model
    return load_model(named) if isinstance(named, str | os.PathLike) else named


def check_original(low: Image, *, force: bool) -> None:
    """Raise `InputError` if `low` was computed from other images or is a phase, unless `force`."""
    if low.source.derived and low.source.kind == "nifti" and not force:
        raise InputError(
            f"{low.source.name}: expected the scanner's image, got a result of kfine, whose k-space is not what was "
            "measured; choose the image that it was made from, or add force=True"
        )
    if low.source.derived and not force:
        raise InputError(
            f"{low.source.name}: expected the scanner's images, got derived ones (ImageType DERIVED), whose k-space is "
            "not what was measured; choose the original series, or add force=True"
        )
    if low.source.component == "P" and not force:
        raise InputError(
            f"{low.source.name}: expected a magnitude image, got a phase image, whose wraps would be "
            "restored as edges; choose the magnitude, or add force=True"
        )


def check_drawable(low: Image, taken: tuple[int, int] | None) -> None:
    """Raise `InputError` if the slices to be restored have nothing that a figure could show."""
    first, stop = taken or (0, low.slices)
    part = low.voxels[:, first:stop]
    if (part == part.flat[0]).all():
        raise InputError(
            f"{low.source.name}: expected slices with some contrast for a figure, {first}:{stop} have none; choose "
            "others, or leave the figure out"
        )


def check_still(acquisition: Acquisition) -> None:
    """Raise `UsageError` for a figure of a cine whose slices are restored too."""
    if acquisition.slices is not None and acquisition.image.frames > 1:
        raise UsageError(
            f"figure: expected one frame where slices are restored, the image has {acquisition.image.frames}; leave "
            "the figure out"
        )


def study_of(found: Reading) -> DicomSeries:
    """Return the series whose study DICOM output joins, or raise what is wrong with it before the work."""
    from kfine.io.dicom.derived.source import check_study, no_dicom
    from kfine.io.dicom.derived.writer import check_writer

    # First that there is a study: without one no package helps.
    if found.series is None:
        raise no_dicom(found.image.source.name)
    check_study(found.series)
    check_writer()
    return found.series


def check_room(acquisition: Acquisition, options: Options, *, taken: tuple[int, int] | None) -> None:
    """Raise if the result fits neither into a NIfTI file nor into memory: asking for it may kill the process."""
    from kfine.acquisition.grid import show
    from kfine.io.checks import check_memory

    low, high, frames = acquisition.image, acquisition.high, len(acquisition.timing.at)
    plan = acquisition.slices
    if max(*high, frames, plan.fine if plan else 1) > NIFTI_LONGEST:
        raise UsageError(
            f"target {show(high)}, {frames} frames: a NIfTI file holds at most {NIFTI_LONGEST} voxels along an axis"
        )
    plane = high[0] * high[1] * frames
    slices = taken[1] - taken[0] if taken else low.slices
    cine = low.frames > 1 and options.method in ("auto", "cine-core", "cine-ldm", "cine-regression")
    work = _CINE_WORK if cine else _WORK
    if plan is not None:  # the longer stack, one frame at a time, beside the results
        work += _SLICE_WORK * plan.fine_margined
        slices += plan.fine
    # Mean and standard deviation of all slices, and the work on one.
    check_memory((low.voxels.itemsize + 4) * slices * plane + work * plane, name=f"target {show(high)}")
