"""Samplers on the same prior: kfine's against deepinv's DDRM and DiffPIR: seconds, PSNR and perceptual distance.

python benchmarks/peers/methods.py --data BRAINS [--squeezenet FOLDER] [--slices 1] [--subjects sub-11 sub-12]
    [--psnr 32 32.5] [--distance 0.06 0.05] [--json methods.json]

The prior is the unconditional half of the packaged model vdm, p(x); all see the same measured centre of k-space, 63x63
of 128x128, without noise.  (An odd block is symmetric, so that a real image has one in each system.)  kfine's own rows:
the same prior in few evaluations, started late, one sample or the mean of samples with opposite noise, and for
comparison what kfine does by default, which the peers have no counterpart of: the core network alone, and samples that
see the scan.  Seed 0.

With the weights of SqueezeNet 1.1 trained on ImageNet, "distance" is the feature distance to the reference
(`kfine.networks.perceptual`).  A second table gives for each sampler the least processor seconds to a PSNR and to a
distance, over its numbers of evaluations.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision_operators  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import VALIDATION, machine, references

import kfine
from kfine.evaluation.comparison import compare
from kfine.evaluation.metrics import feature_distance
from kfine.image import Image
from kfine.intensity import Scaling

HIGH, LOW = (128, 128), (63, 63)
NOISE = 1e-3  # that the peers assume in the measurement, as a part of full intensity
PRIOR = {"method": "vdm", "conditioned": False, "samples": 1}
TWO = PRIOR | {"samples": 2, "start": 0.4}  # of opposite noise; chosen on training subjects (README)
FAMILIES = {  # sampler: settings for each number of evaluations
    "kfine, one sample": {n: PRIOR | {"steps": n} for n in (2, 5, 10, 20)},
    "kfine, mean of two samples": {2 * n: TWO | {"steps": n} for n in (2, 3, 5, 10)},
    "kfine, mean of two samples, ancestral": {
        2 * n: TWO | {"steps": n, "sampler": "ancestral"} for n in (3, 5, 10, 20)
    },
    "kfine, ancestral from pure noise": {
        n: PRIOR | {"steps": n, "sampler": "ancestral", "start": math.inf} for n in (100, 1000)
    },
    "deepinv DDRM": {n: ("ddrm", n) for n in (20, 50, 100)},
    "deepinv DiffPIR": {n: ("diffpir", n) for n in (20, 50, 100)},
}
DEFAULTS = {
    "kfine vdm given the scan, 6 evaluations (default)": {"method": "vdm", "samples": 1},
    "kfine core (the default method)": {"method": "core"},
    "zero filling": {"method": "zero-filling"},
}


class Prior(torch.nn.Module):
    """kfine's unconditional prior as deepinv's denoiser: x (batch, 2, row, column) in [0, 1], imaginary part 0."""

    def __init__(self, network, precision):
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, x, sigma, **_):
        """Return the denoised images."""
        level = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1)[:1].clamp_min(1e-3) * 2
        noisy = 2 * x[:, :1] - 1
        gamma = (2 * level.log()).expand(len(x))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            noise = self.network(noisy * torch.sigmoid(-gamma).sqrt()[:, None, None, None], gamma).float()
        clean = (noisy - level * noise + 1) / 2
        return torch.cat([clean, torch.zeros_like(clean)], dim=1)


def theirs(kind: str, steps: int, reference: Image, prior: Prior) -> Image:
    """Return a peer's restoration of the measured centre of `reference`."""
    import deepinv

    full = Scaling.of(reference.voxels).full
    x = torch.from_numpy(reference.voxels[0])[:, None] / full
    x = torch.cat([x, torch.zeros_like(x)], dim=1)
    mask = torch.zeros(HIGH)
    rows, columns = (
        (high // 2 - low // 2, high // 2 + low // 2 + 1) for high, low in zip(HIGH, LOW, strict=True)
    )
    mask[slice(*rows), slice(*columns)] = 1
    physics = deepinv.physics.MRI(
        mask=mask, img_size=(2, *HIGH), noise_model=deepinv.physics.GaussianNoise(NOISE)
    )
    y = physics.A(x)
    torch.manual_seed(0)
    if kind == "ddrm":
        sampler = deepinv.sampling.DDRM(prior, sigmas=np.linspace(1, 0, steps))
    else:
        sampler = deepinv.sampling.DiffPIR(
            prior, deepinv.optim.data_fidelity.L2(), sigma=NOISE, max_iter=steps
        )
    with torch.inference_mode():
        done = sampler(y, physics)[:, 0] * full
    return Image(done[None].numpy(), reference.affine)


def perceptual(image: Image, reference: Image, distance) -> float:
    """Return the mean feature distance over planes, as benchmarks/samples.py."""
    white = float(np.quantile(reference.voxels, 0.999))
    pair = [np.clip(each.voxels[0] / white, 0, 1) for each in (reference, image)]
    return float(np.mean(distance(*pair)))


def ours(settings, scan: Image, precision: str) -> Image:
    return kfine.restore(scan, matrix=HIGH, precision=precision, **settings).mean


def main() -> None:
    options = _options()
    prior = Prior(kfine.load_model("vdm").network, options.precision)
    found = references(options.data, tuple(options.subjects), HIGH, options.slices)
    scans = {name: kfine.degrade(image, matrix=LOW, signed=True) for name, image in found.items()}
    distance = feature_distance(options.squeezenet) if options.squeezenet else None

    def job(settings):
        if isinstance(settings, tuple):
            return lambda key: theirs(*settings, found[key], prior)
        return lambda key: ours(settings, scans[key], options.precision)

    jobs = {name: job(settings) for name, settings in DEFAULTS.items()}
    curves = {
        family: {f"{family}, {count} evaluations": job(settings) for count, settings in members.items()}
        for family, members in FAMILIES.items()
    }
    jobs |= {name: call for members in curves.values() for name, call in members.items()}
    first = next(iter(found))
    for settings in (*DEFAULTS.values(), PRIOR | {"steps": 2}):
        ours(settings, scans[first], options.precision)  # loads and warms up
    rows = {name: {"psnr": [], "ssim": [], "distance": [], "processor_s": [], "wall_s": []} for name in jobs}
    for key, reference in found.items():  # alternating: every method on a subject, then the next subject
        for name, call in jobs.items():
            began = time.process_time(), time.perf_counter()
            image = call(key)
            row = rows[name]
            row["processor_s"].append((time.process_time() - began[0]) / options.slices)
            row["wall_s"].append((time.perf_counter() - began[1]) / options.slices)
            scores = compare(reference, image)
            row["psnr"].append(scores.pooled_whole)
            row["ssim"].append(scores.whole.ssim)
            row["distance"].append(perceptual(image, reference, distance) if distance else math.nan)
    print(f"# {machine()}; {torch.get_num_threads()} threads; {options.precision}")
    print(
        f"# load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}: idle is below the threads above"
    )
    print(
        f"# {len(found)} subjects, {options.slices} slices each, {LOW[0]}x{LOW[1]} to {HIGH[0]}x{HIGH[1]}; a slice"
    )
    print("| method | PSNR dB | SSIM | distance | processor s | wall s |\n| --- |" + " ---: |" * 5)
    means = {}
    for name, row in rows.items():
        mean = means[name] = {key: float(np.mean(values)) for key, values in row.items()}
        print(
            f"| {name} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['distance']:.4f} "
            f"| {mean['processor_s']:.2f} | {mean['wall_s']:.2f} |"
        )
    _print_times(curves, means, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def _print_times(curves, means, options: argparse.Namespace) -> None:
    goals = [(f"{psnr:g} dB", lambda mean, goal=psnr: mean["psnr"] >= goal) for psnr in options.psnr]
    if options.squeezenet:
        goals += [
            (f"distance {distance:g}", lambda mean, goal=distance: mean["distance"] <= goal)
            for distance in options.distance
        ]
    print(
        "\n# least processor seconds a slice to a PSNR, to a distance; -: not with these numbers of evaluations"
    )
    print("| sampler |" + "".join(f" {name} |" for name, _ in goals) + "\n| --- |" + " ---: |" * len(goals))
    for family, members in curves.items():
        cells = []
        for _, reached in goals:
            seconds = [means[name]["processor_s"] for name in members if reached(means[name])]
            cells.append(f" {min(seconds):.2f} |" if seconds else " - |")
        print(f"| {family} |" + "".join(cells))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", default=list(VALIDATION))
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--squeezenet", type=Path, metavar="WEIGHTS")
    parser.add_argument("--psnr", type=float, nargs="+", default=[31.5, 32.0, 32.5, 32.7])
    parser.add_argument("--distance", type=float, nargs="+", default=[0.1, 0.06, 0.05])
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
