"""Time and memory of restorations against slices, matrix, frames and workers, each run a process of its own.

python benchmarks/scale_curves.py [--figure docs/images/scale.png] [--json FILE]

Images are random voxels without air, so that no slice is skipped; one thread a process.  The frames of such a cine are
evaluated twice, since random voxels count as noise.  Differences to the smallest run tell whether the work is
proportional; workers need as many idle cores, and the extra cluster.
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
WORKERS, CASES = (1, 2), 8
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
        print(f"\n| workers, {CASES} images | wall s |\n| ---: | ---: |")
        found["workers"] = []
        for count in WORKERS:
            row = _workers(Path(folder), count)
            found["workers"].append({"size": count} | row)
            print(f"| {count} | {row['wall']:.1f} |", flush=True)
    print(
        f"\ntwo workers are {found['workers'][0]['wall'] / found['workers'][1]['wall']:.2f} times as fast as one"
    )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "curves": found}, indent=1) + "\n")
    if options.figure:
        _draw(found, options.figure)


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


def _workers(folder, count):
    scans = folder / "scans"
    scans.mkdir(exist_ok=True)
    for number in range(CASES):
        kfine.write(_image("slices", 16)[0], scans / f"{number}.nii.gz", overwrite=True)
    batch = ["batch", str(scans), str(folder / f"out-{count}"), "--scale", "2", "--method", "core"]
    return _run([*batch, "--dask", f"local:{count}"])


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
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
