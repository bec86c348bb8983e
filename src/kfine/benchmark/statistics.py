"""Means over patients with bootstrap confidence intervals, alone and as differences within patients.

What the tables show is the percentile bootstrap interval.  Whether a difference could be chance is another question,
and the t interval answers it: of so few patients as a benchmark has, the bootstrap's is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

LEVEL = 0.95
RESAMPLES = 4000
SEED = 0
# How often a 95 % percentile interval misses the mean of so few normal values (each resample counted, 40 000 draws).
MISSES = {2: 0.50, 3: 0.25, 4: 0.20, 5: 0.16}


@dataclass(frozen=True)
class Estimate:
    """A mean over patients.

    Attributes:
        mean: nan where no patient has a value.
        low, high: borders of the 95 % bootstrap interval; nan below two patients.
        patients: how many.
        t_low, t_high: borders of Student's 95 % t interval; nan below two patients.
    """

    mean: float
    low: float
    high: float
    patients: int
    t_low: float = math.nan
    t_high: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether the t interval leaves out 0: of differences within patients, the two-sided paired t test at 5 %."""
        return self.t_low > 0 or self.t_high < 0


def over_patients(values: Mapping[str, float]) -> Estimate:
    """Return the mean of one value a patient, its percentile bootstrap (Efron 1979) and its t interval (Student 1908).

    Values that are nan are left out.  With the same seed every time, equal values give equal intervals.  A percentile
    interval lies between the least and the greatest value: `MISSES` says how often it misses the mean of normal values
    where they are few.  The t interval, mean +- t s / sqrt(n), is exact for these.
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
    half = stats.t.ppf((1 + LEVEL) / 2, known.size - 1) * known.std(ddof=1) / math.sqrt(known.size)
    return Estimate(
        mean, float(result.low), float(result.high), known.size, float(mean - half), float(mean + half)
    )


def paired(values: Mapping[str, float], others: Mapping[str, float]) -> Estimate:
    """Return the mean difference values - others within patients that have both."""
    both = {who: values[who] - others[who] for who in values if who in others}
    return over_patients(both)
