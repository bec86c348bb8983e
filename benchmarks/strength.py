"""Guidance weight lambda from 0 to 1, as in figure 4 of the abstract: PSNR and k-space residual, and a plot.

python benchmarks/strength.py --data BRAINS --plot strength.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from common import VALIDATION, machine, references
from matplotlib.figure import Figure

import kfine
from kfine.evaluation.comparison import compare

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)


def main() -> None:
    options = _options()
    print(
        f"# {machine()}; {options.steps} ancestral steps of the unconditional prior from pure noise, one sample"
    )
    found = references(options.data, options.subjects, (128, 128), options.slices)
    curves = {}
    for low in ((32, 32), (64, 64)):
        rows = [_measure(found, low, weight, options) for weight in WEIGHTS]
        curves[low] = rows
        for weight, (psnr, residual) in zip(WEIGHTS, rows, strict=True):
            print(
                f"{low[0]}x{low[1]}  lambda {weight:4.2f}  {psnr:6.2f} dB  residual {residual:.1e}",
                flush=True,
            )
    if options.plot:
        _plot(curves, options.plot)


def _measure(found, low, weight, options):
    scores = []
    for reference in found.values():
        scan = kfine.degrade(reference, matrix=low)
        result = kfine.restore(
            scan, matrix=(128, 128), model=options.model, samples=1, sampler="ancestral", steps=options.steps,
            start=math.inf, conditioned=False, strength=weight,
        )  # fmt: skip
        scores.append((compare(reference, result.mean).pooled_whole, result.residual))
    return tuple(sum(column) / len(scores) for column in zip(*scores, strict=True))


def _plot(curves, path):
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    for low, rows in curves.items():
        psnr, residual = zip(*rows, strict=True)
        left.plot(WEIGHTS, psnr, "o-", label=f"{low[0]}x{low[1]} to 128x128")
        right.semilogy(WEIGHTS, residual, "o-")
    left.set(xlabel="guidance weight", ylabel="PSNR (dB)")
    right.set(xlabel="guidance weight", ylabel="relative k-space residual")
    left.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--subjects", nargs="+", default=VALIDATION)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
