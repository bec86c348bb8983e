"""restore(image): the one way from a low-resolution image to a high-resolution one, for every method."""

from __future__ import annotations

import hashlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from operator import index
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kfine._version import __version__
from kfine.acquisition.grid import Matrix, aspect_note, high_matrix, show
from kfine.acquisition.scan import Scan, crop_of, timing_of_image
from kfine.acquisition.zero_fill import measured_block, without_filling
from kfine.errors import UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.io.checks import check_finite
from kfine.methods.frame_by_frame import FrameByFrame
from kfine.methods.zero_filling import ZeroFilling
from kfine.models.checkpoint import Model
from kfine.models.domain import ranges_of
from kfine.restoration.inputs import Input, image_of, path_of
from kfine.restoration.options import Choice
from kfine.restoration.result import Restoration
from kfine.restoration.resume import Parts
from kfine.restoration.selection import choose_method
from kfine.restoration.streaming import Watch, Work, measurements, stream

# Planes a network call: about what keeps a processor's caches and a GPU's cores busy.
PIXELS_A_CALL = {"cpu": 8 * 128 * 128, "cuda": 64 * 256 * 256, "mps": 16 * 128 * 128}
SIGN = 1e-3  # of the greatest value: a lesser one below 0 comes of rounding
NOTICE = "research software, not a medical device"


def restore(
    image: Input,
    *,
    voxel_size: Sequence[float] | None = None,
    axes: str | None = None,
    matrix: Matrix | None = None,
    scale: float | None = None,
    frames_scale: int | None = None,
    frames: int | None = None,
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
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    parts: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_slices: Callable[[int, int], None] = lambda first, stop: None,
    on_method: Callable[[str], None] = lambda name: None,
) -> Restoration:
    """Return `image` at a larger matrix over the same field of view, at more times, or both.

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
        scale: instead of `matrix`, the factor by which rows and columns grow.  Both may be left out when frames are
            asked for: the matrix stays.
        frames_scale: s, to put s - 1 frames evenly into each interval between two measured ones; with a period also
            between the last and the first.
        frames: instead of `frames_scale`, how many frames to restore: evenly round the period, or without one from
            the first to the last.  A measured frame that is at none of their times only helps to find them.
            Without frame times, frames are taken as evenly spaced.
        method: a name of `kfine.restoration.options.METHODS`; "auto" goes by what the image is: a heart beat
            (frames with a period), measured k-space, an image like those that a model was trained on, or any other
            (`kfine.restoration.automatic.pick`); the provenance says why.
        time_method: of a method that works frame by frame: "nearest", "linear", "cubic", "band-limited" or
            "optical-flow"; None takes the best.
        model: a packaged model's name, a model folder or a loaded model; None takes the method's own.
        steps: network evaluations a sample; None takes the model's.
        samples: samples a slice; None takes the model's.
        strength: guidance weight lambda, 0 to 1; at 1 the measured k-space is never contradicted.
        noise: standard deviation of the noise in a voxel of `image`, as a fraction of its full intensity;
            above 0 the result may differ from the measurement by about that much.  "data": as it was told from raw
            k-space.
        denoise: whether "core" removes the noise, of the level `noise` or, where that is 0, as estimated from the
            image; otherwise what was measured stays, noise included.
        sampler: "dpm-solver-2m", "ddim" or "ancestral"; None takes the model's.
        start: noise level at which sampling starts.  Of "vdm" in model units, from the zero-filled image; inf starts
            from pure noise; None is inf where the network sees the scan, and else estimated from its spectrum.  Of
            "ldm" and "cine-ldm" in standard deviations of their latents, from the prediction's; None is the model's.
        conditioned: whether the network sees the scan (p(x | y)); if not, the measurement acts through the
            guidance alone, as in the abstract (p(x), guided).  None takes the model's own.
        seed: of all noise; equal seeds give equal voxels, to rounding whatever `planes_a_call` and `slices`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: of the network: "auto", "float32" or "bfloat16".
        slices: (first, stop) of the slices to restore; intensities are still judged over the whole image.
        keep_samples: whether the result holds every sample.
        planes_a_call: planes the network sees at once; None fits the device.
        parts: a folder, which may not exist yet, for finished slices: they are kept there, and those of an
            interrupted run of the same image and options are taken from there.  Whoever gives it removes it.
        on_progress: called with (done, total) evaluations.
        on_slices: called with (first, stop), the slices of `image` that are restored from now on.
        on_method: called with the name of the method, once it is chosen.

    Warns:
        UserWarning: the image is far from what its model was trained on; the property is named.  Or the scanner had
            filled up its k-space (`kfine.acquisition.zero_fill`).

    Raises:
        UsageError: options that contradict each other or are out of range.
        InputError: an image (a voxel that is not finite) or a target that cannot be used.
        ModelError: a model that cannot be found, read or trusted.
        ResourceError: a device that is not there, or too little memory.
    """
    began = time.perf_counter()
    low = whole = image_of(image, voxel_size=voxel_size, axes=axes)
    check_finite(low.voxels, name=low.source.name or "image")
    seed = index(seed)  # of numpy too, whose integers are no JSON
    timing = timing_of_image(low, frames_scale=frames_scale, frames=frames)
    block, displayed, signed = measured_block(low), low.matrix, has_sign(low)
    high = high_matrix(displayed, matrix=matrix, scale=scale, may_stay=timing.changed or block != displayed)
    low = _as_measured(low, block, high)
    scan = Scan(crop_of(low, high), timing, signed=signed)
    scaling = Scaling.of(low.voxels)
    chosen = choose_method(
        Choice(
            method=method, model=model, time_method=time_method, steps=steps, samples=samples, strength=strength,
            noise=_noise_of(low, scaling) if noise == "data" else noise, denoise=denoise,
            sampler=sampler, start=start, conditioned=conditioned, device=device, precision=precision,
        ),
        measurements=lambda: measurements(low, scan, scaling),
        scan=scan,
        like=ranges_of(low, scaling, high=high),
    )  # fmt: skip
    if planes_a_call is not None and planes_a_call < 1:
        raise UsageError(f"planes_a_call {planes_a_call}: expected at least 1")
    first = slices[0] if slices else 0
    part = low.take_slices(*slices) if slices else low
    at_once = planes_a_call or max(1, PIXELS_A_CALL[chosen.device.type] // (high[0] * high[1]))
    on_method(chosen.method.name)
    air = FrameByFrame(ZeroFilling(), "nearest") if chosen.description["model"] else None
    work = Work(scan, scaling, chosen.method, seed=seed, at_once=at_once, keep=keep_samples, air=air)
    asked = {"frames_scale": frames_scale, "frames": frames}
    made_by = _provenance(low, work, chosen.description, slices=slices, asked=asked, displayed=displayed)
    store = Parts(Path(parts), _recipe(low, work, made_by)) if parts is not None else None
    voxels, residual = stream(part, work, first=first, watch=Watch(on_progress, on_slices), parts=store)
    at = timing.at if low.frame_times is not None else None
    images = {name: part.with_frames(array, at) for name, array in voxels.items() if name != "samples"}
    drawn = tuple(part.with_frames(array, at) for array in voxels.get("samples", ()))
    provenance = made_by | {f"relative_{'magnitude' if scan.magnitude else 'kspace'}_residual": residual}
    provenance |= {"notice": NOTICE}
    return Restoration(
        images["mean"], images.get("std"), drawn, residual, provenance,
        seconds=time.perf_counter() - began, low=whole, path=path_of(image),
    )  # fmt: skip


def _as_measured(image: Image, block: Matrix, high: Matrix) -> Image:
    """Return the image without its scanner's zero filling; note that, and a matrix that makes voxels oblong."""
    if note := aspect_note(image, high):
        warnings.warn(note, UserWarning, stacklevel=3)
    if block == image.matrix:
        return image
    warnings.warn(
        f"the scanner filled up {show(block)} measured points to {show(image.matrix)}: the measured ones are restored",
        UserWarning,
        stacklevel=3,
    )
    return without_filling(image, block)


def has_sign(image: Image) -> bool:
    """Return whether a real image has values of both signs, as no scanner's magnitudes have."""
    if image.measured:
        return False
    low, high = float(image.voxels.min()), float(image.voxels.max())
    return low < -SIGN * max(high, -low)


def _noise_of(image: Image, scaling: Scaling) -> float:
    """Return the noise that was told from raw k-space, as a part of full intensity."""
    if image.source.acquisition is None:
        raise UsageError(
            "noise data: expected raw k-space, whose noise was told from the data, got another image; give a number"
        )
    return float(image.source.acquisition["noise"]) / scaling.full


def _provenance(
    image: Image,
    work: Work,
    description: dict[str, Any],
    *,
    slices: tuple[int, int] | None,
    asked: dict[str, int | None],
    displayed: Matrix,
) -> dict[str, Any]:
    """Return what is known before the work."""
    source, crop = image.source, work.scan.crop
    filled_up = {"displayed": list(displayed)} if displayed != crop.low else {}
    return {
        "software": {
            "kfine": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "input": {
            "kind": source.kind,
            "name": source.name,
            "sha256": source.digest,
            **({"remarks": list(source.remarks)} if source.remarks else {}),
        },
        "kspace": "measured" if image.measured else "simulated from a real image",
        **({"acquisition": source.acquisition} if source.acquisition else {}),
        "matrix": {"measured": list(crop.low), **filled_up, "restored": list(crop.high)},
        "frames": {"asked": asked, **_frames(image, work.scan)},
        "slices": list(slices) if slices else None,
        "intensity_full_scale": work.scaling.full,
        **description,
        "seed": work.seed,
    }


def _frames(image: Image, scan: Scan) -> dict[str, Any]:
    """Return how many frames were measured and are restored, and when."""
    timing = scan.timing
    times: dict[str, Any] = {"times": "not known; frames taken as evenly spaced"}
    if image.frame_times is not None:
        times = {
            "times_s": {"measured": list(timing.times), "restored": list(timing.at)},
            "period_s": timing.period,
        }
    return {
        "measured": len(timing.times),
        "restored": len(timing.at),
        "restored_at_measured_times": [restored for _, restored in timing.pairs],
        **(times if image.frames > 1 else {}),
    }


def _recipe(image: Image, work: Work, made_by: dict[str, Any]) -> dict[str, Any]:
    """Return everything that decides the voxels of a slice, to the last bit."""
    voxels = hashlib.sha256(np.ascontiguousarray(image.voxels).tobytes())
    if image.coverage is not None:
        voxels.update(np.ascontiguousarray(image.coverage).tobytes())
    return made_by | {"voxels": voxels.hexdigest(), "at_once": work.at_once, "keep": work.keep}
