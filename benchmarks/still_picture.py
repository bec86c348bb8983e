"""README's picture of stills: a frame of a validation heart, coarse, restored by three networks, beside its truth.

python benchmarks/still_picture.py --data FRAMES --out docs/images/still-x3.png [--model runs/decoder/model]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frames import frames_of

import kfine
from kfine.viz.figure import draw, save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subject", default="SC-HF-NI-33")
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--model", help="folder of a model of method ldm; the packaged one if left out")
    options = parser.parse_args()
    volume = frames_of(options.data, options.subject)
    reference = volume.take_slices(volume.slices // 2, volume.slices // 2 + 1)
    low = kfine.degrade(reference, scale=options.scale)
    result = kfine.restore(low, matrix=reference.matrix, method="ldm", model=options.model, keep_samples=True)
    others = {
        name: kfine.restore(low, matrix=reference.matrix, method=name).mean for name in ("bicubic", "srgan")
    }
    drawn = {"ldm, one sample": result.samples[0], f"ldm, mean of {len(result.samples)}": result.mean}
    figure = draw(
        low=low, restored={**others, **drawn}, reference=reference, uncertainty=result.std,
        provenance=f"Sunnybrook Cardiac Data {options.subject} (validation), CC0 · residual {result.residual:.0e}",
    )  # fmt: skip
    save(figure, options.out, overwrite=True, dpi=110)


if __name__ == "__main__":
    main()
