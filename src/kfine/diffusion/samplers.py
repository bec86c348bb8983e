"""Schedules, decreasing tensors of sigma, and samplers, which follow one down and return an image.

Samplers are functions of (denoiser, start, sigmas).  A schedule of K values costs K evaluations of the network.  All
samplers work on x_sigma = x + sigma n, end with the denoised image at the last sigma, and evaluate the
denoiser once for every sigma.  `correct(x_sigma, sigma)`, where given, replaces the state before it is denoised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Correction = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Sampler = Callable[..., Tensor]

_TIMES_AT_ONCE = 10_000


def uniform_in_gamma(first: float, last: float, steps: int) -> Tensor:
    """Return `steps` sigmas (float64) from `first` down to `last`, evenly spaced in gamma = 2 log sigma."""
    if not (steps >= 1 and first >= last > 0):
        raise ValueError(f"expected steps >= 1 and first >= last > 0, got {steps}, {first} and {last}")
    return torch.linspace(math.log(first), math.log(last), steps, dtype=torch.float64).exp()


def learned(gamma: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Return the sigmas of the learned schedule at `steps` even times from t = 1 down to t = 1 / steps."""
    t = torch.linspace(1, 1 / steps, steps)
    # A gamma network holds a thousand numbers for each time.
    return sigma_of(torch.cat([gamma(part) for part in t.split(_TIMES_AT_ONCE)]))


def sigma_of(gamma: Tensor) -> Tensor:
    """Return sigma = exp(gamma / 2), the noise level of z / alpha."""
    return torch.exp(gamma / 2)


def ancestral(
    denoiser: Denoiser, start: Tensor, sigmas: Tensor, *, noise: Noise, correct: Correction | None = None
) -> Tensor:
    """Sample each state from q(x_s | x_t, x): equation 7 of Kingma et al. 2021, in sigma coordinates."""
    x = start
    for sigma, below in itertools.pairwise(sigmas):
        x = correct(x, sigma) if correct else x
        denoised = denoiser(x, sigma)
        kept = (below / sigma).square()
        x = denoised + kept * (x - denoised) + below * (1 - kept).sqrt() * noise(x)
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


def ddim(
    denoiser: Denoiser, start: Tensor, sigmas: Tensor, *, noise: Noise, correct: Correction | None = None
) -> Tensor:
    """Follow the probability-flow equation by Euler steps (DDIM, Song et al. 2021); draws no noise of its own."""
    x = start
    for sigma, below in itertools.pairwise(sigmas):
        x = correct(x, sigma) if correct else x
        denoised = denoiser(x, sigma)
        x = denoised + (below / sigma) * (x - denoised)
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


def dpm_solver_2m(
    denoiser: Denoiser, start: Tensor, sigmas: Tensor, *, noise: Noise, correct: Correction | None = None
) -> Tensor:
    """Follow the probability-flow equation by DPM-Solver++ 2M (Lu et al. 2022, algorithm 2); draws no noise."""
    x, previous, last_step = start, None, torch.tensor(1.0)
    for sigma, below in itertools.pairwise(sigmas):
        x = correct(x, sigma) if correct else x
        denoised = denoiser(x, sigma)
        step = torch.log(sigma / below)
        ahead = denoised
        # Equal sigmas are no step, and say nothing of a slope.
        if previous is not None and last_step.min() > 0:
            ahead = denoised + (denoised - previous) * step / (2 * last_step)
        x = (below / sigma) * x + (1 - below / sigma) * ahead
        previous, last_step = denoised, step
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver-2m": dpm_solver_2m}
