"""Results of a benchmark: records of every case, means over patients, comparisons with simpler methods."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.benchmark.cases import SAMPLE, Case
from kfine.benchmark.competitors import KINDS, SAMPLED_KIND, SINGLE_KIND, kind_of
from kfine.benchmark.degradations import Degradation
from kfine.benchmark.scoring import BY_KEY, HIGHER, LOWER, MAIN, METRICS
from kfine.benchmark.statistics import Estimate, over_patients, paired
from kfine.evaluation.calibration import Calibration
from kfine.evaluation.metrics import mean_of_known
from kfine.restoration.streaming import Arrays

# How much a method does: nothing learnt, a network without sampling, many samples.
BASELINE, SINGLE, SAMPLED = range(len(KINDS))


@dataclass(frozen=True)
class Record:
    """One variant of one case.

    Attributes:
        label: the method as tables call it; a sample's ends in ", one sample".
        values: metric -> (slice,).
        rings: (slice, 2, ring), correlation and error.
        calibration: of the spread, None where there is none or the variant is not the mean.
        seconds, memory: a slice; MiB.  nan of one sample: only all of them together were timed.
        machine: where they were measured.
        notes: kfine's warnings; with the mean's record.
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
        """Return the truth's middle slice restored, and its standard deviation where there is one."""
        arrays = self._middle()
        return arrays["pictures"][self.variant], arrays.get("spread")

    def half_width(self) -> NDArray[Any] | None:
        """Return half the width of the 90 % interval of the truth's middle slice, where that is calibrated."""
        return self._middle().get("half_width")

    def _middle(self) -> Arrays:
        truth = self.case.truth
        arrays = self.case.parts.load(truth.numbers[truth.middle])
        assert arrays is not None, "a record's slices are kept"
        return arrays


def records_of(case: Case, slices: list[Arrays]) -> list[Record]:
    """Return the records of a finished case: the mean's, and that of a sample if there is one."""
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
    """A case that came to nothing, and why."""

    degradation: str
    subject: str
    method: str
    reason: str


@dataclass(frozen=True)
class Results:
    """All records.

    Attributes:
        about: what was held fixed, JSON-ready: folder, subjects, slices, seed, software, machine, methods.
        degradations: in the order of the tables.
        warnings: one line each: why a figure is not what it seems.
        notes: one line each: what is missing and why.
    """

    about: dict[str, Any]
    degradations: tuple[Degradation, ...]
    records: tuple[Record, ...]
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def methods(self) -> list[str]:
        """Labels: baselines, then networks without sampling, then those that sample; as given within each."""
        labels = list(dict.fromkeys(record.label for record in self.records))
        return sorted(labels, key=self.tier)

    @cached_property
    def _tiers(self) -> dict[str, int]:
        sampled = {record.case.competitor.name for record in self.records if record.variant}
        tiers = {}
        for record in self.records:
            given = SAMPLED_KIND if record.case.competitor.name in sampled else SINGLE_KIND
            tiers[record.label] = KINDS.index(kind_of(record.case.competitor) or given)
        return tiers

    def tier(self, method: str) -> int:
        """Return how much a method does: `BASELINE`, `SINGLE` (no sampling) or `SAMPLED`."""
        return self._tiers[method]

    @property
    def subjects(self) -> list[str]:
        """Patients of whom there is a result."""
        return sorted({record.case.truth.subject for record in self.records})

    def there(self, degradation: str) -> list[str]:
        """Return the methods that have a result under a degradation."""
        return [method for method in self.methods if self.of(degradation, method)]

    def title(self, degradation: str, method: str) -> str:
        """Return the method's name for a row of a table, and of how many it has results if not of all."""
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
        """Return one value a patient: the mean over the slices of the patient's `volumes` (all) that have one."""
        found: dict[str, list[float]] = {}
        for record in self.of(degradation, method):
            if volumes is None or record.case.truth.name in volumes:
                found.setdefault(record.case.truth.subject, []).extend(record.values[metric].tolist())
        return {who: mean_of_known(values) for who, values in found.items()}

    def volumes(self, degradation: str, method: str, metric: str) -> set[str]:
        """Return the names of the volumes of which a method has a value."""
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
        """Filled by `estimate`: every table asks for the same ones again."""
        return {}

    def difference(self, degradation: str, method: str, other: str, metric: str) -> Estimate:
        """Return by how much `method` lies above `other` in a metric, within patients, over the volumes of both."""
        both = set.intersection(*(self.volumes(degradation, which, metric) for which in (method, other)))
        return paired(*(self.patients(degradation, which, metric, volumes=both) for which in (method, other)))

    def gain(self, degradation: str, method: str, other: str, metric: str) -> Estimate:
        """Return by how much `method` is better than `other`: the difference, or its negative where lower is better."""
        if BY_KEY[metric].best == LOWER:
            method, other = other, method
        return self.difference(degradation, method, other, metric)

    def complete(self, degradation: str, metric: str, among: Iterable[str]) -> dict[str, float]:
        """Return the mean of each method that has a value of every volume of which any of `among` has one.

        Means over other volumes compare volumes, not methods.
        """
        known = {method: self.volumes(degradation, method, metric) for method in among}
        every = set().union(*known.values())
        return {
            method: self.estimate(degradation, method, metric).mean
            for method, which in known.items()
            if which and which == every
        }

    def best(self, degradation: str, metric: str, among: Iterable[str]) -> str | None:
        """Return the method with the best mean of those that are `complete`.

        None where there is none, or neither end of the metric is better.
        """
        sign = {HIGHER: 1, LOWER: -1}.get(BY_KEY[metric].best)
        known = self.complete(degradation, metric, among)
        if sign is None or not known:
            return None
        return max(known, key=lambda method: sign * known[method])

    @property
    def baselines(self) -> list[str]:
        """The methods that need no training."""
        return [method for method in self.methods if self.tier(method) == BASELINE]

    def rings(self, degradation: str, method: str) -> NDArray[np.float64]:
        """Return (2, ring): correlation and error, the mean over patients of the means over their slices."""
        found: dict[str, list[NDArray[np.float64]]] = {}
        for record in self.of(degradation, method):
            found.setdefault(record.case.truth.subject, []).extend(record.rings)
        return _nanmean([_nanmean(curves) for curves in found.values()])

    def calibration(self, degradation: str, method: str) -> Calibration | None:
        """Return the spread against the error over all patients' voxels, None for a method without spread."""
        found = [r.calibration for r in self.of(degradation, method) if r.calibration is not None]
        return Calibration(np.sum([each.sums for each in found], axis=0)) if found else None

    def cost(self, degradation: str, method: str) -> tuple[float, float]:
        """Return the median seconds a slice and the greatest memory in MiB over the volumes."""
        found = self.of(degradation, method)
        if not found:
            return math.nan, math.nan
        return float(np.median([r.seconds for r in found])), max(r.memory for r in found)


def _nanmean(curves: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over curves where at least one is known, else nan; without numpy's warning."""
    stacked = np.stack(curves)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


SHARPNESS = ("laplacian_off", "fft_off")
COMPARED = (*MAIN, *SHARPNESS)
BLOCKS = "nearest"  # the edges of its pixels count as sharpness


@dataclass(frozen=True)
class Win:
    """One method beaten in one metric by the best of the simpler ones.

    Attributes:
        method: the one that does more.
        simpler: the best of those that do less.
        gain: by how much `simpler` is better, over patients, in the metric's units.
    """

    degradation: str
    metric: str
    method: str
    simpler: str
    gain: Estimate


def wins(results: Results) -> tuple[list[Win], int]:
    """Return every defeat of a method by a simpler one, and how many comparisons there were.

    Simpler is a baseline before a network, a network without sampling before one that samples.  Compared are the image
    metrics and how far the sharpness is off; under each degradation the best simpler method counts; in sharpness not
    nearest neighbour, whose pixels have edges.  A defeat is a mean over patients that is better by something that
    tables show, half of their last digit; whether it could be chance is `Win.gain.excludes_zero`.
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
