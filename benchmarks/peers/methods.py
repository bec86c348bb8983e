"""Speed of samplers on the same prior: kfine's against deepinv's DDRM and DiffPIR, seconds and PSNR.

python benchmarks/peers/methods.py --data BRAINS [--slices 1] [--subjects sub-11 sub-12] [--json methods.json]

The prior is the unconditional half of the packaged model vdm, p(x); all see the same measured centre of k-space, 63x63
of 128x128, without noise.  (An odd block is symmetric, so that a real image has one in each system.)  kfine's own rows:
the same prior in few evaluations, started late, and for comparison what kfine does by default, which the peers have no
counterpart of: the core network alone, and samples that see the scan.  One sample each, seed 0.
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
from kfine.image import Image
from kfine.intensity import Scaling

HIGH, LOW = (128, 128), (63, 63)
NOISE = 1e-3  # that the peers assume in the measurement, as a part of full intensity
PRIOR = {"method": "vdm", "conditioned": False, "samples": 1}
OURS = {
    "kfine vdm, unconditional, DPM-Solver++(2M), 10 evaluations": PRIOR | {"steps": 10},
    "kfine vdm, unconditional, DPM-Solver++(2M), 20 evaluations": PRIOR | {"steps": 20},
    "kfine vdm, unconditional, ancestral from pure noise, 1000 evaluations": PRIOR
    | {"steps": 1000, "sampler": "ancestral", "start": math.inf},
    "kfine vdm given the scan, 6 evaluations (default)": {"method": "vdm", "samples": 1},
    "kfine core (the default method)": {"method": "core"},
    "zero filling": {"method": "zero-filling"},
}
THEIRS = {
    "deepinv DDRM, 20 evaluations": ("ddrm", 20),
    "deepinv DDRM, 100 evaluations (default)": ("ddrm", 100),
    "deepinv DiffPIR, 20 evaluations": ("diffpir", 20),
    "deepinv DiffPIR, 100 evaluations (default)": ("diffpir", 100),
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


def ours(settings, scan: Image, precision: str) -> Image:
    return kfine.restore(scan, matrix=HIGH, precision=precision, **settings).mean


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--subjects", nargs="+", default=list(VALIDATION))
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prior = Prior(kfine.load_model("vdm").network, options.precision)
    found = references(options.data, tuple(options.subjects), HIGH, options.slices)
    scans = {name: kfine.degrade(image, matrix=LOW, signed=True) for name, image in found.items()}
    jobs = {
        name: lambda key, s=settings: ours(s, scans[key], options.precision)
        for name, settings in OURS.items()
    }
    jobs |= {name: lambda key, s=setting: theirs(*s, found[key], prior) for name, setting in THEIRS.items()}
    first = next(iter(found))
    for settings in OURS.values():
        few = {"steps": 2} if "steps" in settings else {}
        ours(settings | few, scans[first], options.precision)  # loads and warms up
    rows = {name: {"psnr": [], "ssim": [], "processor_s": [], "wall_s": []} for name in jobs}
    for key, reference in found.items():  # alternating: every method on a subject, then the next subject
        for name, job in jobs.items():
            began = time.process_time(), time.perf_counter()
            image = job(key)
            row = rows[name]
            row["processor_s"].append((time.process_time() - began[0]) / options.slices)
            row["wall_s"].append((time.perf_counter() - began[1]) / options.slices)
            scores = compare(reference, image)
            row["psnr"].append(scores.pooled_whole)
            row["ssim"].append(scores.whole.ssim)
    print(f"# {machine()}; {torch.get_num_threads()} threads; {options.precision}")
    print(
        f"# load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}: idle is below the threads above"
    )
    print(
        f"# {len(found)} subjects, {options.slices} slices each, {LOW[0]}x{LOW[1]} to {HIGH[0]}x{HIGH[1]}; a slice"
    )
    print("| method | PSNR dB | SSIM | processor s | wall s |\n| --- | ---: | ---: | ---: | ---: |")
    for name, row in rows.items():
        mean = {key: float(np.mean(values)) for key, values in row.items()}
        print(
            f"| {name} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['processor_s']:.2f} | {mean['wall_s']:.2f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
