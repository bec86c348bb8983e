"""README's moving picture: one slice of a validation cine, coarse in space and time, restored, beside its reference.

python benchmarks/cine_picture.py --data CINES --out docs/images/heart.png [--model FOLDER]

Also writes OUT with the suffix .gif.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import kfine
from kfine.acquisition.timing import timing_of_image
from kfine.viz.animation import animate
from kfine.viz.cine import draw_cine
from kfine.viz.figure import save

BASELINE = "zero filling, optical flow"


def main() -> None:
    options = _options()
    study = kfine.read(options.data / options.subject)
    truth = study.take_slices(options.slice, options.slice + 1)
    low = kfine.degrade(truth, scale=options.scale, keep_every=options.keep_every)
    asked = {"matrix": truth.matrix, "frames": truth.frames}
    baseline = kfine.restore(low, **asked, method="zero-filling").mean
    result = kfine.restore(low, **asked, method="cine-core", model=options.model, sharp=options.model is None)
    sharp = {} if result.sharp is None else {"sharp": result.sharp}
    restored = {BASELINE: baseline, **sharp, "cine-core": result.mean}
    timing = timing_of_image(low, frames_scale=None, frames=truth.frames)
    provenance = (
        f"Sunnybrook Cardiac Data {options.subject} (validation), CC0, slice {options.slice} · magnitude residual "
        f"{result.residual:.0e}"
    )
    figure = draw_cine(
        low=low,
        restored=restored,
        timing=timing,
        reference=truth,
        uncertainty=result.std,
        provenance=provenance,
    )
    save(figure, options.out, overwrite=True, dpi=80)
    moving = animate(low=low, restored=restored, timing=timing, reference=truth)
    moving.save(options.out.with_suffix(".gif"), overwrite=True)


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="CINES")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subject", default="SCD0000401")
    parser.add_argument("--slice", type=int, default=5)
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--keep-every", type=int, default=4)
    parser.add_argument("--model", default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
