"""Restoration of a low-resolution image: plan, choice of method, planes, slices, result."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kfine.acquisition.grid import Matrix
from kfine.acquisition.plan import Acquisition, plan
from kfine.errors import UsageError
from kfine.image import Image
from kfine.io.checks import check_finite
from kfine.methods.interpolation import ZeroFilling
from kfine.methods.time_interpolation import FrameByFrame
from kfine.models.checkpoint import Model
from kfine.models.domain import ranges_of
from kfine.restoration.inputs import Input, image_of, path_of
from kfine.restoration.memory import Need, fit, peak
from kfine.restoration.novelty import settled
from kfine.restoration.options import Options, bytes_of
from kfine.restoration.progress import Watch
from kfine.restoration.provenance import Provenance
from kfine.restoration.result import Restoration
from kfine.restoration.selection import ResolvedMethod, choose_method
from kfine.restoration.slices import SliceWork, Steps, check_whole, fitted, refined, slice_work
from kfine.restoration.statement import Statement
from kfine.restoration.streaming import ResumeStore, Room, Work, measurements, stream

# Pixels in one network call: about as many as fill the caches of a processor or the cores of a GPU.
PIXELS_A_CALL = {"cpu": 8 * 128 * 128, "cuda": 64 * 256 * 256, "mps": 16 * 128 * 128}


def restore(
    image: Input,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    matrix: Matrix | None = None,
    scale: float | None = None,
    slice_scale: float | None = None,
    voxel: float | tuple[float, float, float] | None = None,
    isotropic: bool = False,
    slice_profile: str | None = None,
    frames_scale: int | None = None,
    frames: int | None = None,
    effort: str = "normal",
    method: str = "auto",
    time_method: str | None = None,
    model: str | os.PathLike[str] | Model | None = None,
    steps: int | None = None,
    samples: int | None = None,
    strength: float = 1.0,
    noise: float | Literal["data"] = 0.0,
    denoise: bool = False,
    sampler: str | None = None,
    start: float | None = None,
    conditioned: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    sharp: bool = False,
    sharp_amount: float | None = None,
    confidence: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    adapt: str | int | None = None,
    strict: bool = False,
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    memory: str | int | None = None,
    parts: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_slices: Callable[[int, int], None] = lambda first, stop: None,
    on_method: Callable[[str], None] = lambda name: None,
) -> Restoration:
    """Return `image` with a larger matrix over the same field of view, more slices, more frames, or all of these.

    The k-space of each slice is the measured centre of the finer one; a method adds samples outside.  K-space that the
    scanner filled with zeros or left out counts as not measured.  Restored frames of a cine at measured times agree
    with the measured ones.  Slices that contain only air are zero-filled without a network.

    Args:
        image: an image; a path, read by `kfine.read`; or a numpy array with `voxel_size` and `axes`.  Real (its Fourier
            transform stands in for k-space) or complex (measured k-space).
        voxel_size: of an array: mm between voxels, (row, column) or (slice, row, column).
        axes: of an array: the names of its axes in order, such as "slice,row,column", "row,column,slice" or
            "frame,row,column"; None: "row,column" for an array of two axes.
        matrix: (rows, columns) to restore to, each at least the image's.
        scale: instead of `matrix`, the factor by which rows and columns grow.  Without both the matrix stays, if more
            slices or frames are requested.
        slice_scale: factor by which the number of slices grows, over the same field of view.
        voxel: instead of `slice_scale`, mm between slices, rounded so that it divides the field of view; or three
            numbers, for rows, columns and slices, where planes that are already finer stay.
        isotropic: instead of `slice_scale`, the spacing of slices becomes the smaller side of the pixels.
        slice_profile: of the measured slices, see `kfine.operators.slices.SliceProfile`: "gaussian" or "box", as wide
            as the header's slice thickness or, if that is missing, as the slice spacing; or "crop", of a 3-D scan.
            None: "crop" if the DICOM header says 3-D, else "gaussian".  The provenance records profile and reason.
        frames_scale: s, to put s - 1 frames evenly into each interval between two measured ones; with a period also
            between the last and the first.
        frames: instead of `frames_scale`, the number of frames to restore: evenly over the period, or without one
            from the first to the last.  Measured frames at other times only support the interpolation.
            Without frame times, frames are taken as evenly spaced.
        effort: number of evaluations of the core network that are averaged in the mean image of a plane:
            "fast" (1), "normal" (4, the quarter turns of the scan) or "best" (8, its mirror images too);
            planes through finer slices always take one.
        method: a name in `kfine.restoration.options.METHODS`; "auto" chooses by properties of the image, above all
            whether it is a cine (`kfine.restoration.selection.pick`); the provenance records the reason.
        time_method: for methods that restore frame by frame: "nearest", "linear", "cubic", "band-limited" or
            "optical-flow"; None: the best.
        model: a packaged model's name, a model folder or a loaded model; None: the packaged model of the method.
        steps: network evaluations per sample; None: the model's default.
        samples: samples per slice; None: the model's default.
        strength: guidance weight lambda, 0 to 1; at 1 the result agrees exactly with the measured k-space.
        noise: standard deviation of the noise in a voxel of `image`, as a fraction of its full intensity;
            above 0 the result may differ from the measurement by about that much.  "data": estimated from raw
            k-space.
        denoise: whether "core", "cine-core" or "ldm" removes the noise, of the level `noise` or, if that is 0, of the
            level estimated from the image; otherwise measured noise stays in the result.
        sampler: "dpm-solver-2m", "ddim" or "ancestral"; None: the model's default.
        start: noise level at which sampling starts; inf: pure noise; None: the model's default.  For "vdm" it is added
            to the mean image, in standard deviations of the residual; if the network is not conditioned on the scan,
            to the zero-filled image, in model units (None: estimated from the scan's spectrum).  For "ldm" and
            "cine-ldm" it is added to the latents of the prediction, in their standard deviations.
        conditioned: whether the network has the scan as an input (p(x | y)); if not, the measurement acts through the
            guidance alone, as in the abstract (p(x), guided).  None: the model's default.
        seed: of all noise; equal seeds give equal voxels, to rounding, for any `planes_a_call`, `memory` and `slices`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: of the network: "auto", "float32" or "bfloat16".
        sharp: whether the result also has `sharp`, an image with the sharpness of a true one around the mean image of
            "core", "cine-core" or "cine-photographic", for one more evaluation per plane.  Its error is larger than
            that of the mean image.
        sharp_amount: of that image, or of method "sharp": how much of the network's difference from the mean image is
            taken, above 0 and up to 1.5; at 1 the image is the network's.  Less has less error, more has more texture.
            None: the model's default.
        confidence: of intervals, such as 0.9, the expected fraction of voxels inside: the result has `lower` and
            `upper`.
        calibration: a file of `kfine calibrate`; None: the calibration of the method's model.
        adapt: for finer slices: a time such as "2m", or a number of updates, for which the core network is first
            fitted to the volume, by the detail in its planes; the fitted network is only used if it is better on
            held-out planes (`kfine.training.adaptation`).  The record has the gain and the number of updates.
        strict: whether to raise an error for an image that is unlike the training images of the model, or that cannot
            be compared with them.  Otherwise "auto" interpolates such an image, and a named method restores it with a
            warning; the provenance records the distance ("domain").
        slices: (first, stop) of the slices to restore; intensities are still scaled by the whole image.
        keep_samples: whether the result holds every sample.
        planes_a_call: greatest number of planes in a network call; None: suited to the device.
        memory: limit of the memory of this process, such as "4G" or a number of bytes: batches and tiles are as large
            as it allows; None: suited to the device.
        parts: a folder, which may not exist yet, to store finished slices in; those of an interrupted run of the same
            image and options are reused.  The caller removes it.
        on_progress: called with (done, total) evaluations.
        on_slices: called with (first, stop), the slices of `image` whose restoration begins.
        on_method: called with the name of the method once it is chosen.

    Warns:
        UserWarning: a property of the image is far outside the ranges that the model was tested on (with the results
            measured there); the image is unlike all training images; or the scanner had zero-filled its k-space
            (`kfine.acquisition.zero_fill`).

    Raises:
        UsageError: options that contradict each other or are out of range.
        InputError: an image (a voxel that is not finite) or a target that cannot be used.
        ModelError: a model that cannot be found or read, or whose files do not match.
        ResourceError: a device that does not exist, or too little memory, that of `memory` included.
        DomainError: with `strict`, an image unlike the training images of the model.
    """
    options = Options(
        matrix=matrix, scale=scale, slice_scale=slice_scale, voxel=voxel, isotropic=isotropic,
        slice_profile=slice_profile, frames_scale=frames_scale, frames=frames, time_method=time_method, effort=effort,
        method=method, model=model, steps=steps, samples=samples, strength=strength, noise=noise, denoise=denoise,
        sampler=sampler, start=start, conditioned=conditioned, device=device, precision=precision,
        sharp=sharp, sharp_amount=sharp_amount, confidence=confidence, calibration=calibration, adapt=adapt,
        strict=strict,
        seed=index(seed),  # numpy integers are not JSON serialisable
    )  # fmt: skip
    result = restore_planned(
        plan_of(image_of(image, voxel_size=voxel_size, axes=axes), options),
        options,
        slices=slices,
        keep_samples=keep_samples,
        planes_a_call=planes_a_call,
        memory=memory,
        parts=None if parts is None else Path(parts),
        watch=Watch(on_progress, on_slices, on_method),
    )
    return replace(result, path=path_of(image))


def plan_of(image: Image, options: Options) -> Acquisition:
    """Return the plan for restoring `image` with `options`, see `kfine.acquisition.plan.plan`."""
    check_finite(image.voxels, name=image.source.name or "image")
    return plan(image, **options.target)


def restore_planned(
    acquisition: Acquisition,
    options: Options,
    *,
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    memory: str | int | None = None,
    parts: Path | None = None,
    watch: Watch,
) -> Restoration:
    """Restore a planned acquisition; see `restore` for arguments and errors."""
    began = time.perf_counter()
    limit = None if memory is None else bytes_of(memory)
    if limit is not None and options.adapt is not None:
        raise UsageError("memory: does not limit the fit to a volume; leave out memory or adapt")
    call = {"options": options.normal().changed, "reading": {}}
    options = replace(options, noise=_noise_of(acquisition) if options.noise == "data" else options.noise)
    found = settled(acquisition, options)
    options, through = found.options, None
    if acquisition.slices is not None:
        check_whole(slices=slices, keep_samples=keep_samples)
        through = slice_work(acquisition, options, pixels=lambda device: PIXELS_A_CALL[device.type])
    resolved = resolved_of(acquisition, options) if acquisition.in_plane else None
    check_confidence(acquisition, resolved, through, options)
    rooms = room, stack_room = _rooms(acquisition, resolved, through, planes_a_call)
    if limit is not None:
        first, stop = slices or (0, acquisition.measured.slices)
        need = Need(
            acquisition, resolved, through.resolved if through else None, options, stop - first, keep_samples
        )
        fit(need, limit, *rooms)
    if through is not None and options.adapt is not None:
        through, call["options"]["adapt"] = fitted(through, acquisition, options, on_update=watch.fit)
    steps = Steps(watch.steps, after=through.evaluations_of(acquisition) if through else 0)
    first_stage = replace(watch, steps=steps.first)
    if resolved is not None:
        result = _restored_planes(
            acquisition, resolved, options, slices=slices, keep_samples=keep_samples, room=room, parts=parts,
            watch=first_stage, through=through.resolved if through else None,
        )  # fmt: skip
    else:
        assert through is not None
        watch.method(through.resolved.method.name)
        provenance = Provenance.of(
            acquisition, through.resolved, options, slices=None, through=through.resolved
        )
        steps.first(0, 0)
        result = Restoration(acquisition.measured, None, (), 0.0, provenance)
    if through is not None and stack_room is not None:
        mean, std, residual = refined(
            result.mean, through, acquisition, std=result.std, on_step=steps.second, room=stack_room
        )
        stated = through.statement or result.statement
        provenance = replace(
            result.provenance,
            residual=residual,
            uncertainty=_stated(stated, options),
            memory=stack_room.record or result.provenance.memory,
        )
        result = replace(
            result, mean=mean, std=std, residual=residual, provenance=provenance, statement=stated
        )
    provenance = replace(
        result.provenance, domain=found.record, reason=found.reason or result.provenance.reason
    )
    result = replace(result, provenance=provenance)
    if options.confidence is not None:
        lower, upper = result.interval(options.confidence)
        result = replace(result, lower=lower, upper=upper)
    return replace(result, seconds=time.perf_counter() - began, acquisition=acquisition, call=call)


def _stated(statement: Statement | None, options: Options) -> dict[str, Any] | None:
    return None if statement is None else statement.as_dict(options.confidence)


def check_confidence(
    acquisition: Acquisition, resolved: ResolvedMethod | None, through: SliceWork | None, options: Options
) -> None:
    """Raise `UsageError` if intervals are requested that are not calibrated.

    resolved: the method of the planes; through: the work of the slice direction; None: not restored.
    """
    if options.confidence is None:
        return
    stated = None if through is None else through.statement
    if stated is not None:
        stated.multiplier(options.confidence)
    if resolved is None:
        if stated is None:
            raise UsageError("confidence: the error of finer slices was not calibrated; leave it out")
        return
    name = resolved.method.name
    statement = resolved.statement(acquisition.scan)
    if statement is None and acquisition.timing.changed:
        raise UsageError(
            f"confidence: the error of frames at other times was not calibrated for method {name}; leave it out, or "
            "keep the frames"
        )
    if statement is None:
        raise UsageError(
            f"confidence: the error of method {name} was not calibrated; choose method='core', or calibrate it with "
            "kfine calibrate"
        )
    statement.multiplier(options.confidence)


def resolved_of(acquisition: Acquisition, options: Options) -> ResolvedMethod:
    """Return the method of the planes with its model loaded; see `choose_method` for errors."""
    measured = acquisition.measured
    return choose_method(
        options,
        measurements=lambda: measurements(measured, acquisition.scan, acquisition.scaling),
        scan=acquisition.scan,
        ranges=ranges_of(measured, acquisition.scaling, high=acquisition.high),
    )


def _restored_planes(
    acquisition: Acquisition,
    resolved: ResolvedMethod,
    options: Options,
    *,
    slices: tuple[int, int] | None,
    keep_samples: bool,
    room: Room,
    parts: Path | None,
    watch: Watch,
    through: ResolvedMethod | None,
) -> Restoration:
    """Restore the measured slices in plane and time."""
    measured = acquisition.measured
    first, part = (slices[0], measured.take_slices(*slices)) if slices else (0, measured)
    work = _work(acquisition, resolved, options, at_once=room.at_once, keep=keep_samples)
    watch.method(resolved.method.name)
    provenance = replace(
        Provenance.of(acquisition, resolved, options, slices=slices, through=through),
        uncertainty=_stated(work.statement, options),
    )
    store = None if parts is None else ResumeStore(parts, _recipe(measured, work, provenance))
    voxels, residual, equalised = stream(part, work, first=first, watch=watch, parts=store, room=room)
    if equalised:
        warnings.warn(
            f"some of the noise of frames was removed in {len(equalised)} of {part.slices} slices, so that all frames "
            "have equal texture",
            UserWarning,
            stacklevel=2,
        )
    at = acquisition.timing.at if measured.frame_times is not None else None
    images = {name: part.with_frames(array, at) for name, array in voxels.items() if name != "samples"}
    return Restoration(
        images["mean"],
        images.get("std"),
        tuple(part.with_frames(array, at) for array in voxels.get("samples", ())),
        residual,
        replace(provenance, residual=residual, memory=room.record, equal_noise=tuple(equalised) or None),
        statement=work.statement,
        sharp=images.get("sharp"),
    )


def _work(
    acquisition: Acquisition,
    resolved: ResolvedMethod,
    options: Options,
    *,
    at_once: int,
    keep: bool,
) -> Work:
    """Return the settings for restoring the slices."""
    air = FrameByFrame(ZeroFilling(), "nearest") if resolved.model else None
    return Work(
        acquisition.scan,
        acquisition.scaling,
        resolved.method,
        seed=options.seed,
        at_once=at_once,
        keep=keep,
        air=air,
        statement=resolved.statement(acquisition.scan),
        sharp=resolved.sharp,
    )


def memory_of(acquisition: Acquisition, resolved: ResolvedMethod | None, options: Options) -> int:
    """Return the estimated bytes of this process during a restoration without a limit, without those of the image.

    resolved: the method of the planes; None if the planes are not restored.
    """
    through = None
    if acquisition.slices is not None:
        through = slice_work(acquisition, options, pixels=lambda device: PIXELS_A_CALL[device.type])
    need = Need(
        acquisition, resolved, through.resolved if through else None, options, acquisition.measured.slices
    )
    return peak(need, *_rooms(acquisition, resolved, through, None))


def _rooms(
    acquisition: Acquisition, resolved: ResolvedMethod | None, through: SliceWork | None, planes: int | None
) -> tuple[Room, Room | None]:
    """Return the batch sizes for planes and for the slice direction: `planes`, or a number suited to the device."""
    if planes is not None and planes < 1:
        raise UsageError(f"planes_a_call {planes}: expected at least 1")
    rows, columns = acquisition.high
    suited = 1 if resolved is None else max(1, PIXELS_A_CALL[resolved.device.type] // (rows * columns))
    return Room(planes or suited), None if through is None else Room(through.at_once)


def _noise_of(acquisition: Acquisition) -> float:
    """Return the noise estimated from raw k-space, as a fraction of full intensity."""
    known = acquisition.measured.source.acquisition
    if known is None:
        raise UsageError(
            "noise data: expected raw k-space, whose noise is estimated from the data, got another image; give a number"
        )
    return float(known["noise"]) / acquisition.scaling.full


def _recipe(image: Image, work: Work, provenance: Provenance) -> dict[str, Any]:
    """Return everything that determines the voxels of a slice to the last bit."""
    voxels = hashlib.sha256(np.ascontiguousarray(image.voxels).tobytes())
    if image.coverage is not None:
        voxels.update(np.ascontiguousarray(image.coverage).tobytes())
    return provenance.before() | {
        "voxels": voxels.hexdigest(),
        "at_once": work.at_once,
        "keep": work.keep,
    }
