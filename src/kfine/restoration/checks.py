"""Checks before a restoration: options, input, size of the result.  Importing this module does not import torch."""

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
# Bytes of memory per voxel of one slice with all its frames: for the image, its k-space and copies in double precision,
# and for activations of cine networks, which process a whole slice.
_WORK, _CINE_WORK = 100, 600
_SLICE_WORK = 16  # bytes per voxel of a frame while the slice direction is restored


def ready(options: Options, *, dicom: str | None) -> Model | None:
    """Check everything that does not depend on the image, and return the model of the options, loaded.

    dicom: kind of DICOM output; None: none.
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
    """Raise an error if the result is too large for a NIfTI file or for memory, where the process might be killed.

    taken: (first, stop) of the restored slices; None: all.
    """
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
    cine = low.frames > 1 and (options.method == "auto" or options.method.startswith("cine-"))
    work = _CINE_WORK if cine else _WORK
    if plan is not None:  # the finer stack, one frame at a time, in addition to the results
        work += _SLICE_WORK * plan.fine_margined
        slices += plan.fine
    # Mean and standard deviation of all slices, and temporary memory for one slice.
    check_memory((low.voxels.itemsize + 4) * slices * plane + work * plane, name=f"target {show(high)}")
