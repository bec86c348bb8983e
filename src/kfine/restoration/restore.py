"""Restoration of a low-resolution image to a high-resolution one: plan, choice of a method, slices, result."""

from __future__ import annotations

import hashlib
import os
import time
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
from kfine.methods.core import measured_parts
from kfine.methods.interpolation import ZeroFilling
from kfine.methods.time_interpolation import FrameByFrame
from kfine.models.checkpoint import Model
from kfine.models.domain import ranges_of
from kfine.restoration.inputs import Input, image_of, path_of
from kfine.restoration.novelty import settled
from kfine.restoration.options import Options
from kfine.restoration.progress import Watch
from kfine.restoration.provenance import Provenance
from kfine.restoration.result import Restoration
from kfine.restoration.resume import ResumeStore
from kfine.restoration.selection import ResolvedMethod, choose_method
from kfine.restoration.slices import SliceWork, Steps, check_whole, fitted, refined, slice_work
from kfine.restoration.statement import Statement
from kfine.restoration.streaming import Room, Work, measurements, stream

# Planes a network call: about what keeps a processor's caches and a GPU's cores busy.
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
    confidence: float | None = None,
    calibration: str | os.PathLike[str] | None = None,
    adapt: str | int | None = None,
    strict: bool = False,
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    parts: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_slices: Callable[[int, int], None] = lambda first, stop: None,
    on_method: Callable[[str], None] = lambda name: None,
) -> Restoration:
    """Return `image` at a larger matrix over the same field of view, with more slices, at more times, or all of it.

    The k-space of each slice is taken as the measured centre of the finer one; what a method adds lies outside.  Where
    the scanner filled up k-space with zeros, or left out a part of it, that is not measured either.  Of a cine, frames
    at measured times keep theirs.  Slices of nothing but air are zero-filled: no network sees them.

    Args:
        image: an image; a path, read by `kfine.read`; or a numpy array with `voxel_size` and `axes`.  Real (its Fourier
            transform stands in for k-space) or complex (measured k-space).
        voxel_size: of an array: mm between voxels, (row, column) or (slice, row, column).
        axes: of an array: the names of its axes in their order, such as "slice,row,column", "row,column,slice" or
            "frame,row,column"; an array of two axes is "row,column" if left out.
        matrix: (rows, columns) to restore to, each at least the image's.
        scale: instead of `matrix`, the factor by which rows and columns grow.  Both may be left out when slices or
            frames are asked for: the matrix stays.
        slice_scale: factor by which the number of slices grows, over the same field of view.
        voxel: instead of it, mm between the slices, the nearest that divides the field of view; or three numbers, of
            rows, columns and slices, where planes that are finer stay.
        isotropic: instead of it, slices as far apart as the finer side of the pixels.
        slice_profile: of the measured slices, see `kfine.operators.slices.SliceProfile`: "gaussian" or "box", as wide
            as the header's slice thickness or, where it does not say, as the slices lie apart; or "crop", of a 3-D
            scan.  None: "crop" where the DICOM header says 3-D, else "gaussian".  The provenance says what and why.
        frames_scale: s, to put s - 1 frames evenly into each interval between two measured ones; with a period also
            between the last and the first.
        frames: instead of `frames_scale`, how many frames to restore: evenly round the period, or without one from
            the first to the last.  A measured frame that is at none of their times only helps to find them.
            Without frame times, frames are taken as evenly spaced.
        effort: how many evaluations of the core network the mean image of a plane is made of:
            "fast" (1), "normal" (4, the quarter turns of the scan) or "best" (8, its mirror images too);
            the planes through finer slices take one each.
        method: a name of `kfine.restoration.options.METHODS`; "auto" goes by what the image is, a heart beat (frames
            with a period) or any other (`kfine.restoration.selection.pick`); the provenance says why.
        time_method: of a method that works frame by frame: "nearest", "linear", "cubic", "band-limited" or
            "optical-flow"; None takes the best.
        model: a packaged model's name, a model folder or a loaded model; None takes the method's own.
        steps: network evaluations a sample; None takes the model's.
        samples: samples a slice; None takes the model's.
        strength: guidance weight lambda, 0 to 1; at 1 the measured k-space is never contradicted.
        noise: standard deviation of the noise in a voxel of `image`, as a fraction of its full intensity;
            above 0 the result may differ from the measurement by about that much.  "data": as estimated from raw
            k-space.
        denoise: whether "core", "cine-core" or "ldm" removes the noise, of the level `noise` or, where that is 0, as
            estimated from the image; otherwise what was measured stays, noise included.
        sampler: "dpm-solver-2m", "ddim" or "ancestral"; None takes the model's.
        start: noise level at which sampling starts; inf: pure noise; None: the model's.  Of "vdm" from the mean image,
            in standard deviations of what that lacks; where the network does not see the scan from the zero-filled
            image, in model units (None: estimated from the scan's spectrum).  Of "ldm" and "cine-ldm" from the
            prediction's latents, in standard deviations of these.
        conditioned: whether the network sees the scan (p(x | y)); if not, the measurement acts through the
            guidance alone, as in the abstract (p(x), guided).  None takes the model's own.
        seed: of all noise; equal seeds give equal voxels, to rounding whatever `planes_a_call` and `slices`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: of the network: "auto", "float32" or "bfloat16".
        sharp: whether the result also has `sharp`: an image with the sharpness of a true one, around the mean image of
            "core", for one more evaluation a plane.  Its error is larger than that of the mean image.
        confidence: of intervals, the part of the voxels that they are to hold, such as 0.9: the result has `lower` and
            `upper`.
        calibration: a file of `kfine calibrate`; None takes the method's own calibration.
        adapt: of finer slices: a time such as "2m", or a number of updates, for which the core network is first fitted
            to the volume, by the detail in its planes; the fitted network is only taken if it is better on planes that
            it was not fitted to (`kfine.training.adaptation`).  The record has the gain, and the updates.
        strict: whether to refuse an image that is unlike those that the model was trained on, or that cannot be
            compared with them.  Otherwise "auto" interpolates such an image, and a method that is named restores it
            with a warning; the provenance says how far it is from them ("domain").
        slices: (first, stop) of the slices to restore; intensities are still scaled by the whole image.
        keep_samples: whether the result holds every sample.
        planes_a_call: planes the network sees at once; None fits the device.
        parts: a folder, which may not exist yet, for finished slices: they are kept there, and those of an
            interrupted run of the same image and options are taken from there.  Whoever gives it removes it.
        on_progress: called with (done, total) evaluations.
        on_slices: called with (first, stop), the slices of `image` that are restored from now on.
        on_method: called with the name of the method, once it is chosen.

    Warns:
        UserWarning: the image is far from what its model was tested on; the property is named, and what was measured
            there; or it is unlike all its training images.  Or the scanner had filled up its k-space
            (`kfine.acquisition.zero_fill`).

    Raises:
        UsageError: options that contradict each other or are out of range.
        InputError: an image (a voxel that is not finite) or a target that cannot be used.
        ModelError: a model that cannot be found, read or trusted.
        ResourceError: a device that is not there, or too little memory.
        DomainError: with `strict`, an image unlike those that the model was trained on.
    """
    options = Options(
        matrix=matrix, scale=scale, slice_scale=slice_scale, voxel=voxel, isotropic=isotropic,
        slice_profile=slice_profile, frames_scale=frames_scale, frames=frames, time_method=time_method, effort=effort,
        method=method, model=model, steps=steps, samples=samples, strength=strength, noise=noise, denoise=denoise,
        sampler=sampler, start=start, conditioned=conditioned, device=device, precision=precision,
        sharp=sharp, confidence=confidence, calibration=calibration, adapt=adapt, strict=strict,
        seed=index(seed),  # of numpy too, whose integers are no JSON
    )  # fmt: skip
    result = restore_planned(
        plan_of(image_of(image, voxel_size=voxel_size, axes=axes), options),
        options,
        slices=slices,
        keep_samples=keep_samples,
        planes_a_call=planes_a_call,
        parts=None if parts is None else Path(parts),
        watch=Watch(on_progress, on_slices, on_method),
    )
    return replace(result, path=path_of(image))


def plan_of(image: Image, options: Options) -> Acquisition:
    """Return the plan of restoring `image` with `options`, see `kfine.acquisition.plan.plan`."""
    check_finite(image.voxels, name=image.source.name or "image")
    return plan(image, **options.target)


def restore_planned(
    acquisition: Acquisition,
    options: Options,
    *,
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    parts: Path | None = None,
    watch: Watch,
) -> Restoration:
    """Return the restoration that is planned; see `restore` for arguments and errors."""
    began = time.perf_counter()
    call = {"options": options.normal().changed, "reading": {}}
    options = replace(options, noise=_noise_of(acquisition) if options.noise == "data" else options.noise)
    found = settled(acquisition, options)
    options, through = found.options, None
    if acquisition.slices is not None:
        check_whole(slices=slices, keep_samples=keep_samples)
        through = slice_work(acquisition, options, pixels=lambda device: PIXELS_A_CALL[device.type])
    resolved = resolved_of(acquisition, options) if acquisition.in_plane else None
    check_confidence(acquisition, resolved, through, options)
    if through is not None and options.adapt is not None:
        through, call["options"]["adapt"] = fitted(through, acquisition, options, on_update=watch.fit)
    steps = Steps(watch.steps, after=through.evaluations_of(acquisition) if through else 0)
    first_stage = replace(watch, steps=steps.first)
    if resolved is not None:
        result = _restored_planes(
            acquisition, resolved, options, slices=slices, keep_samples=keep_samples, planes_a_call=planes_a_call,
            parts=parts, watch=first_stage, through=through.resolved if through else None,
        )  # fmt: skip
    else:
        assert through is not None
        watch.method(through.resolved.method.name)
        provenance = Provenance.of(
            acquisition, through.resolved, options, slices=None, through=through.resolved
        )
        steps.first(0, 0)
        result = Restoration(acquisition.measured, None, (), 0.0, provenance)
    if through is not None:
        room = Room(through.at_once)
        mean, std, residual = refined(
            result.mean, through, acquisition, std=result.std, on_step=steps.second, room=room
        )
        stated = through.statement or result.statement
        provenance = replace(
            result.provenance,
            residual=residual,
            uncertainty=_stated(stated, options),
            memory=room.record or result.provenance.memory,
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
    """Raise `UsageError` for intervals that nothing was calibrated for.

    resolved: the method of the planes; through: the work of the slices; None where these stay.
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
    if acquisition.timing.changed:
        raise UsageError(
            "confidence: the error of frames at other times was not calibrated; leave it out, or keep the frames"
        )
    if resolved.calibration is None:
        raise UsageError(
            f"confidence: the error of method {name} was not calibrated; choose method='core', or calibrate it with "
            "kfine calibrate"
        )
    parts = measured_parts(acquisition.scan.crop)
    Statement(resolved.calibration, parts, resolved.calibrated_by).multiplier(options.confidence)


def resolved_of(acquisition: Acquisition, options: Options) -> ResolvedMethod:
    """Return the method of the planes, its model loaded; see `choose_method` for errors."""
    measured = acquisition.measured
    return choose_method(
        options,
        measurements=lambda: measurements(measured, acquisition.scan, acquisition.scaling),
        scan=acquisition.scan,
        like=ranges_of(measured, acquisition.scaling, high=acquisition.high),
    )


def _restored_planes(
    acquisition: Acquisition,
    resolved: ResolvedMethod,
    options: Options,
    *,
    slices: tuple[int, int] | None,
    keep_samples: bool,
    planes_a_call: int | None,
    parts: Path | None,
    watch: Watch,
    through: ResolvedMethod | None,
) -> Restoration:
    """Return the restoration of the measured slices, in plane and time."""
    measured = acquisition.measured
    first, part = (slices[0], measured.take_slices(*slices)) if slices else (0, measured)
    work = _work(acquisition, resolved, options, planes_a_call=planes_a_call, keep=keep_samples)
    watch.method(resolved.method.name)
    provenance = replace(
        Provenance.of(acquisition, resolved, options, slices=slices, through=through),
        uncertainty=_stated(work.statement, options),
    )
    store = None if parts is None else ResumeStore(parts, _recipe(measured, work, provenance))
    room = Room(work.at_once)
    voxels, residual = stream(part, work, first=first, watch=watch, parts=store, room=room)
    at = acquisition.timing.at if measured.frame_times is not None else None
    images = {name: part.with_frames(array, at) for name, array in voxels.items() if name != "samples"}
    return Restoration(
        images["mean"],
        images.get("std"),
        tuple(part.with_frames(array, at) for array in voxels.get("samples", ())),
        residual,
        replace(provenance, residual=residual, memory=room.record),
        statement=work.statement,
        sharp=images.get("sharp"),
    )


def _work(
    acquisition: Acquisition,
    resolved: ResolvedMethod,
    options: Options,
    *,
    planes_a_call: int | None,
    keep: bool,
) -> Work:
    """Return what is done with each slice."""
    if planes_a_call is not None and planes_a_call < 1:
        raise UsageError(f"planes_a_call {planes_a_call}: expected at least 1")
    rows, columns = acquisition.high
    at_once = planes_a_call or max(1, PIXELS_A_CALL[resolved.device.type] // (rows * columns))
    air = FrameByFrame(ZeroFilling(), "nearest") if resolved.model else None
    statement = None
    if resolved.calibration is not None and not acquisition.timing.changed:
        parts = measured_parts(acquisition.scan.crop)
        statement = Statement(resolved.calibration, parts, resolved.calibrated_by)
    return Work(
        acquisition.scan,
        acquisition.scaling,
        resolved.method,
        seed=options.seed,
        at_once=at_once,
        keep=keep,
        air=air,
        statement=statement,
        sharp=resolved.sharp,
    )


def _noise_of(acquisition: Acquisition) -> float:
    """Return the noise estimated from raw k-space, as a part of full intensity."""
    known = acquisition.measured.source.acquisition
    if known is None:
        raise UsageError(
            "noise data: expected raw k-space, whose noise is estimated from the data, got another image; give a number"
        )
    return float(known["noise"]) / acquisition.scaling.full


def _recipe(image: Image, work: Work, provenance: Provenance) -> dict[str, Any]:
    """Return everything that decides the voxels of a slice, to the last bit."""
    voxels = hashlib.sha256(np.ascontiguousarray(image.voxels).tobytes())
    if image.coverage is not None:
        voxels.update(np.ascontiguousarray(image.coverage).tobytes())
    return provenance.before() | {
        "voxels": voxels.hexdigest(),
        "at_once": work.at_once,
        "keep": work.keep,
    }
