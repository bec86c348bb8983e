"""Memory of network calls: bytes per pixel of each method, the constants of `kfine.restoration.memory`.

python benchmarks/memory.py [--methods core vdm] [--matrix 128 256]

Each restoration runs in a process of its own, of one slice of the phantom; the slope is the difference of the peak
resident memory between two matrices over the difference of pixels, the rest is what the larger one needs besides.
Methods that work in time get 16 frames of matrices of half the size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from kfine.benchmark.cases import machine

FRAMES = 16
SAMPLED = ("vdm", "ldm")
CINES = ("cine-core", "cine-ldm", "cine-regression")
METHODS = ("core", "sharp", "srresnet", "srgan", *SAMPLED, *CINES)
ONE = """
import json, sys, warnings
import numpy as np
from dataclasses import replace
import kfine
from kfine.phantom.cine import beating_heart
from kfine.restoration.memory import resident
warnings.simplefilter("ignore")
side, frames, options = json.loads(sys.argv[1])
image = beating_heart((side, side), frames=max(frames, 4), slices=1)
if frames == 1:
    image = replace(image, voxels=image.voxels[:1], frame_times=None, period=None)
kfine.load_model(options["model"])
before = resident()
kfine.restore(image, scale=2, planes_a_call=1, **options)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(json.dumps([before, int(peak.split()[1]) * 1024]))
"""


def peak(method: str, precision: str, side: int) -> tuple[int, int]:
    """Return (pixels, bytes above the process with its model loaded) of one slice."""
    from kfine.restoration.selection import packaged_for

    frames = FRAMES if method in CINES else 1
    few = {"samples": 2, "steps": 2} if method in SAMPLED else {}
    options = {"method": method, "model": packaged_for(method), "precision": precision, **few}
    call = [sys.executable, "-c", ONE, json.dumps([side, frames, options])]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    before, most = json.loads(done.stdout.splitlines()[-1])
    return (2 * side) ** 2 * frames, most - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--matrix", nargs=2, type=int, default=(128, 256), metavar=("SMALL", "LARGE"))
    options = parser.parse_args()
    print(f"# {machine()}")
    print("| method | precision | bytes a pixel | besides, MiB |\n| --- | --- | ---: | ---: |")
    for method in options.methods:
        sides = [side // 2 if method in CINES else side for side in options.matrix]
        for precision in ("float32", "bfloat16"):
            (few, small), (many, large) = (peak(method, precision, side) for side in sides)
            slope = (large - small) / (many - few)
            besides = (large - slope * many) / 2**20
            print(f"| {method} | {precision} | {slope:.0f} | {besides:.0f} |", flush=True)


if __name__ == "__main__":
    main()
