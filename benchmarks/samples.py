"""Every resolution by one checkpoint, every validation subject: the baselines, core, mean image and one sample.

Gains are given over whole slices and inside the head: part of what is gained outside is ringing taken off the air.
The last column, spread / error, is the root mean square of the standard deviation over that of the mean image's error:
1 where the spread says how wrong the image is on the whole, below 1 where it says too little.

python benchmarks/samples.py --data BRAINS [--model runs/vdm/model] [--json quality.json]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import VALIDATION, machine, references

import kfine
from kfine.evaluation.comparison import compare

SETTINGS = [
    ((32, 32), (128, 128)),
    ((64, 64), (128, 128)),
    ((48, 40), (128, 128)),
    ((64, 128), (128, 128)),
    ((128, 128), (256, 256)),
]

GAINS = ("psnr", "ssim", "psnr_inside", "ssim_inside")
NAMES = ("zero-filling", "bicubic", "core", "vdm", "sample")


def main() -> None:
    options = _options()
    print(f"# {machine()}")
    print(f"# {options.slices} slices a subject, seed 0, pooled PSNR (dB) and mean SSIM over whole slices")
    rows = []
    for low, high in SETTINGS:
        count = options.slices if high[0] <= 128 else max(1, options.slices // 2)
        for subject, reference in references(options.data, options.subjects, high, count).items():
            rows.append(_row(subject, reference, low, high, options))
            print(_line(rows[-1]), flush=True)
    print("\n".join(_table(rows)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")


def _row(subject, reference, low, high, options):
    scan = kfine.degrade(reference, matrix=low)
    row = {"subject": subject, "low": low, "high": high}
    vdm = {"model": options.model, "samples": options.samples, "steps": options.steps}
    for method, extra in (("zero-filling", {}), ("bicubic", {}), ("core", {}), ("vdm", vdm)):
        began = time.perf_counter()
        restored = kfine.restore(scan, matrix=high, method=method, keep_samples=method == "vdm", **extra)
        seconds = time.perf_counter() - began
        result = compare(reference, restored.mean)
        if restored.samples:
            sample = compare(reference, restored.samples[0])
            row["sample"] = {"psnr": sample.pooled_whole, "ssim": sample.whole.ssim}
            row["spread"] = _root_mean_square(restored.std) / _root_mean_square(restored.mean, reference)
        row[method] = {"psnr": result.pooled_whole, "ssim": result.whole.ssim}
        row[method] |= {"psnr_inside": result.pooled_inside, "ssim_inside": result.inside.ssim}
        row[method]["seconds_a_slice"] = seconds / reference.slices
        row[method]["residual"] = restored.residual
    # The gain that counts is over whichever baseline is better.
    best = {key: max(row[name][key] for name in ("zero-filling", "bicubic")) for key in GAINS}
    row["gain"] = {key: row["vdm"][key] - best[key] for key in best}
    return row


def _root_mean_square(image, other=None):
    voxels = image.voxels if other is None else image.voxels - other.voxels
    return float(np.sqrt(np.mean(np.square(voxels, dtype=np.float64))))


def _line(row):
    cells = "  ".join(f"{name} {row[name]['psnr']:6.2f} {row[name]['ssim']:.4f}" for name in NAMES)
    sizes = f"{row['low'][0]}x{row['low'][1]} to {row['high'][0]}x{row['high'][1]}"
    gain = f"gain {row['gain']['psnr']:+.2f} {row['gain']['ssim']:+.4f}"
    gain += f" inside {row['gain']['psnr_inside']:+.2f} {row['gain']['ssim_inside']:+.4f}"
    last = f"spread / error {row['spread']:.2f}  {row['vdm']['seconds_a_slice']:.1f} s/slice"
    return f"{sizes:18} {row['subject']}  {cells}  {gain}  {last}"


def _table(rows):
    """Return the lines of README's table: means over the subjects, and the range of the gains."""
    names = ("zero filling", "bicubic", "core", "mean image", "one sample")
    heads = ("scan to image", *names, "gain of the mean", "inside the head", "spread / error")
    yield "| " + " | ".join(heads) + " |"
    yield "| --- " * len(heads) + "|"
    for low, high in SETTINGS:
        here = [row for row in rows if (row["low"], row["high"]) == (low, high)]
        cells = [f"{low[0]}x{low[1]} to {high[0]}x{high[1]}"]
        for name in NAMES:
            psnr, ssim = (sum(row[name][key] for row in here) / len(here) for key in ("psnr", "ssim"))
            cells.append(f"{psnr:.2f} / {ssim:.4f}")
        least, most = ({key: pick(row["gain"][key] for row in here) for key in GAINS} for pick in (min, max))
        for where in ("", "_inside"):
            psnr, ssim = (
                f"{least[key]:{form}} to {most[key]:{form}}"
                for key, form in (("psnr" + where, "+.2f"), ("ssim" + where, "+.4f"))
            )
            cells.append(f"{psnr} dB, {ssim}")
        cells.append(f"{sum(row['spread'] for row in here) / len(here):.2f}")
        yield "| " + " | ".join(cells) + " |"


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--subjects", nargs="+", default=VALIDATION)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
