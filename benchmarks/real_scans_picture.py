"""README's picture: validation slices of two contrasts: scan, bicubic, restored, sharp and the reference.

python benchmarks/real_scans_picture.py --data DATA --out docs/images/real-scans.png [--model FOLDER]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from quality import Setting, references

import kfine
from kfine.evaluation.comparison import compare
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.core_patches import load_volumes

ROWS = (("T2, 0.66 x 0.88 mm", "brain_ms_thick T2W"), ("FLAIR, 0.80 x 1.12 mm", "brain_ms_thick FLAIR"))
CROP = 120  # voxels of the square that is shown


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(options.config, CoreTrainingConfig)
    _, validation = load_volumes(options.data, config.data)
    figure, axes = plt.subplots(
        len(ROWS), 5, figsize=(15, 2.7 * len(ROWS)), facecolor="black", layout="constrained"
    )
    for axis_row, (title, source) in zip(axes, ROWS, strict=True):
        setting = Setting("", ("brain_ms_thick",), None, options.scale)
        name = "-".join(source.split())
        reference = next(
            image for label, image in references(setting, config, validation, 5) if label.startswith(name)
        )
        reference = reference.take_slices(3, 4)
        low = kfine.degrade(reference, scale=options.scale)
        bicubic = kfine.restore(low, matrix=reference.matrix, method="bicubic").mean
        restored = kfine.restore(low, matrix=reference.matrix, method="core", model=options.model, sharp=True)
        assert restored.sharp is not None
        shown = [
            ("scan", low),
            ("bicubic", bicubic),
            ("kfine", restored.mean),
            ("kfine --sharp", restored.sharp),
            ("reference", reference),
        ]
        for axis, (label, image) in zip(axis_row, shown, strict=True):
            rows, columns = (
                round(CROP * n / m / 2) for n, m in zip(image.matrix, reference.matrix, strict=True)
            )
            plane = np.abs(image.voxels[0, 0])
            middle = [n // 2 for n in plane.shape]
            part = plane[middle[0] - rows : middle[0] + rows, middle[1] - columns : middle[1] + columns]
            aspect = (
                reference.voxel_sizes[1]
                / reference.voxel_sizes[2]
                * columns
                / rows
                * part.shape[0]
                / part.shape[1]
            )
            axis.imshow(
                part[::-1], cmap="gray", vmin=0, vmax=np.quantile(reference.voxels, 0.999), aspect=aspect
            )
            axis.axis("off")
            figures = ""
            if label not in ("scan", "reference"):
                result = compare(reference, image)
                figures = f"  {result.pooled_whole:.1f} dB, SSIM {result.whole.ssim:.3f}"
            axis.set_title(
                f"{title}, {'x'.join(map(str, image.matrix))}" if label == "scan" else label + figures,
                color="white",
                fontsize=9,
            )
    figure.savefig(options.out, dpi=110, facecolor="black")


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--scale", type=float, default=3.0)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    return parser.parse_args()


if __name__ == "__main__":
    main()
