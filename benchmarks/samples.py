"""The sharp image, or one sample of method vdm or ldm, beside the mean image of core: how far below it, how sharp.

Scans and references are the magnitude scans of benchmarks/quality.py.  "Laplacian" is the variance of the Laplacian of
the 8-bit image and "FFT" its FFT sharpness (of planes of more than 120 rows and columns), both as the distance to the
reference's value: the smaller, the better.  With the weights of SqueezeNet 1.1 trained on ImageNet, "perceptual" is the
feature distance to the reference (`kfine.networks.perceptual`), relative to that of bicubic interpolation, a mean over
the images from each of CORNERS on, their first row and column.  Features are sampled at every second pixel: a pattern
on that grid, which a network can learn from the distance, would be preferred from one corner and not from the next.

python benchmarks/samples.py --data DATA [--method sharp] [--model FOLDER] [--features SQUEEZENET] [--planes 2]
    [--steps N] [--start S] [--only "64 to 128"] [--corners 0 1] [--json samples.json]
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import CORNERS, machine, squeezenet_distance
from quality import chosen, references

import kfine
from kfine.evaluation.comparison import compare
from kfine.evaluation.sharpness import eight_bit, sharpness
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.core_patches import load_volumes

BASELINES = ("zero-filling", "bicubic")
MEAN, IMAGE = "core", "one image"
NAMES = (*BASELINES, MEAN, IMAGE)


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(options.config, CoreTrainingConfig)
    _, validation = load_volumes(options.data, config.data)
    print(f"# {machine()}; {options.planes} planes a volume, seed 0; means over volumes")
    options.distance = squeezenet_distance(options.features, options.corners) if options.features else None
    print(f"# one image: method {options.method}; perceptual distance from corners {options.corners}")
    print("| scan | volumes | | PSNR dB | SSIM | Laplacian | FFT | perceptual |")
    print("| --- " * 8 + "|")
    rows = []
    for setting in chosen(options):
        if setting.kind != "magnitude" or setting.air:
            continue
        found = [
            _scores(kfine.degrade(reference, scale=setting.scale), reference, options)
            for _, reference in references(setting, config, validation, options.planes)
        ]
        rows.append({"setting": setting.title, "volumes": found})
        for name in NAMES:
            means = {key: float(np.nanmean([row[name][key] for row in found])) for key in found[0][name]}
            bicubic = float(np.mean([row["bicubic"]["perceptual"] for row in found]))
            print(
                f"| {setting.title} | {len(found)} | {name} | {means['psnr']:.2f} | {means['ssim']:.3f} "
                f"| {means['laplacian']:+.1%} | {means['fft']:+.2f} | {means['perceptual'] / bicubic - 1:+.1%} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(
            json.dumps({"machine": machine(), "corners": options.corners, "rows": rows}, indent=2) + "\n"
        )


def _scores(scan, reference, options):
    sampled = {"steps": options.steps, "start": options.start, "samples": 1}
    own = {"method": options.method, "model": options.model, **(sampled if options.method != "sharp" else {})}
    row = {}
    for name in NAMES:
        extra = own if name == IMAGE else {"method": name}
        restored = kfine.restore(scan, matrix=reference.matrix, **extra).mean
        restored = replace(restored, voxels=np.maximum(restored.voxels, 0))
        result = compare(reference, restored)
        ours, theirs = _sharpness(restored, reference), _sharpness(reference, reference)
        row[name] = {
            "psnr": result.pooled_whole,
            "ssim": result.whole.ssim,
            "laplacian": ours[0] / theirs[0] - 1,
            "fft": ours[1] - theirs[1],
            "perceptual": _perceptual(restored, reference, options),
        }
    return row


def _perceptual(image, reference, options):
    """Return the mean feature distance over planes; NaN without weights."""
    if options.distance is None:
        return float("nan")
    white = float(np.quantile(reference.voxels, 0.999))
    ours, theirs = (np.clip(each.voxels[0] / white, 0, 1) for each in (image, reference))
    return float(np.mean(options.distance(theirs, ours)))


def _sharpness(image, reference):
    """Return the means over planes of the variance of the Laplacian and the FFT sharpness."""
    white = float(np.quantile(reference.voxels, 0.999))
    figures = [sharpness(eight_bit(plane, white=white)) for plane in image.voxels[0]]
    return (
        float(np.mean([each.laplacian for each in figures])),
        float(np.nanmean([each.fft for each in figures])),
    )


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    parser.add_argument("--method", choices=("sharp", "vdm", "ldm"), default="sharp")
    parser.add_argument("--model")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--corners", type=int, nargs="+", default=CORNERS)
    parser.add_argument("--planes", type=int, default=2)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--start", type=float)
    parser.add_argument("--only", nargs="+", help="parts of the titles of rows")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
