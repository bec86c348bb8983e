"""The table of the poster: sharpness from the low resolution to the reference, image metrics beside it.

Kouhana, Jafaritadi, Chinn and Levin, Super-resolution using a unified latent diffusion model for medical imaging:
rows low resolution, bicubic, SRGAN, LDM and reference; columns Laplacian variance and FFT sharpness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kfine.benchmark.results import Results

LOW = "nearest"  # the low resolution as it is, each pixel as large as it was: sharpness needs the truth's matrix
COLUMNS = ("laplacian", "fft", "psnr", "ms_ssim", "nrmse")
REFERENCE = "reference"
_HOW = (
    "Means over patients; in brackets the distance to the reference's value. Sharpness at 8 bits; PSNR, MS-SSIM and "
    "NRMSE inside the body. Low resolution: nearest neighbour at the reference's matrix."
)


@dataclass(frozen=True)
class Row:
    """One row: means over patients of each of `COLUMNS`; nan where there is none."""

    name: str
    values: tuple[float, ...]


def poster_rows(results: Results, degradation: str) -> list[Row]:
    """Return the rows under one degradation: low resolution, every other method, reference.

    PSNR, MS-SSIM and NRMSE are taken inside the body, see `kfine.benchmark.scoring.METRICS`.
    """
    there = [method for method in results.methods if results.of(degradation, method)]
    ordered = [method for method in there if method == LOW] + [method for method in there if method != LOW]
    rows = [
        Row(
            "low resolution" if method == LOW else method,
            tuple(results.estimate(degradation, method, key).mean for key in COLUMNS),
        )
        for method in ordered
    ]
    if there:
        own = [results.estimate(degradation, there[0], key).mean for key in ("laplacian_truth", "fft_truth")]
        rows.append(Row(REFERENCE, (*own, math.nan, math.nan, math.nan)))
    return rows


def markdown(results: Results, degradation: str) -> str:
    """Return the table for a README or a model card; beside each sharpness stands its distance to the reference's."""
    rows = poster_rows(results, degradation)
    own = rows[-1].values
    lines = [
        "| | Laplacian variance | FFT | PSNR dB | MS-SSIM | NRMSE |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for row in rows:
        laplacian, fft, decibels, similarity, error = row.values
        is_reference = row.name == REFERENCE
        cells = (
            f"{laplacian:.1f}" + ("" if is_reference else f" ({100 * (laplacian / own[0] - 1):+.1f} %)"),
            f"{fft:.2f}" + ("" if is_reference else f" ({fft - own[1]:+.2f})"),
            *(f"{value:.{digits}f}" for value, digits in ((decibels, 2), (similarity, 4), (error, 4))),
        )
        lines.append(f"| {row.name} | " + " | ".join("-" if "nan" in cell else cell for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def document(results: Results) -> str:
    """Return the tables under all degradations as one Markdown file, ready to be cut from."""
    about = results.about
    who = f"{len(about['subjects'])} patients of {about['folder']}, seed {about['seed']}. {about['machine']}."
    parts = [f"## {each.title}\n\n{markdown(results, each.name)}" for each in results.degradations]
    return "\n".join([f"{who} {_HOW}\n", *parts])
