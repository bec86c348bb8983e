"""Means over patients with bootstrap confidence intervals, alone and as differences within patients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

LEVEL = 0.95
RESAMPLES = 4000
SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A mean over patients.

    Attributes:
        mean: nan where no patient has a value.
        low, high: borders of the 95 % interval; nan below two patients.
        patients: how many.
    """

    mean: float
    low: float
    high: float
    patients: int

    @property
    def sure(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def over_patients(values: Mapping[str, float]) -> Estimate:
    """Return the mean of one value a patient and its percentile bootstrap interval (Efron 1979) over patients.

    Values that are nan are left out.  With the same seed every time, equal values give equal intervals.  With a
    handful of patients such an interval is too short: it says how much the patients at hand differ, not what others
    will show.
    """
    known = np.array([value for value in values.values() if not math.isnan(value)])
    mean = float(known.mean()) if known.size else math.nan
    if known.size < 2 or not np.isfinite(known).all():
        return Estimate(mean, math.nan, math.nan, known.size)
    result = stats.bootstrap(
        (known,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Estimate(mean, float(result.low), float(result.high), known.size)


def paired(values: Mapping[str, float], others: Mapping[str, float]) -> Estimate:
    """Return the mean difference values - others within patients that have both."""
    both = {who: values[who] - others[who] for who in values if who in others}
    return over_patients(both)
