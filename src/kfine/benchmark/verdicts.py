"""Where a simpler method does better than one that does more: what a report must say first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kfine.benchmark.results import BASELINE, Results
from kfine.benchmark.scoring import BY_KEY, MAIN
from kfine.benchmark.statistics import Estimate

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
