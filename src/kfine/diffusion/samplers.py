"""Samplers: functions of (denoiser, start, sigmas) that follow a schedule down and return an image.

All of them work on x_sigma = x + sigma n, end with the denoised image at the last sigma, and evaluate the
denoiser once for every sigma.  `correct(x_sigma, sigma)`, where given, replaces the state before it is denoised.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

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
        if previous is not None:
            ahead = denoised + (denoised - previous) * step / (2 * last_step)
        x = (below / sigma) * x + (1 - below / sigma) * ahead
        previous, last_step = denoised, step
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver-2m": dpm_solver_2m}


class SeededNoise:
    """Standard normal noise from one generator an image, so that a draw does not depend on the batch.

    Args:
        seeds: for each image of the batch, the integers that name it (seed, slice, sample ...).
    """

    def __init__(self, seeds: Sequence[Sequence[int]]) -> None:
        self._generators = [torch.Generator().manual_seed(_mixed(seed)) for seed in seeds]

    def __call__(self, x: Tensor) -> Tensor:
        """Return noise of the shape, type and device of `x` (batch, ...); for complex x, unit noise in each part."""
        real = torch.view_as_real(x) if x.is_complex() else x
        draws = [torch.randn(real.shape[1:], generator=g, dtype=torch.float32) for g in self._generators]
        drawn = torch.stack(draws).to(device=x.device, dtype=real.dtype)
        return torch.view_as_complex(drawn) if x.is_complex() else drawn


def _mixed(seed: Sequence[int]) -> int:
    """Return 63 bits that differ for different sequences (SplitMix64's mixing step, folded)."""
    state = 0
    for part in seed:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
