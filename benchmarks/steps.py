"""The same weights in 1000 ancestral steps and in a few: quality against network evaluations.

The 1000-step row is the abstract's setting: from pure noise along the learned schedule, the unconditional prior
guided by its rule with lambda = 1, to which kfine adds that every denoised image is projected onto the measurement.
The row below it is the same with the network shown the scan.

python benchmarks/steps.py --data BRAINS [--model runs/vdm/model] [--json steps.json]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

from common import VALIDATION, machine, references

import kfine
from kfine.evaluation.comparison import compare

ABSTRACT = {"sampler": "ancestral", "start": math.inf, "conditioned": False}
ROWS = [
    ("ancestral, unconditional", {**ABSTRACT, "steps": 1000}),
    ("ancestral, given the scan", {**ABSTRACT, "conditioned": True, "steps": 1000}),
    ("dpm-solver-2m, unconditional, late", {"sampler": "dpm-solver-2m", "conditioned": False, "steps": 20}),
    *(("ancestral", {"sampler": "ancestral", "steps": steps}) for steps in (20, 12, 6)),
    *(("dpm-solver-2m", {"sampler": "dpm-solver-2m", "steps": steps}) for steps in (20, 12, 6, 3)),
    *(("ddim", {"sampler": "ddim", "steps": steps}) for steps in (20, 6)),
    ("dpm-solver-2m, started late", {"sampler": "dpm-solver-2m", "start": 0.3, "steps": 6}),
]


def main() -> None:
    options = _options()
    print(f"# {machine()}")
    print(
        f"# {options.slices} slices a subject, {len(options.subjects)} subjects; mean of {options.samples}; seed 0"
    )
    found = references(options.data, options.subjects, (128, 128), options.slices)
    rows = []
    for low in ((32, 32), (64, 64)):
        for name, settings in ROWS:
            if settings["steps"] == 1000 and options.without_1000:
                continue
            rows.append(_row(found, low, name, settings, options))
            print(_line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def _row(found, low, name, settings, options):
    totals = {"psnr_mean": 0.0, "ssim_mean": 0.0, "psnr_sample": 0.0, "ssim_sample": 0.0}
    seconds = 0.0
    for reference in found.values():
        scan = kfine.degrade(reference, matrix=low)
        began = time.perf_counter()
        result = kfine.restore(
            scan,
            matrix=(128, 128),
            model=options.model,
            samples=options.samples,
            keep_samples=True,
            **settings,
        )
        seconds += time.perf_counter() - began
        for kind, image in (("mean", result.mean), ("sample", result.samples[0])):
            scores = compare(reference, image)
            totals[f"psnr_{kind}"] += scores.pooled_whole / len(found)
            totals[f"ssim_{kind}"] += scores.whole.ssim / len(found)
    planes = len(found) * options.slices * options.samples
    row = {"low": low, "name": name, "evaluations": settings["steps"], "seconds_a_sample": seconds / planes}
    return row | totals


def _line(row):
    return (
        f"{row['low'][0]}x{row['low'][1]}  {row['name']:36} {row['evaluations']:5d} evaluations  "
        f"sample {row['psnr_sample']:.2f} dB {row['ssim_sample']:.4f}  mean {row['psnr_mean']:.2f} dB "
        f"{row['ssim_mean']:.4f}  {row['seconds_a_sample']:.2f} s a sample"
    )


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--subjects", nargs="+", default=VALIDATION)
    parser.add_argument("--without-1000", action="store_true", help="leave out the slow row")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
