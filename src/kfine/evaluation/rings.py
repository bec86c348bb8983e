"""Fourier ring correlation and relative error in each ring of k-space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.evaluation.metrics import checked
from kfine.operators.fourier import fft2c

Curve = NDArray[np.float64]

RINGS = 32
HALF = 0.5  # correlation below which detail counts as unresolved
_NOTHING = 1e-12  # of the reference's energy in a ring: rounding


@dataclass(frozen=True)
class Rings:
    """Two slices compared in rings of k-space, from the centre outwards; nan for a ring without k-space points.

    Attributes:
        correlation: Fourier ring correlation: 1 for full agreement, 0 for none.
        error: ||K' - K|| / ||K|| of the ring: 0 at best; an empty ring has 1, so that a ring above 1 is worse than an
            empty one.
    """

    correlation: Curve
    error: Curve


def frequencies(rings: int = RINGS) -> Curve:
    """Return the middle of each ring as a fraction of the Nyquist frequency."""
    return (np.arange(rings) + 0.5) / rings


def ring_numbers(shape: tuple[int, int], rings: int = RINGS) -> NDArray[np.int64]:
    """Return the ring of each point of centred k-space; `rings` for corners and the Nyquist line, outside the last.

    Frequencies are fractions of the Nyquist frequency of each direction, so that rings are ellipses.
    """
    rows, columns = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    radius = np.hypot(rows[:, None], columns[None, :])
    return np.minimum(np.floor(radius * rings), rings).astype(np.int64)


def fourier_rings(reference: NDArray[Any], restored: NDArray[Any], *, rings: int = RINGS) -> Rings:
    """Return the agreement of two slices (row, column), real and in the same units, in each ring.

    Correlation: Re sum K K'* / sqrt(sum |K|^2 sum |K'|^2) over the ring (Saxton and Baumeister 1982, J. Microsc.
    127:127; van Heel 1987, Ultramicroscopy 21:95).  0 if the restored slice has no energy in the ring.
    """
    a, b = (_kspace(plane) for plane in checked(reference, restored, 1.0, None))
    numbers = ring_numbers((a.shape[0], a.shape[1]), rings).ravel()

    def summed(values: NDArray[np.float64]) -> Curve:
        return np.bincount(numbers, values.ravel(), minlength=rings + 1)[:rings].astype(np.float64)

    of_a, of_b = summed(np.abs(a) ** 2), summed(np.abs(b) ** 2)
    shared, wrong = summed((a * b.conj()).real), summed(np.abs(b - a) ** 2)
    there = of_a > 0
    correlation, error = np.full(rings, np.nan), np.full(rings, np.nan)
    error[there] = np.sqrt(wrong[there] / of_a[there])
    correlation[there] = 0.0
    known = there & (of_b > _NOTHING * of_a)
    correlation[known] = shared[known] / np.sqrt(of_a[known] * of_b[known])
    return Rings(correlation, error)


def resolved(correlation: Curve, *, threshold: float = HALF) -> float:
    """Return the fraction of the Nyquist frequency at which a correlation curve first falls below `threshold`.

    Linear interpolation between the middles of the rings; 1 if it never falls below, 0 if the first ring is below, nan
    without a ring.

    >>> resolved(np.array([1.0, 1.0, 0.0, 0.0]))
    0.5
    """
    known = ~np.isnan(correlation)
    values, places = correlation[known], frequencies(len(correlation))[known]
    if not values.size:
        return float("nan")
    below = np.flatnonzero(values < threshold)
    if not below.size:
        return 1.0
    first = int(below[0])
    if first == 0:
        return 0.0
    high, low = values[first - 1], values[first]
    part = (high - threshold) / (high - low)
    return float(places[first - 1] + part * (places[first] - places[first - 1]))


def _kspace(plane: NDArray[np.float64]) -> NDArray[np.complex128]:
    return fft2c(torch.from_numpy(np.ascontiguousarray(plane))).numpy()
