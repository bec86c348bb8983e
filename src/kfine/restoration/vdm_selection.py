"""How a VDM samples: its model's own settings with the user's in their place, and the start that fits the scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from kfine.errors import UsageError
from kfine.methods.sampling import Guidance
from kfine.methods.start import start_sigma
from kfine.methods.vdm import VDMOptions
from kfine.models.sampling_defaults import ModelSampling
from kfine.operators.kspace import KSpaceCrop
from kfine.restoration.options import Choice


def vdm_options(
    choice: Choice, own: ModelSampling, *, power: Callable[[], Tensor], operator: KSpaceCrop
) -> VDMOptions:
    """Return the model's own settings with the user's in their place."""
    defaults = VDMOptions()
    if choice.conditioned and not own.conditioned:
        raise UsageError("conditioned: expected a model that was trained on scans, this one never saw any")
    conditioned = own.conditioned if choice.conditioned is None else choice.conditioned
    start = choice.start or own.start
    if start is None and conditioned:
        start = math.inf  # what the network sees of the scan is a better start than the zero-filled image
    elif start is None:
        start = start_sigma(power(), operator.high, own.start_factor)
    guidance = Guidance(
        sampler=choice.sampler or own.sampler or defaults.guidance.sampler,
        strength=choice.strength,
        # A voxel's noise in model units, spread over the finer grid's orthonormal k-space.
        noise=2 * choice.noise * math.sqrt(math.prod(operator.high) / math.prod(operator.low)),
    )
    return replace(
        defaults,
        steps=choice.steps or own.steps or defaults.steps,
        samples=choice.samples or own.samples or defaults.samples,
        # The abstract's sampler brings the abstract's own rule, on the state.
        guidance=replace(guidance, state=guidance.sampler == "ancestral"),
        start=None if math.isinf(start) else start,
        conditioned=conditioned,
        turned=own.turned,
        last=own.last or defaults.last,
    )


def mean_power(measurements: Iterable[Tensor]) -> Tensor:
    """Return the mean |y|^2 of the planes that hold at least a tenth of the strongest one's signal."""
    powers = [y.abs().square() for y in measurements]
    signals = [float(power.sum() - power.max()) for power in powers]
    return torch.stack([p for p, s in zip(powers, signals, strict=True) if s >= 0.1 * max(signals)]).mean(0)
