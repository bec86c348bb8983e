"""Results of a benchmark: records of all cases, means over patients, comparisons with simpler methods.

Tables print the percentile bootstrap interval.  The t interval decides whether a difference could be chance: the
bootstrap interval is too narrow for the few patients of a benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from kfine.benchmark.cases import SAMPLE, Case
from kfine.benchmark.competitors import KINDS, SAMPLED_KIND, SINGLE_KIND, kind_of
from kfine.benchmark.degradations import Degradation
from kfine.benchmark.scoring import BY_KEY, HIGHER, LOWER, MAIN, METRICS
from kfine.evaluation.calibration import Calibration
from kfine.evaluation.metrics import mean_of_known
from kfine.restoration.streaming import Arrays

LEVEL = 0.95
RESAMPLES = 4000
SEED = 0
# Fraction of 95 % percentile intervals that miss the mean of so few normal values (all resamples, 40 000 draws).
MISSES = {2: 0.50, 3: 0.25, 4: 0.20, 5: 0.16}
# Tiers of methods: without training, a network without sampling, many samples.
BASELINE, SINGLE, SAMPLED = range(len(KINDS))
SHARPNESS = ("laplacian_off", "fft_off")
COMPARED = (*MAIN, *SHARPNESS)
BLOCKS = "nearest"  # the edges of its pixels count as sharpness


@dataclass(frozen=True)
class Estimate:
    """A mean over patients.

    Attributes:
        mean: nan if no patient has a value.
        low, high: bounds of the 95 % bootstrap interval; nan for fewer than two patients.
        patients: number of patients.
        t_low, t_high: bounds of Student's 95 % t interval; nan for fewer than two patients.
    """

    mean: float
    low: float
    high: float
    patients: int
    t_low: float = math.nan
    t_high: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether the t interval excludes 0; for differences within patients, the two-sided paired t test at 5 %."""
        return self.t_low > 0 or self.t_high < 0


def over_patients(values: Mapping[str, float]) -> Estimate:
    """Return the mean of one value a patient, its percentile bootstrap (Efron 1979) and its t interval (Student 1908).

    nan values are ignored.  The seed is fixed, so equal values give equal intervals.  A percentile interval lies
    between the least and the greatest value; `MISSES` lists how often it misses the mean of few normal values.  The t
    interval, mean +- t s / sqrt(n), is exact for normal values.
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
    """Return the mean of the differences values - others within the patients that have both."""
    both = {who: values[who] - others[who] for who in values if who in others}
    return over_patients(both)


@dataclass(frozen=True)
class Record:
    """One variant of one case.

    Attributes:
        label: name of the method in tables; that of a sample ends in ", one sample".
        values: metric -> (slice,).
        rings: (slice, 2, ring), correlation and error.
        calibration: calibration of the standard deviation; None without one, or if the variant is not the mean.
        seconds, memory: a slice; MiB.  nan for one sample: only all samples together are timed.
        machine: machine of the measurement.
        notes: warnings of kfine, in the record of the mean.
    """

    case: Case
    label: str
    variant: int
    values: dict[str, NDArray[np.float64]]
    rings: NDArray[np.float64]
    calibration: Calibration | None
    seconds: float
    memory: float
    machine: str
    notes: tuple[str, ...] = ()

    def picture(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the restored middle slice of the truth, and its standard deviation or None."""
        arrays = self._middle()
        return arrays["pictures"][self.variant], arrays.get("spread")

    def half_width(self) -> NDArray[Any] | None:
        """Return half the width of the 90 % interval of that slice, or None."""
        return self._middle().get("half_width")

    def _middle(self) -> Arrays:
        truth = self.case.truth
        arrays = self.case.parts.load(truth.numbers[truth.middle])
        assert arrays is not None, "the slices of a record are saved"
        return arrays


def records_of(case: Case, slices: list[Arrays]) -> list[Record]:
    """Return the records of a finished case: that of the mean, and that of a sample if there is one."""
    scores = np.stack([arrays["scores"] for arrays in slices], axis=1)
    rings = np.stack([arrays["rings"] for arrays in slices], axis=1)
    sums = [arrays["calibration"] for arrays in slices if "calibration" in arrays]
    seconds, memory = slices[0]["cost"]
    return [
        Record(
            case=case,
            label=case.competitor.name + SAMPLE * variant,
            variant=variant,
            values={metric.key: scores[variant, :, at] for at, metric in enumerate(METRICS)},
            rings=rings[variant],
            calibration=Calibration(np.sum(sums, axis=0)) if sums and not variant else None,
            seconds=math.nan if variant else float(seconds),
            memory=math.nan if variant else float(memory),
            machine=str(slices[0]["machine"]),
            notes=() if variant else tuple(map(str, slices[0]["notes"])),
        )
        for variant in range(len(scores))
    ]


@dataclass(frozen=True)
class Failure:
    """A case without a result, and the reason."""

    degradation: str
    subject: str
    method: str
    reason: str


@dataclass(frozen=True)
class Results:
    """All records.

    Attributes:
        about: fixed settings, JSON-ready: folder, subjects, slices, seed, software, machine, methods.
        degradations: degradations, in the order of the tables.
        warnings: one line each: reasons why figures are no test.
        notes: one line each: missing results, and the reasons.
    """

    about: dict[str, Any]
    degradations: tuple[Degradation, ...]
    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def methods(self) -> list[str]:
        """Labels: baselines, networks without sampling, methods that sample; in the order of the call within each."""
        labels = list(dict.fromkeys(record.label for record in self.records))
        return sorted(labels, key=self.tier)

    @cached_property
    def _tiers(self) -> dict[str, int]:
        sampled = {record.case.competitor.name for record in self.records if record.variant}
        tiers = {}
        for record in self.records:
            default = SAMPLED_KIND if record.case.competitor.name in sampled else SINGLE_KIND
            tiers[record.label] = KINDS.index(kind_of(record.case.competitor) or default)
        return tiers

    def tier(self, method: str) -> int:
        """Return the tier of a method: `BASELINE`, `SINGLE` (no sampling) or `SAMPLED`."""
        return self._tiers[method]

    @property
    def subjects(self) -> list[str]:
        """Patients with a result."""
        return sorted({record.case.truth.subject for record in self.records})

    def there(self, degradation: str) -> list[str]:
        """Return the methods with a result under a degradation."""
        return [method for method in self.methods if self.of(degradation, method)]

    def title(self, degradation: str, method: str) -> str:
        """Return the name of a method for a row of a table, with the number of its volumes if some are missing."""
        found = {
            (truth.subject, truth.name) for truth in (r.case.truth for r in self.of(degradation, method))
        }
        volumes, patients = len(self.about["volumes"]), len(self.about["subjects"])
        if len(found) == volumes:
            return method
        if (who := len({subject for subject, _ in found})) < patients:
            return f"{method} ({who} of {patients} patients)"
        return f"{method} ({len(found)} of {volumes} volumes)"

    def of(self, degradation: str, method: str) -> list[Record]:
        """Return the records of one method under one degradation."""
        return [r for r in self.records if r.case.degradation.name == degradation and r.label == method]

    def patients(
        self, degradation: str, method: str, metric: str, *, volumes: Container[str] | None = None
    ) -> dict[str, float]:
        """Return one value a patient: the mean over the slices with a value of the `volumes`, or of all volumes."""
        found: dict[str, list[float]] = {}
        for record in self.of(degradation, method):
            if volumes is None or record.case.truth.name in volumes:
                found.setdefault(record.case.truth.subject, []).extend(record.values[metric].tolist())
        return {who: mean_of_known(values) for who, values in found.items()}

    def volumes(self, degradation: str, method: str, metric: str) -> set[str]:
        """Return the names of the volumes for which a method has a value."""
        return {
            record.case.truth.name
            for record in self.of(degradation, method)
            if not np.isnan(record.values[metric]).all()
        }

    def estimate(self, degradation: str, method: str, metric: str) -> Estimate:
        """Return the mean over patients."""
        key = degradation, method, metric
        if key not in self._estimates:
            self._estimates[key] = over_patients(self.patients(*key))
        return self._estimates[key]

    @cached_property
    def _estimates(self) -> dict[tuple[str, str, str], Estimate]:
        """Cache of `estimate`: all tables use the same estimates."""
        return {}

    def difference(self, degradation: str, method: str, other: str, metric: str) -> Estimate:
        """Return the difference `method` - `other` in a metric, within patients, over the volumes of both."""
        both = set.intersection(*(self.volumes(degradation, which, metric) for which in (method, other)))
        return paired(*(self.patients(degradation, which, metric, volumes=both) for which in (method, other)))

    def gain(self, degradation: str, method: str, other: str, metric: str) -> Estimate:
        """Return the gain of `method` over `other`: the difference, or its negative if lower is better."""
        if BY_KEY[metric].best == LOWER:
            method, other = other, method
        return self.difference(degradation, method, other, metric)

    def complete(self, degradation: str, metric: str, among: Iterable[str]) -> dict[str, float]:
        """Return the means of the methods that have a value for each volume for which any of `among` has one.

        Means over different volumes would compare volumes, not methods.
        """
        known = {method: self.volumes(degradation, method, metric) for method in among}
        every = set().union(*known.values())
        return {
            method: self.estimate(degradation, method, metric).mean
            for method, which in known.items()
            if which and which == every
        }

    def best(self, degradation: str, metric: str, among: Iterable[str]) -> str | None:
        """Return the method with the best mean among the `complete` ones.

        None if there is none, or if the metric has no better end.
        """
        sign = {HIGHER: 1, LOWER: -1}.get(BY_KEY[metric].best)
        known = self.complete(degradation, metric, among)
        if sign is None or not known:
            return None
        return max(known, key=lambda method: sign * known[method])

    @property
    def baselines(self) -> list[str]:
        """Methods without training."""
        return [method for method in self.methods if self.tier(method) == BASELINE]

    def rings(self, degradation: str, method: str) -> NDArray[np.float64]:
        """Return correlation and error (2, ring): the mean over patients of the means over their slices."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        for record in self.of(degradation, method):
            found.setdefault(record.case.truth.subject, []).extend(record.rings)
        return _nanmean([_nanmean(curves) for curves in found.values()])

    def calibration(self, degradation: str, method: str) -> Calibration | None:
        """Return the calibration over the voxels of all patients, None for a method without standard deviation."""
        found = [r.calibration for r in self.of(degradation, method) if r.calibration is not None]
        return Calibration(np.sum([each.sums for each in found], axis=0)) if found else None

    def cost(self, degradation: str, method: str) -> tuple[float, float]:
        """Return the median seconds a slice and the greatest memory in MiB over the volumes."""
        found = self.of(degradation, method)
        if not found:
            return math.nan, math.nan
        return float(np.median([r.seconds for r in found])), max(r.memory for r in found)


def _nanmean(curves: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over curves, ignoring nan; nan where all are nan, without numpy's warning."""
    stacked = np.stack(curves)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


@dataclass(frozen=True)
class Win:
    """One metric in which the best simpler method is better than a method.

    Attributes:
        method: the method of the higher tier.
        simpler: the best method of the lower tiers.
        gain: gain of `simpler` over `method`, over patients, in units of the metric.
    """

    degradation: str
    metric: str
    method: str
    simpler: str
    gain: Estimate


def wins(results: Results) -> tuple[list[Win], int]:
    """Return all wins of simpler methods, and the number of comparisons.

    A baseline is simpler than a network, a network without sampling is simpler than one that samples.  The comparisons
    are of the image metrics and of the deviation of sharpness, with the best simpler method under each degradation;
    nearest neighbour does not compete in sharpness, because its pixels have edges.  A win is a mean over patients that
    is better by at least half of the last digit in tables; `Win.gain.excludes_zero` decides whether it could be chance.
    """
    found, compared = [], 0
    for degradation in results.degradations:
        for metric in COMPARED:
            for method in results.methods:
                if results.tier(method) == BASELINE or not results.of(degradation.name, method):
                    continue
                simpler = [
                    m
                    for m in results.methods
                    if results.tier(m) < results.tier(method) and not (m == BLOCKS and metric in SHARPNESS)
                ]
                best = results.best(degradation.name, metric, simpler)
                if best is None:
                    continue
                gain = results.gain(degradation.name, best, method, metric)
                compared += not math.isnan(gain.mean)
                if gain.mean >= 10.0 ** -BY_KEY[metric].digits / 2:
                    found.append(Win(degradation.name, metric, method, best, gain))
    return found, compared
