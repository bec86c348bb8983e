"""README's picture: one slice of a validation brain, degraded, restored, beside its reference.

python benchmarks/picture.py --data BRAINS --out docs/images/brain-64-to-128.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import references

import kfine
from kfine.viz.figure import draw, save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subject", default="sub-63")
    parser.add_argument("--low", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--samples", type=int, default=16)
    options = parser.parse_args()
    (reference,) = references(options.data, (options.subject,), (128, 128), 3).values()
    reference = reference.take_slices(1, 2)
    low = kfine.degrade(reference, matrix=tuple(options.low))
    restored = kfine.restore(low, matrix=(128, 128), samples=options.samples)
    others = {
        name: kfine.restore(low, matrix=(128, 128), method=name).mean for name in ("zero-filling", "bicubic")
    }
    name = f"{restored.provenance['model']['name']}, mean of {options.samples}"
    figure = draw(
        low=low, restored={**others, name: restored.mean}, reference=reference, uncertainty=restored.std,
        provenance=f"OpenNeuro ds002748 {options.subject} (validation), CC0 · k-space residual {restored.residual:.0e}",
    )  # fmt: skip
    save(figure, options.out, overwrite=True, dpi=110)


if __name__ == "__main__":
    main()
