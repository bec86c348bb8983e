"""Guided sampling of a batch of planes: the steps that every diffusion method in image space shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kfine.diffusion.guidance import consistent, measured_state, noise_aware
from kfine.diffusion.noise import SeededNoise
from kfine.diffusion.samplers import SAMPLERS, Denoiser
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class Guidance:
    """How samples are drawn and held to the measurement.

    Attributes:
        sampler: a name of `kfine.diffusion.samplers.SAMPLERS`.
        strength: lambda of the abstract, 0 (the measurement only chooses the start) to 1 (never contradicted).
        noise: standard deviation of the measurement's noise in model units; 0 for exact agreement.
        prior_std: standard deviation of a pixel of the prior in model units, for `noise` > 0.
        state: whether the measurement replaces the state (the abstract's rule) also at strength 1.
    """

    sampler: str = "dpm-solver-2m"
    strength: float = 1.0
    noise: float = 0.0
    prior_std: float = 0.5
    state: bool = False


def sample_planes(
    denoiser: Denoiser,
    operator: KSpaceCrop,
    y: Tensor,
    *,
    sigmas: Tensor,
    guidance: Guidance,
    seeds: Sequence[Sequence[int]],
    from_noise: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Draw one sample of x given y for each plane of the batch.

    Args:
        denoiser: (x_sigma, sigma) -> x for x (batch, *operator.high) in model units.
        operator: A.
        y: measurements (batch, *operator.low), complex, in model units.
        sigmas: the schedule; its first value is where sampling starts.
        guidance: sampler, strength and noise.
        seeds: the integers that name each plane's noise, one sequence a plane; the last one is the sample's number
            (see `SeededNoise`, with pairs).
        from_noise: start from pure noise instead of the zero-filled image plus noise.
        on_step: called after every evaluation of the denoiser.

    Returns:
        (batch, *operator.high), real when the operator's domain is.  At strength 1 without noise each sample
        reproduces its y to floating-point accuracy.
    """
    noise = SeededNoise(seeds, pairs=True)

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoiser(x, sigma)
        on_step()
        return denoised

    exact = guidance.strength == 1 and guidance.noise == 0
    guided: Denoiser = counted
    if exact:
        guided = consistent(counted, operator, y)
    elif guidance.strength == 1:
        guided = noise_aware(counted, operator, y, noise_std=guidance.noise, prior_std=guidance.prior_std)
    correct = None
    if guidance.strength > 0 and (guidance.state or guidance.strength < 1):
        correct = measured_state(operator, y, weight=guidance.strength, noise=noise)
    zero_filled = operator.pseudo_inverse(y)
    origin = torch.zeros_like(zero_filled) if from_noise else zero_filled
    start = origin + sigmas[0] * noise(origin)
    x = SAMPLERS[guidance.sampler](guided, start, sigmas, noise=noise, correct=correct)
    return operator.project_in_double(x, y) if exact else x
