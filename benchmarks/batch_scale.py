"""Whether a batch slows down as it grows: processor time an image, early and late, and that of finding what is done.

python benchmarks/batch_scale.py [--cases 1000] [--method zero-filling]

Small images (two slices of 32x32), so that what a batch adds to an image is what is measured: looking through the tree,
claims, stamps, digests, moves into place.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import machine

import kfine
from kfine.batches.run import Display
from kfine.image import Image

WINDOWS = 5


class Clock(Display):
    """Notes the processor time at each outcome."""

    def __init__(self) -> None:
        self.began = time.process_time()
        self.times: list[float] = []

    def outcome(self, outcome, *, number: int, total: int) -> None:
        """Note one."""
        self.times.append(time.process_time())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--method", default="zero-filling")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"# {machine()}; load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    print(
        f"# {options.cases} images, {options.method}; processor milliseconds an image, by fifths of the run"
    )
    with tempfile.TemporaryDirectory() as folder:
        top, out = Path(folder) / "in", Path(folder) / "out"
        for number in range(options.cases):
            path = top / f"sub-{number:05}" / "scan.nii.gz"
            path.parent.mkdir(parents=True)
            kfine.write(Image(rng.uniform(0, 1, (1, 2, 32, 32)).astype(np.float32)), path)
        for name in ("restored", "finished before", "finished before, by the manifest"):
            clock = Clock()
            manifest = Path(folder) / "run" if "manifest" in name else None
            if manifest is not None:  # the second run with it does not look through the tree
                kfine.batch(top, out, scale=2, method=options.method, manifest=manifest)
                clock.began = time.process_time()
            run = kfine.batch(top, out, scale=2, method=options.method, display=clock, manifest=manifest)
            assert not run.failed
            edges = np.linspace(1, len(clock.times) - 1, WINDOWS + 1).astype(int)
            each = [1e3 * (clock.times[b] - clock.times[a]) / (b - a) for a, b in pairwise(edges)]
            first = clock.times[0] - clock.began
            print(
                f"{name}: {' '.join(f'{ms:.1f}' for ms in each)}; up to the first one {first:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
