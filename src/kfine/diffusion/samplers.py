"""Samplers: functions of (denoiser, start, sigmas) that follow a schedule down and return an image.

All of them work on x_sigma = x + sigma n, end with the denoised image at the last sigma, and evaluate the
denoiser once for every sigma.  `correct(x_sigma, sigma)`, where given, replaces the state before it is denoised.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Correction = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Sampler = Callable[..., Tensor]


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
        if previous is not None and last_step > 0:  # equal sigmas are no step, and tell nothing of a slope
            ahead = denoised + (denoised - previous) * step / (2 * last_step)
        x = (below / sigma) * x + (1 - below / sigma) * ahead
        previous, last_step = denoised, step
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver-2m": dpm_solver_2m}
