"""restore(image): the one way from a low-resolution image to a high-resolution one, for every method."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import kfine
from kfine.checkpoint import Model
from kfine.diffusion.noise import spread as spread_of
from kfine.errors import ResourceError, UsageError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.methods.base import Method
from kfine.methods.choice import Choice, choose_method
from kfine.methods.grids import Matrix, high_matrix
from kfine.operators.kspace import KSpaceCrop, measurement_of

# Planes a network call: about what keeps a processor's caches and a GPU's cores busy.
PIXELS_A_CALL = {"cpu": 8 * 128 * 128, "cuda": 64 * 256 * 256, "mps": 16 * 128 * 128}


@dataclass(frozen=True)
class Restoration:
    """A high-resolution image and how far it can be trusted.

    Attributes:
        mean: the mean of the samples, in the input's intensity units.
        std: their standard deviation voxel by voxel (`kfine.diffusion.noise.spread`), same units; None for a single
            sample.
        samples: every sample, when they were asked for.
        residual: ||A mean - y|| / ||y|| over all planes: how far the mean contradicts the k-space.
        provenance: what made it, JSON-ready.
    """

    mean: Image
    std: Image | None
    samples: tuple[Image, ...]
    residual: float
    provenance: dict[str, Any]


def restore(
    image: Image,
    *,
    matrix: Matrix | None = None,
    scale: float | None = None,
    method: str = "auto",
    model: str | os.PathLike[str] | Model | None = None,
    steps: int | None = None,
    samples: int | None = None,
    strength: float = 1.0,
    noise: float = 0.0,
    sampler: str | None = None,
    start: float | None = None,
    conditioned: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    slices: tuple[int, int] | None = None,
    keep_samples: bool = False,
    planes_a_call: int | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Restoration:
    """Return `image` at a larger matrix over the same field of view.

    The k-space of each slice is taken as the measured centre of the finer one; what a method adds lies outside.

    Args:
        image: real (its Fourier transform stands in for k-space) or complex (measured k-space).
        matrix: (rows, columns) to restore to, each at least the image's.
        scale: instead of `matrix`, the factor by which rows and columns grow.
        method: "auto", "vdm", "regression", "zero-filling", "nearest", "bilinear" or "bicubic".
        model: a packaged model's name, a model folder or a loaded model; None takes the method's own.
        steps: network evaluations a sample; None takes the model's.
        samples: samples a slice; None takes the model's.
        strength: guidance weight lambda, 0 to 1; at 1 the measured k-space is never contradicted.
        noise: standard deviation of the noise in a voxel of `image`, as a fraction of its full intensity;
            above 0 the result may differ from the measurement by about that much.
        sampler: "dpm-solver-2m", "ddim" or "ancestral"; None takes the model's.
        start: noise level in model units at which sampling starts from the zero-filled image; inf starts
            from pure noise; None is inf where the network sees the scan, and else estimated from its spectrum.
        conditioned: whether the network sees the scan (p(x | y)); if not, the measurement acts through the
            guidance alone, as in the abstract (p(x), guided).  None takes the model's own.
        seed: of all noise; equal seeds give equal voxels, whatever `planes_a_call`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: of the network: "auto", "float32" or "bfloat16".
        slices: (first, stop) of the slices to restore; intensities are still judged over the whole image.
        keep_samples: whether the result holds every sample.
        planes_a_call: planes the network sees at once; None fits the device.
        on_progress: called with (done, total) network evaluations of planes.

    Raises:
        UsageError: options that contradict each other or are out of range.
        InputError: an image or a target that cannot be used.
        ModelError: a model that cannot be found, read or trusted.
        ResourceError: a device that is not there, or too little memory.
    """
    high = high_matrix(image.matrix, matrix=matrix, scale=scale)
    operator = KSpaceCrop(high, image.matrix, real=not image.measured)
    scaling = Scaling.of(image.voxels)
    chosen = choose_method(
        Choice(
            method=method, model=model, steps=steps, samples=samples, strength=strength, noise=noise,
            sampler=sampler, start=start, conditioned=conditioned,
            device=device, precision=precision,
        ),
        measurements=lambda: _measurements(image, operator, scaling),
        operator=operator,
    )  # fmt: skip
    if planes_a_call is not None and planes_a_call < 1:
        raise UsageError(f"planes_a_call {planes_a_call}: expected at least 1")
    first = slices[0] if slices else 0
    part = image.take_slices(*slices) if slices else image
    at_once = planes_a_call or max(1, PIXELS_A_CALL[chosen.device.type] // (high[0] * high[1]))
    voxels, residual = _restore_planes(
        part, operator, scaling, chosen.method, seed=seed, first=first, at_once=at_once,
        keep=keep_samples, on_progress=on_progress,
    )  # fmt: skip
    images = {name: _image(part, array) for name, array in voxels.items() if name != "samples"}
    drawn = tuple(_image(part, array) for array in voxels.get("samples", ()))
    provenance = _provenance(image, operator, scaling, chosen.description, seed, slices, residual)
    return Restoration(images["mean"], images.get("std"), drawn, residual, provenance)


def _restore_planes(
    image: Image,
    operator: KSpaceCrop,
    scaling: Scaling,
    method: Method,
    *,
    seed: int,
    first: int,
    at_once: int,
    keep: bool,
    on_progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], float]:
    """Return the arrays "mean", "std" and "samples" in scanner units, and the residual of the mean."""
    shape = (image.frames, image.slices, *operator.high)
    kind, count = image.voxels.dtype, method.samples
    try:
        mean = np.empty(shape, kind)
        std = np.empty(shape, np.float32) if count > 1 else None
        kept = [np.empty(shape, kind) for _ in range(count)] if keep else []
    except MemoryError:
        raise ResourceError(
            f"too little memory for {'x'.join(map(str, shape))} voxels; use --slices A:B"
        ) from None
    done, total = 0, image.frames * image.slices * count * method.evaluations
    wrong = size = 0.0

    def step(evaluations: int) -> None:
        nonlocal done
        done += evaluations
        on_progress(done, total)

    on_progress(0, total)
    for places in _chunks(list(np.ndindex(image.frames, image.slices)), max(1, at_once // count)):
        y = torch.stack([_measurement(image.voxels[place], operator, scaling) for place in places])
        # The seeds carry the slice's number in the whole image: a part of it gets the same voxels.
        seeds = [[(seed, frame, first + slice, sample) for sample in range(count)] for frame, slice in places]
        drawn = method.restore(operator, y, seeds=seeds, at_once=at_once, on_step=step)
        average = drawn.mean(1)
        spread = spread_of(drawn) if std is not None else None
        wrong += float((operator(average) - y).abs().square().sum())
        size += float(y.abs().square().sum())
        for index, place in enumerate(places):
            mean[place] = _to_scanner(average[index], operator, scaling)
            if std is not None and spread is not None:
                std[place] = scaling.spread_to_scanner(spread[index].numpy())
            for sample, array in enumerate(kept):
                array[place] = _to_scanner(drawn[index, sample], operator, scaling)
    arrays: dict[str, Any] = {"mean": mean} | ({"std": std} if std is not None else {})
    return arrays | ({"samples": kept} if keep else {}), (wrong / size) ** 0.5 if size else 0.0


def _measurement(plane: NDArray[Any], operator: KSpaceCrop, scaling: Scaling) -> Tensor:
    """Return y of one low-resolution plane; complex planes keep 0 for air (see `methods.vdm.with_phase`)."""
    units = scaling.to_model(plane) if operator.real else plane * np.float32(2 / scaling.full)
    return measurement_of(torch.from_numpy(np.asarray(units)), operator)


def _measurements(image: Image, operator: KSpaceCrop, scaling: Scaling) -> Iterator[Tensor]:
    for place in np.ndindex(image.frames, image.slices):
        yield _measurement(image.voxels[place], operator, scaling)


def _to_scanner(plane: Tensor, operator: KSpaceCrop, scaling: Scaling) -> NDArray[Any]:
    array = plane.numpy()
    return scaling.to_scanner(array) if operator.real else array * np.float32(scaling.full / 2)  # type: ignore[no-any-return]


def _image(low: Image, voxels: NDArray[Any]) -> Image:
    return low.with_plane(voxels)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _provenance(
    image: Image,
    operator: KSpaceCrop,
    scaling: Scaling,
    description: dict[str, Any],
    seed: int,
    slices: tuple[int, int] | None,
    residual: float,
) -> dict[str, Any]:
    source = replace(image.source, header=None)
    return {
        "software": {
            "kfine": kfine.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "input": {"kind": source.kind, "name": source.name, "sha256": source.digest},
        "kspace": "measured" if image.measured else "simulated from a real image",
        "matrix": {"measured": list(operator.low), "restored": list(operator.high)},
        "slices": list(slices) if slices else None,
        "intensity_full_scale": scaling.full,
        **description,
        "seed": seed,
        "relative_kspace_residual": residual,
        "notice": "research software, not a medical device",
    }
