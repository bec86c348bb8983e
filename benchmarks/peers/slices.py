"""Thick slices: kfine against ECLARE (PyPI `eclare`), which trains a network on every volume.

python benchmarks/peers/slices.py make --data DATA --out FOLDER [--only "T2 brain" "Gaussian, 4"] [--slab 8]
python benchmarks/peers/slices.py run --out FOLDER --eclare PEER/bin/run-eclare --patches 200 800 --batch 4
python benchmarks/peers/slices.py score --out FOLDER [--json FILE]

`make` writes a folder for every volume and Gaussian scan of benchmarks/slices.py: truth, scan and the results of kfine
and of the closed-form methods; with --slab, of that many measured slices in the middle.  `run` starts the peer, in its
own environment, once for every number of patches, with the true thickness of its own Gaussian profile, and measures its
time.  `score` compares all on the grid of the truth, as benchmarks/slices.py does.

The peer keeps the field of view, kfine the centre index, so for slices 4 to 1 the peer's voxels begin 1.5 voxels of the
truth before kfine's: its affine places them, a cubic spline resamples them.  The scores leave out --border slices of
the truth at both ends.  Other placements, and a spline of order 5, are tried and printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from scipy.ndimage import affine_transform

sys.path.insert(0, str(Path(__file__).parents[1]))  # whose slices.py it is, as this file is __main__
import slices
from common import machine

import kfine
from kfine.image import Image
from kfine.training.config import CoreTrainingConfig, read_training_config

PUBLISHED = 1_000_000  # patches, the peer's default
SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5)  # voxels of the truth along the slices
METHODS = ("spline", "zero filling", "correction", "kfine")


def main() -> None:
    options = _options()
    {"make": make, "run": run, "score": score}[options.step](options)


def make(options: argparse.Namespace) -> None:
    config = read_training_config(Path(__file__).parents[2] / "configs" / "core.toml", CoreTrainingConfig)
    for truth in slices.TRUTHS:
        for scan in slices.SCANS:
            title = f"{truth.title}, {scan.title}"
            if scan.profile != "gaussian" or not all(part in title for part in options.only):
                continue
            for number, image in enumerate(slices.truths(truth, config.data, options), 1):
                folder = options.out / f"{title} {number}".replace(",", "").replace(" ", "-").lower()
                folder.mkdir(parents=True, exist_ok=True)
                _make(image, scan, folder, options.slab, f"{title}, volume {number}")


def _make(truth: Image, scan: slices.Scan, folder: Path, slab: int | None, title: str) -> None:
    mm, *plane = truth.voxel_sizes
    # The peer takes the finer side of the pixels as the target: 4.007 to 1 where that is 1.173 mm and the truth 1.175.
    truth = replace(truth, affine=np.diag([mm, *(max(each, mm) for each in plane), 1.0]))
    thickness = (scan.thickness or scan.spacing) * mm
    low = kfine.degrade(
        truth, slice_scale=scan.spacing, slice_profile=scan.profile, slice_thickness=thickness
    )
    if slab:
        first = (low.slices - slab) // 2
        at = round((np.linalg.inv(truth.affine) @ low.affine @ (first, 0, 0, 1))[0])
        low = _part(low, first, slab)
        truth = _part(truth, at, round(slab * scan.spacing))
    began = time.process_time()
    restored = kfine.restore(low, slice_scale=scan.spacing, method="core")
    seconds = time.process_time() - began
    results = {
        "truth": truth,
        "scan": low,
        "spline": slices.spline(low, scan.spacing),
        "zero filling": kfine.restore(low, slice_scale=scan.spacing, method="zero-filling").mean,
        "correction": slices.spline(slices.corrected(low, scan.spacing), scan.spacing),
        "kfine": restored.mean,
    }
    for name, image in results.items():
        voxels = nibabel.Nifti1Image(np.asarray(image.voxels[0], np.float32), image.affine)
        nibabel.save(voxels, folder / f"{name}.nii")
    facts = {"title": title, "relative thickness": scan.thickness or scan.spacing, "seconds": seconds}
    (folder / "make.json").write_text(json.dumps(facts | {"machine": machine()}, indent=2) + "\n")
    print(f"{folder}: truth {truth.voxels.shape[1:]}, scan {low.voxels.shape[1:]}, kfine {seconds:.0f} CPU s")


def _part(image: Image, first: int, count: int) -> Image:
    affine = image.affine.copy()
    affine[:, 3] = affine @ (first, 0, 0, 1)
    return replace(image, voxels=image.voxels[:, first : first + count], affine=affine)


def run(options: argparse.Namespace) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for folder in _folders(options.out):
        thickness = json.loads((folder / "make.json").read_text())["relative thickness"]
        for patches in options.patches:
            out = folder / f"eclare-{patches}"
            command = [options.eclare, "--in-fpath", folder / "scan.nii", "--out-dir", out, "--gpu-id", -1]
            command += ["--relative-slice-thickness", thickness, "--n-patches", patches]
            command += ["--batch-size", options.batch]
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([str(each) for each in command], check=True, env=variables)
            after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            facts = {"patches": patches, "batch": options.batch, "cpu": cpu, "wall": wall}
            facts |= {
                "load": os.getloadavg()[1],
                "machine": machine(),
                "threads": os.getenv("OMP_NUM_THREADS"),
            }
            (out / "run.json").write_text(json.dumps(facts, indent=2) + "\n")
            print(f"{out}: {cpu:.0f} CPU s, {wall:.0f} s")


def score(options: argparse.Namespace) -> None:
    print(f"# {machine()}; PSNR (dB) of the whole, of the body / SSIM")
    print("| volume | method | whole | body | SSIM | CPU s | wall s, load |")
    print("| --- " * 7 + "|")
    table = []
    for folder in _folders(options.out):
        facts = json.loads((folder / "make.json").read_text())
        truth = _image(folder / "truth.nii")
        rows = [{"method": name, "image": _image(folder / f"{name}.nii")} for name in METHODS]
        rows[-1]["cpu"] = facts["seconds"]
        runs = sorted(
            (json.loads(path.read_text()) for path in folder.glob("eclare-*/run.json")),
            key=lambda each: each["patches"],
        )
        notes = []
        for each in runs:
            result = nibabel.load(folder / f"eclare-{each['patches']}" / "scan_eclare.nii")
            tried = {
                (order, shift): placed(result, truth, order, shift)
                for order, shift in [*((3, shift) for shift in SHIFTS), (5, 0.0)]
            }
            found = {key: scores(truth, image, options.border)["psnr"] for key, image in tried.items()}
            notes.append(f"eclare, {each['patches']} patches: " + _placements(found))
            rows.append(
                {
                    "method": f"ECLARE, {each['patches']} patches, {updates(each)} updates",
                    "image": tried[3, 0.0],
                    **each,
                }
            )
        for row in rows:
            row |= scores(truth, row.pop("image"), options.border) | {"volume": facts["title"]}
            print(line(row))
        for note in notes:
            print(f"# {note}")
        if len(runs) > 1:
            least, most = runs[0], runs[-1]
            each = (most["cpu"] - least["cpu"]) / (most["patches"] - least["patches"])
            print(
                f"# a patch {each:.3f} CPU s, all else {most['cpu'] - each * most['patches']:.0f} CPU s; "
                f"{PUBLISHED:,} patches would take {each * PUBLISHED / 86400:.1f} days of a core; "
                f"run: {100 * most['patches'] / PUBLISHED:.2g} % of them"
            )
        table += rows
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": table}, indent=2) + "\n")


def updates(facts: dict) -> int:
    """Return the number of updates of the network."""
    return math.ceil(facts["patches"] / facts["batch"])


def placed(result: nibabel.Nifti1Image, truth: Image, order: int, shift: float) -> Image:
    """Return the peer's volume on the grid of the truth, moved by `shift` voxels along the slices."""
    matrix = np.linalg.inv(result.affine) @ truth.affine
    offset = (matrix @ (shift, 0, 0, 1))[:3]
    voxels = affine_transform(
        result.get_fdata(dtype=np.float64),
        matrix[:3, :3],
        offset,
        truth.voxels.shape[1:],
        order=order,
        mode="nearest",
    )
    return replace(truth, voxels=voxels[None].astype(np.float32))


def scores(truth: Image, image: Image, border: int) -> dict[str, float]:
    """Return the scores without the outer slices."""
    inner = [
        replace(each, voxels=each.voxels[:, border : each.slices - border], affine=truth.affine)
        for each in (truth, image)
    ]
    return slices._score(*inner)


def line(row: dict) -> str:
    """Return a row of the table."""
    cells = [row["volume"], row["method"], f"{row['psnr']:.2f}", f"{row['body']:.2f}", f"{row['ssim']:.3f}"]
    cells.append(f"{row['cpu']:.0f}" if "cpu" in row else "")
    cells.append(f"{row['wall']:.0f}, {row['load']:.1f}" if "wall" in row else "")
    return "| " + " | ".join(cells) + " |"


def _placements(found: dict[tuple[int, float], float]) -> str:
    cubic = ", ".join(f"{shift:+g}: {psnr:.2f}" for (order, shift), psnr in found.items() if order == 3)
    return f"PSNR by shift (voxels) {cubic}; order 5: {found[5, 0.0]:.2f}"


def _folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("*/make.json"))


def _image(path: Path) -> Image:
    found = nibabel.load(path)
    return Image(found.get_fdata(dtype=np.float32)[None], found.affine)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    own = {name: steps.add_parser(name) for name in ("make", "run", "score")}
    for each in own.values():
        each.add_argument(
            "--out", type=Path, required=True, help="folder of the volumes, outside the project"
        )
    own["make"].add_argument("--data", type=Path, required=True)
    own["make"].add_argument("--only", nargs="+", default=["Gaussian, 4"], help="parts of the titles")
    own["make"].add_argument("--volumes", type=int, default=1, help="of a source, at most")
    own["make"].add_argument("--slab", type=int, help="thick slices in the middle; default: all; even")
    own["run"].add_argument("--eclare", type=Path, required=True, help="run-eclare of its environment")
    own["run"].add_argument("--patches", type=int, nargs="+", required=True)
    own["run"].add_argument("--batch", type=int, default=128)
    own["score"].add_argument("--border", type=int, default=4)
    own["score"].add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.step == "make" and options.slab and options.slab % 2:
        parser.error("--slab: expected an even number")
    return options


if __name__ == "__main__":
    main()
