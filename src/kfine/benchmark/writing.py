"""Result files: CSV with one row a slice, JSON, and the table of the poster in Markdown.

The poster: Kouhana, Jafaritadi, Chinn and Levin, Super-resolution using a unified latent diffusion model for medical
imaging.  Rows: low resolution, bicubic, SRGAN, LDM and reference.  Columns: Laplacian variance and FFT sharpness.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kfine.benchmark.results import LEVEL, Record, Results, over_patients, wins
from kfine.benchmark.scoring import METRICS
from kfine.evaluation.rings import frequencies
from kfine.text import json_ready

LOW = "nearest"  # the unchanged low resolution at the matrix of the truth, which sharpness needs
SHARPNESS = ("laplacian", "fft")
COLUMNS = (*SHARPNESS, "psnr", "ms_ssim", "nrmse")
REFERENCE = "reference"
_HOW = (
    "Means over patients; in brackets the distance to the reference's value over the same patients. Sharpness at 8 "
    "bits; PSNR, MS-SSIM and NRMSE inside the body. Low resolution: nearest neighbour at the reference's matrix."
)
_FIRST = ("degradation", "subject", "volume", "slice", "method")
_LAST = ("seconds_a_slice", "memory_mib")


@dataclass(frozen=True)
class Row:
    """One row of the poster's table: means over patients of each of `COLUMNS`; nan if there is none.

    truth: the sharpness of the reference, by column, over the same patients.
    """

    name: str
    values: tuple[float, ...]
    truth: Mapping[str, float]


def poster_rows(results: Results, degradation: str) -> list[Row]:
    """Return the rows under one degradation: low resolution, all other methods, reference.

    PSNR, MS-SSIM and NRMSE are those inside the body, see `kfine.benchmark.scoring.METRICS`.
    """
    there = results.there(degradation)
    rows = []
    for method in sorted(there, key=lambda method: method != LOW):
        values = tuple(results.estimate(degradation, method, key).mean for key in COLUMNS)
        own = {key: results.estimate(degradation, method, f"{key}_truth").mean for key in SHARPNESS}
        title = results.title(degradation, method)
        rows.append(Row(title.replace(LOW, "low resolution") if method == LOW else title, values, own))
    if there:
        own = {key: _of_truth(results, degradation, f"{key}_truth") for key in SHARPNESS}
        rows.append(Row(REFERENCE, (*own.values(), math.nan, math.nan, math.nan), own))
    return rows


def _of_truth(results: Results, degradation: str, key: str) -> float:
    """Return the mean over all patients for whom any method has a result."""
    values: dict[str, float] = {}
    for method in results.there(degradation):
        values |= results.patients(degradation, method, key)
    return over_patients(values).mean


def markdown(results: Results, degradation: str) -> str:
    """Return the table for a README or a model card; each sharpness has its distance to the reference beside it."""
    rows = poster_rows(results, degradation)
    if not rows:
        return "No method gave a result.\n"
    lines = [
        "| | Laplacian variance | FFT | PSNR dB | MS-SSIM | NRMSE |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for row in rows:
        laplacian, fft, decibels, similarity, error = row.values
        is_reference = row.name == REFERENCE
        own = row.truth
        cells = (
            f"{laplacian:.1f}"
            + (
                ""
                if is_reference or not own["laplacian"]  # a reference all of one grey level
                else f" ({100 * (laplacian / own['laplacian'] - 1):+.1f} %)"
            ),
            f"{fft:.2f}" + ("" if is_reference else f" ({fft - own['fft']:+.2f})"),
            *(f"{value:.{digits}f}" for value, digits in ((decibels, 2), (similarity, 4), (error, 4))),
        )
        lines.append(f"| {row.name} | " + " | ".join("-" if "nan" in cell else cell for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def document(results: Results) -> str:
    """Return the tables under all degradations as one Markdown file."""
    about = results.about
    count = len(results.subjects)
    patients = "1 patient" if count == 1 else f"{count} patients"
    who = f"{patients} of {about['folder']}, seed {about['seed']}. {about['machine']}."
    parts = [f"## {each.title}\n\n{markdown(results, each.name)}" for each in results.degradations]
    return "\n".join([f"{who} {_HOW}\n", *parts])


def results_csv(results: Results) -> str:
    """Return a table with one row for each slice, variant and case; undefined values are empty, infinite ones "inf"."""
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
    """Return strict JSON: fixed settings, means over patients with intervals, differences, all volumes, wins."""
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
