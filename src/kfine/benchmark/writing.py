"""Result files for other programs: one row a slice in CSV, everything in JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

from kfine.benchmark.results import Record, Results, wins
from kfine.benchmark.scoring import METRICS
from kfine.benchmark.statistics import LEVEL
from kfine.evaluation.rings import frequencies
from kfine.text import json_ready

_FIRST = ("degradation", "subject", "volume", "slice", "method")
_LAST = ("seconds_a_slice", "memory_mib")


def results_csv(results: Results) -> str:
    """Return a table with one row a slice, variant and case; undefined values are empty, infinite ones "inf"."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_FIRST, *(metric.key for metric in METRICS), *_LAST])
    for record in results.records:
        case = record.case
        for at, number in enumerate(case.truth.numbers):
            values = [record.values[metric.key][at] for metric in METRICS]
            writer.writerow(
                [
                    *(case.degradation.name, case.truth.subject, case.truth.name, number, record.label),
                    *(_cell(value) for value in (*values, record.seconds, record.memory)),
                ]
            )
    return file.getvalue()


def results_json(results: Results) -> str:
    """Return strict JSON: what was held fixed, means over patients with intervals, differences, every volume, wins."""
    beaten, compared = wins(results)
    found = {
        "about": results.about,
        "metrics": {metric.key: asdict(metric) for metric in METRICS},
        "statistics": "means over patients; low, high: percentile bootstrap over patients; t_low, t_high: Student's t; "
        f"level {LEVEL}",
        "degradations": {each.name: asdict(each) for each in results.degradations},
        "summary": {each.name: _summary(results, each.name) for each in results.degradations},
        "compared": compared,
        "simpler_wins": [asdict(win) for win in beaten],
        "volumes": [_volume(record) for record in results.records],
        "failures": [asdict(failure) for failure in results.failures],
        "warnings": list(results.warnings),
        "notes": list(results.notes),
    }
    return json.dumps(json_ready(found), indent=1, allow_nan=False) + "\n"


def _summary(results: Results, degradation: str) -> dict[str, Any]:
    best = {metric.key: results.best(degradation, metric.key, results.baselines) for metric in METRICS}
    there = results.there(degradation)
    return {
        "best_baseline": {key: method for key, method in best.items() if method is not None},
        "methods": {
            method: {
                "metrics": {m.key: asdict(results.estimate(degradation, method, m.key)) for m in METRICS},
                "minus_best_baseline": {
                    key: asdict(results.difference(degradation, method, other, key))
                    for key, other in best.items()
                    if other is not None
                },
                "rings": _rings(results, degradation, method),
                **_calibration(results, degradation, method),
                **dict(
                    zip(("seconds_a_slice", "memory_mib"), results.cost(degradation, method), strict=True)
                ),
            }
            for method in there
        },
    }


def _rings(results: Results, degradation: str, method: str) -> dict[str, list[float]]:
    correlation, error = results.rings(degradation, method)
    return {
        "of_nyquist": frequencies(len(error)).tolist(),
        "correlation": correlation.tolist(),
        "error": error.tolist(),
    }


def _calibration(results: Results, degradation: str, method: str) -> dict[str, Any]:
    found = results.calibration(degradation, method)
    if found is None:
        return {"spread_over_error": None, "calibration": None}
    predicted, actual = (curve.tolist() for curve in found.curve)
    curve = {"standard_deviation_of_range": predicted, "error_of_range": actual}
    return {"spread_over_error": found.ratio, "calibration": curve}


def _volume(record: Record) -> dict[str, Any]:
    case = record.case
    return {
        "degradation": case.degradation.name,
        "subject": case.truth.subject,
        "volume": case.truth.name,
        "method": record.label,
        "slices": {
            str(number): {key: float(values[at]) for key, values in record.values.items()}
            for at, number in enumerate(case.truth.numbers)
        },
        "seconds_a_slice": record.seconds,
        "memory_mib": record.memory,
        "notes": list(record.notes),
    }


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.8g}"
