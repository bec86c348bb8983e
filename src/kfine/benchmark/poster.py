"""The table of the poster: sharpness from the low resolution to the reference, image metrics beside it.

Kouhana, Jafaritadi, Chinn and Levin, Super-resolution using a unified latent diffusion model for medical imaging:
rows low resolution, bicubic, SRGAN, LDM and reference; columns Laplacian variance and FFT sharpness.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kfine.benchmark.results import Results
from kfine.benchmark.statistics import over_patients

LOW = "nearest"  # the low resolution as it is, each pixel as large as it was: sharpness needs the truth's matrix
SHARPNESS = ("laplacian", "fft")
COLUMNS = (*SHARPNESS, "psnr", "ms_ssim", "nrmse")
REFERENCE = "reference"
_HOW = (
    "Means over patients; in brackets the distance to the reference's value over the same patients. Sharpness at 8 "
    "bits; PSNR, MS-SSIM and NRMSE inside the body. Low resolution: nearest neighbour at the reference's matrix."
)


@dataclass(frozen=True)
class Row:
    """One row: means over patients of each of `COLUMNS`; nan where there is none.

    truth: the reference's sharpness, by column, over the same patients.
    """

    name: str
    values: tuple[float, ...]
    truth: Mapping[str, float]


def poster_rows(results: Results, degradation: str) -> list[Row]:
    """Return the rows under one degradation: low resolution, every other method, reference.

    PSNR, MS-SSIM and NRMSE are taken inside the body, see `kfine.benchmark.scoring.METRICS`.
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
    """Return the mean over all patients of whom any method has a result."""
    values: dict[str, float] = {}
    for method in results.there(degradation):
        values |= results.patients(degradation, method, key)
    return over_patients(values).mean


def markdown(results: Results, degradation: str) -> str:
    """Return the table for a README or a model card; beside each sharpness stands its distance to the reference's."""
    rows = poster_rows(results, degradation)
    if not rows:
        return "No method came to a result.\n"
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
    """Return the tables under all degradations as one Markdown file, ready to be cut from."""
    about = results.about
    count = len(results.subjects)
    patients = "1 patient" if count == 1 else f"{count} patients"
    who = f"{patients} of {about['folder']}, seed {about['seed']}. {about['machine']}."
    parts = [f"## {each.title}\n\n{markdown(results, each.name)}" for each in results.degradations]
    return "\n".join([f"{who} {_HOW}\n", *parts])
