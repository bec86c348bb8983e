"""Schedules: decreasing tensors of sigma.  A schedule of K values costs K network evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

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
