"""The noise of samples, named by integers and drawn in pairs of opposite sign, and the spread of such samples.

A sample is nearly an odd function of its noise around the mean: two samples from n and -n average to what many
independent ones do (antithetic variates, Hammersley and Morton 1956).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """Standard normal noise from one generator an image, so that a draw does not depend on the batch.

    Args:
        seeds: for each image of the batch, the integers that name it (seed, slice, sample ...).
        pairs: whether the last integer counts samples in pairs: 2k + 1 draws the noise of 2k, its sign changed.
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

    Var = E[Var within pairs] + Var[pair means]: n - 1 of all samples would count a pair's two opposite samples as
    independent and come out too large.  The second part is small and needs two pairs; with one pair it is left
    out.  A last sample without its partner is left out.
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
