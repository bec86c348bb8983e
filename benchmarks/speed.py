"""Time and peak memory: a model of planes, or of cines.

python benchmarks/speed.py --default
python benchmarks/speed.py [--model runs/vdm/model] [--volume]
python benchmarks/speed.py --cine [--model runs/cine-ldm/model] [--volume]

Default: a volume of 288x288x181 without any air, by method core, with its uncertainty.  Planes: four
images of 128x128 in 20 evaluations, and a volume of 256x256x180.  Cines: a slice of 20 frames of 256x256, one sample of
15 evaluations, given as time a frame, and a study of 12 such slices.
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
    if options.default:
        _default(rng)
    elif options.cine:
        _cines(rng, model, volume=options.volume)
    else:
        _planes(rng, model, volume=options.volume)


def _default(rng):
    low = Image(rng.uniform(0, 1, (1, 181, 288, 288)).astype(np.float32))
    began = time.perf_counter()
    restored = kfine.restore(low, scale=2, method="core")
    seconds = time.perf_counter() - began
    method = restored.provenance["method"]
    print(f"288x288x181 to 576x576x181, {method}: {seconds:.0f} s; {_peak()}")


def _planes(rng, model, *, volume):
    four = Image(rng.uniform(0, 1, (1, 4, 64, 64)))
    times = _times(4, four, scale=2, model=model, samples=1, steps=20)
    print(f"4 images, 64x64 to 128x128, 20 evaluations: {_said(times)}")
    for slices in (4, 180) if volume else ():
        low = Image(rng.uniform(0, 1, (1, slices, 128, 128)))
        kfine.restore(low, scale=2, model=model, samples=2, steps=1)
        print(f"{slices} slices, 128x128 to 256x256, 2 samples: {_peak()}")


def _cines(rng, model, *, volume):
    sampled = {"scale": 2, "frames_scale": 2, "method": "cine-ldm", "model": model}
    whole = _times(3, _cine(rng, 1), **sampled, samples=1, steps=15)
    predicted = _times(3, _cine(rng, 1), **sampled | {"method": "cine-regression"})
    print(f"20 frames, 128x128 to 256x256, 1 sample of 15 evaluations: {_said(whole)}")
    print(f"its prediction alone: {_said(predicted)}; in all {statistics.median(whole) / 20:.2f} s a frame")
    for slices in (1, 12) if volume else ():
        kfine.restore(_cine(rng, slices), **sampled, samples=2, steps=1)
        print(f"{slices} slices of 20 frames, 128x128 to 256x256, 2 samples: {_peak()}")


def _cine(rng, slices):
    """Return 10 frames of noise round a heart beat of 1 s."""
    times = tuple(np.arange(10) / 10)
    return Image(rng.uniform(0, 1, (10, slices, 128, 128)), frame_times=times, period=1.0)


def _times(count, image, **asked):
    """Return the seconds of `count` restorations after a first one, which loads and warms up."""
    kfine.restore(image, **asked)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        kfine.restore(image, **asked)
        times.append(time.perf_counter() - began)
    return times


def _said(times):
    return f"median {statistics.median(times):.2f} s of {', '.join(f'{seconds:.2f}' for seconds in times)}"


def _peak():
    return f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--default", action="store_true", help="a whole volume as users restore it")
    parser.add_argument("--cine", action="store_true", help="a model of cines")
    parser.add_argument("--volume", action="store_true", help="also memory, of a volume or a study")
    return parser.parse_args()


if __name__ == "__main__":
    main()
