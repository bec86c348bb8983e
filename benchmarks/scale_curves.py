"""Time and memory of restorations against slices, matrix, frames and workers, each run a process of its own.

python benchmarks/scale_curves.py [--only slices matrix frames workers] [--cases 8 16] [--figure docs/images/scale.png]
    [--json FILE]

Images are random voxels without air, so that no slice is skipped; one thread a process.  The frames of such a cine are
evaluated twice, since random voxels count as noise.  Differences to the smallest run tell whether the work is
proportional; workers need as many idle cores, and the extra cluster.  Two numbers of images separate the work of two
workers from the start and end of scheduler and workers.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from common import machine

import kfine
from kfine.image import Image

CURVES = {"slices": (4, 8, 16, 32), "matrix": (64, 128, 256, 512), "frames": (4, 8, 16, 32)}
WORKERS = (1, 2)
UNITS = {
    "slices": "slices, 128x128 to 256x256",
    "matrix": "side of a square matrix, of 2 slices, twice that of the scan",
    "frames": "measured frames, twice as many restored; 96x96 to 192x192, one slice",
}


def main() -> None:
    options = _options()
    print(f"# {machine()}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in CURVES.items():
            if name not in options.only:
                continue
            print(f"\n| {UNITS[name]} | processor s | wall s | peak GiB |\n| ---: | ---: | ---: | ---: |")
            found[name] = []
            for size in sizes:
                low, extra = _image(name, size)
                path = Path(folder) / f"{name}-{size}.nii.gz"
                kfine.write(low, path)
                out = Path(folder) / f"{name}-{size}-out.nii.gz"
                row = _run(["restore", str(path), "-o", str(out), "--scale", "2", *extra])
                found[name].append({"size": size} | row)
                print(
                    f"| {size} | {row['cpu']:.1f} | {row['wall']:.1f} | {row['peak'] / 2**30:.2f} |",
                    flush=True,
                )
        if "workers" in options.only:
            found["workers"] = _compared(Path(folder), options.cases)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "curves": found}, indent=1) + "\n")
    if options.figure:
        _draw(found, options.figure)


def _compared(folder, cases):
    """Print and return the wall seconds of batches of each number of cases, by one and by two workers."""
    print("\n| images | workers | wall s |\n| ---: | ---: | ---: |")
    rows = []
    for number in cases:
        for count in WORKERS:
            rows.append({"size": count, "cases": number} | _workers(folder, count, number))
            print(f"| {number} | {count} | {rows[-1]['wall']:.1f} |", flush=True)
        one, two = (row["wall"] for row in rows[-2:])
        print(f"# {number} images: two workers are {one / two:.2f} times as fast as one")
    if len(cases) > 1:
        images = cases[-1] - cases[0]
        one, two = ((rows[count - 2]["wall"] - rows[count]["wall"]) / images for count in (0, 1))
        print(f"# each further image: {one:.2f} s, {two:.2f} s, {one / two:.2f} times as fast")
    return rows


def _image(name, size):
    """Return the image of a run, and the options of its restoration."""
    rng = np.random.default_rng(0)
    shape = {
        "slices": (1, size, 128, 128),
        "matrix": (1, 2, size // 2, size // 2),
        "frames": (size, 1, 96, 96),
    }[name]
    voxels = rng.uniform(200, 1000, shape).astype(np.float32)
    if name == "frames":
        times = tuple(0.8 * frame / size for frame in range(size))
        return Image(voxels, frame_times=times, period=0.8), ["--frames-scale", "2", "--method", "cine-core"]
    return Image(voxels), ["--method", "core"]


def _run(arguments):
    """Return processor and wall seconds and the peak memory of a kfine command."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "kfine", *arguments, "--quiet"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"kfine {' '.join(arguments)}: exit code {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "wall": time.perf_counter() - began,
        "peak": usage.ru_maxrss * unit,
    }


def _workers(folder, count, cases):
    scans, out = folder / f"scans-{cases}", folder / f"out-{cases}-{count}"
    scans.mkdir(exist_ok=True)
    for number in range(cases):
        kfine.write(_image("slices", 16)[0], scans / f"{number}.nii.gz", overwrite=True)
    return _run(
        ["batch", str(scans), str(out), "--scale", "2", "--method", "core", "--dask", f"local:{count}"]
    )


def _draw(found, path):
    """Draw processor seconds and peak memory; the time of a matrix is drawn over its pixels."""
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.2), constrained_layout=True)
    for axes, name in zip(panels, CURVES, strict=True):
        rows = found[name]
        sizes = [row["size"] for row in rows]
        places = [size**2 for size in sizes] if name == "matrix" else sizes
        axes.plot(places, [row["cpu"] for row in rows], "o-", label="processor seconds")
        axes.set(xlabel=UNITS[name].split(",")[0].split(";")[0], ylabel="processor seconds")
        axes.set(xticks=places[-3:], xticklabels=sizes[-3:], xlim=(0, None), ylim=(0, None))
        other = axes.twinx()
        other.plot(places, [row["peak"] / 2**30 for row in rows], "s--", color="tab:orange", label="peak GiB")
        other.set(ylim=(0, None), ylabel="peak GiB")
        axes.grid(alpha=0.3)
        lines = [*axes.lines, *other.lines]
        axes.legend(lines, [line.get_label() for line in lines], fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[*CURVES, "workers"], choices=[*CURVES, "workers"])
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 16], help="images for the workers")
    parser.add_argument("--figure", type=Path, help="needs all curves")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
