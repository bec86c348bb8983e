"""Schedules, samplers and the noise of samples.

A schedule is a decreasing tensor of sigma.  Samplers are functions of (denoiser, start, sigmas).  A schedule of K
values costs K evaluations of the network.  All samplers work on x_sigma = x + sigma n, end with the denoised image at
the last sigma, and evaluate the denoiser once for every sigma.  `correct(x_sigma, sigma)`, if there is one, replaces
the state before it is denoised.

The noise of samples is seeded by integers and drawn in pairs of opposite sign.  A sample is nearly an odd function of
its noise around the mean, so the average of the samples from n and -n is as close to the mean as that of many
independent ones (antithetic variates, Hammersley and Morton 1956).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Correction = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Sampler = Callable[..., Tensor]
_TIMES_AT_ONCE = 10_000


class SeededNoise:
    """Standard normal noise with one generator for each image, so that a draw does not depend on the batch.

    Args:
        seeds: for each image of the batch, the integers that identify it (seed, slice, sample ...).
        pairs: whether the last integer counts samples in pairs: 2k + 1 gets the noise of 2k with the opposite sign.
    """

    def __init__(self, seeds: Sequence[Sequence[int]], *, pairs: bool = False) -> None:
        names = [(*seed[:-1], seed[-1] // 2) if pairs else seed for seed in seeds]
        self._signs = [-1.0 if pairs and seed[-1] % 2 else 1.0 for seed in seeds]
        self._generators = [torch.Generator().manual_seed(_mixed(name)) for name in names]

    def __call__(self, x: Tensor) -> Tensor:
        """Return noise of the shape, type and device of `x` (batch, ...); for complex x, unit noise in each part."""
        real = torch.view_as_real(x) if x.is_complex() else x
        draws = [
            sign * torch.randn(real.shape[1:], generator=generator, dtype=torch.float32)
            for sign, generator in zip(self._signs, self._generators, strict=True)
        ]
        drawn = torch.stack(draws).to(device=x.device, dtype=real.dtype)
        return torch.view_as_complex(drawn) if x.is_complex() else drawn


def spread(samples: Tensor) -> Tensor:
    """Return the standard deviation over axis 1 of `samples` (plane, sample, ...), at least two, drawn in pairs.

    Var = E[Var within pairs] + Var[pair means].  The usual estimate would count the two opposite samples of a pair as
    independent and be too large.  The second term is small and needs two pairs; with one pair it is ignored.  A last
    sample without its partner is ignored.
    """
    first, second = samples[:, 0 : samples.shape[1] // 2 * 2 : 2], samples[:, 1::2]
    within = ((first - second).abs() / 2).square().mean(1)
    between = ((first + second) / 2).var(1) if first.shape[1] > 1 else torch.zeros_like(within)
    return (within + between).sqrt()


def _mixed(seed: Sequence[int]) -> int:
    """Return 63 bits that differ for different sequences (SplitMix64's mixing step, folded)."""
    state = 0
    for part in seed:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def uniform_in_gamma(first: float, last: float, steps: int) -> Tensor:
    """Return `steps` sigmas (float64) from `first` down to `last`, evenly spaced in gamma = 2 log sigma."""
    if not (steps >= 1 and first >= last > 0):
        raise ValueError(f"expected steps >= 1 and first >= last > 0, got {steps}, {first} and {last}")
    return torch.linspace(math.log(first), math.log(last), steps, dtype=torch.float64).exp()


def learned(gamma: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Return the sigmas of the learned schedule at `steps` even times from t = 1 down to t = 1 / steps."""
    t = torch.linspace(1, 1 / steps, steps)
    # A gamma network needs a thousand numbers for each time.
    return sigma_of(torch.cat([gamma(part) for part in t.split(_TIMES_AT_ONCE)]))


def sigma_of(gamma: Tensor) -> Tensor:
    """Return sigma = exp(gamma / 2), the noise level of z / alpha."""
    return torch.exp(gamma / 2)


def ancestral(
    denoiser: Denoiser, start: Tensor, sigmas: Tensor, *, noise: Noise, correct: Correction | None = None
) -> Tensor:
    """Return a sample by draws of each state from q(x_s | x_t, x): equation 7 of Kingma et al. 2021, in sigma."""
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
    """Return a sample by Euler steps of the probability-flow equation (DDIM, Song et al. 2021), without new noise."""
    x = start
    for sigma, below in itertools.pairwise(sigmas):
        x = correct(x, sigma) if correct else x
        denoised = denoiser(x, sigma)
        x = denoised + (below / sigma) * (x - denoised)
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


def dpm_solver_2m(
    denoiser: Denoiser, start: Tensor, sigmas: Tensor, *, noise: Noise, correct: Correction | None = None
) -> Tensor:
    """Return a sample by DPM-Solver++ 2M (Lu et al. 2022, algorithm 2) of the probability-flow equation."""
    x, previous, last_step = start, None, torch.tensor(1.0)
    for sigma, below in itertools.pairwise(sigmas):
        x = correct(x, sigma) if correct else x
        denoised = denoiser(x, sigma)
        step = torch.log(sigma / below)
        ahead = denoised
        # Equal sigmas are no step and define no slope.
        if previous is not None and last_step.min() > 0:
            ahead = denoised + (denoised - previous) * step / (2 * last_step)
        x = (below / sigma) * x + (1 - below / sigma) * ahead
        previous, last_step = denoised, step
    return denoiser(correct(x, sigmas[-1]) if correct else x, sigmas[-1])


SAMPLERS: dict[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver-2m": dpm_solver_2m}
