"""Time of four images of 128x128 in 20 evaluations, and peak memory of a whole volume.

python benchmarks/speed.py [--model runs/brain-vdm/model] [--volume]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
from common import machine

import kfine
from kfine.image import Image


def main() -> None:
    options = _options()
    print(f"# {machine()}")
    rng = np.random.default_rng(0)
    model = kfine.load_model(options.model) if options.model else None
    four = Image(rng.uniform(0, 1, (1, 4, 64, 64)))
    times = []
    for _ in range(4):
        began = time.perf_counter()
        kfine.restore(four, scale=2, model=model, samples=1, steps=20)
        times.append(time.perf_counter() - began)
    print(
        f"4 images, 64x64 to 128x128, 20 evaluations: median {statistics.median(times[1:]):.2f} s of {times[1:]}"
    )
    if options.volume:
        for slices in (4, 180):
            low = Image(rng.uniform(0, 1, (1, slices, 128, 128)))
            kfine.restore(low, scale=2, model=model, samples=2, steps=1)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"{slices} slices, 128x128 to 256x256, 2 samples: peak memory {peak:.2f} GiB")


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--volume", action="store_true", help="also a volume of 256x256x180")
    return parser.parse_args()


if __name__ == "__main__":
    main()
