"""Picture of docs/slices.md: a FLAIR of thick slices made isotropic, seen across its slices, cropped to the brain.

python benchmarks/slices_picture.py --image DATA/brain_ms_thick/patient04_study1_FLAIR.nii.gz --out slices.png
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from slices import spline

import kfine


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    low = kfine.read(options.image)
    result = kfine.restore(low, isotropic=True, **({"model": options.model} if options.model else {}))
    scale = result.mean.slices / low.slices
    columns = {
        f"measured, {low.voxel_sizes[0]:.2g} mm": low,
        "cubic spline": spline(low, scale),
        f"kfine, {result.mean.voxel_sizes[0]:.2g} mm": result.mean,
    }
    heights = [box[1] - box[0] for box in (options.box_sagittal, options.box_coronal)]
    figure = Figure(figsize=(11, 5.2), facecolor="black")
    axes = figure.subplots(2, len(columns), gridspec_kw={"height_ratios": heights})
    full = float(np.quantile(low.voxels, 0.998))
    for column, (name, image) in enumerate(columns.items()):
        for row, view in enumerate(("sagittal", "coronal")):
            plane, extent = _plane(image, view, options)
            drawn = axes[row, column]
            drawn.imshow(
                plane, cmap="gray", vmin=0, vmax=full, extent=extent, origin="lower", interpolation="nearest"
            )
            drawn.set_axis_off()
            if row == 0:
                drawn.set_title(name, color="white")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.94, wspace=0.01, hspace=0.01)
    figure.savefig(options.out, dpi=110, facecolor="black")


def _plane(image: kfine.Image, view: str, options: argparse.Namespace):
    """Return a cropped plane, superior up, and its edges in mm from the image's centre."""
    axis = 2 if view == "sagittal" else 1  # of (slice, row, column): axial slices
    n = image.voxels.shape[1 + axis]
    at = n // 2 + round(getattr(options, view) / image.voxel_sizes[axis])
    plane = image.voxels[0].take(at, axis)
    sizes = [image.voxel_sizes[0], image.voxel_sizes[3 - axis]]
    up, along = image.affine[2, 0] > 0, image.affine[1 if axis == 2 else 0, 3 - axis] > 0
    box = options.box_sagittal if view == "sagittal" else options.box_coronal
    spans, extent = [], []
    for place, (size, forward) in enumerate(zip(sizes, (up, along), strict=True)):
        count = plane.shape[place]
        mm = (np.arange(count) - count // 2) * size * (1 if forward else -1)
        first, last = box[2 * place : 2 * place + 2]
        kept = np.flatnonzero((mm >= first) & (mm <= last))
        kept = kept if forward else kept[::-1]
        spans.append(kept)
        extent.append((mm[kept[0]] - size / 2, mm[kept[-1]] + size / 2))
    return plane[np.ix_(*spans)], (*extent[1], *extent[0])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--sagittal", type=float, default=-14, help="mm of the plane from the centre")
    parser.add_argument("--coronal", type=float, default=0, help="the same")
    for view, box in (("sagittal", (-5, 68, -75, 55)), ("coronal", (-30, 68, -65, 65))):
        parser.add_argument(
            f"--box-{view}", type=float, nargs=4, default=box, help="mm: up from, to; along from, to"
        )
    return parser.parse_args()


if __name__ == "__main__":
    main()
