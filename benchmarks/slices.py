"""The slice direction: thick slices made of validation volumes and refined again, against closed-form methods.

The truths are the validation volumes of configs/core.toml whose voxels are about isotropic in two directions, at their
true resolution; a direction that is true to about 1 mm counts as the slice direction, because the slices themselves are
coarser.  PSNR (dB) is pooled over the whole volume and, "body", over the body; SSIM is the mean over planes through the
slices.  Everything is without negative values.  Methods: cubic spline on the aligned grid; zero filling; the correction
filter (Abu Hussein et al., CVPR 2020), which takes the profile out of the slices, then the spline; and `kfine.restore`.
"covered" is the part of the body's voxels in the 90 % interval of the standard deviation, with a factor fitted to the
other volumes; --write puts the factor of all volumes, "slices" of the table of uncertainty, into the config.json of
--model FOLDER.

python benchmarks/slices.py --data DATA [--only T1 "3-D scan"] [--model FOLDER [--write]] [--adapt 300] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from common import machine
from scipy.ndimage import spline_filter1d

import kfine
from kfine.acquisition.slices import slice_plan
from kfine.evaluation.comparison import compare
from kfine.image import Image
from kfine.methods.slices import continued, slice_operator
from kfine.models.calibration import Calibration
from kfine.models.checkpoint import load_model
from kfine.training.config import CoreDataConfig, CoreTrainingConfig, read_training_config
from kfine.training.data.core_patches import true_volume

GREY = 1000.0  # scanner units of full intensity
QUANTILES = np.arange(1, 1000) / 1000
NORMAL_90 = 1.6449  # standard deviations to both sides that hold 90 % of a normal distribution


@dataclass(frozen=True)
class Truth:
    """Validation volumes of one source.

    Attributes:
        title: of the row.
        folder, files: of the source in configs/core.toml.
        axes: which axes of (slice, row, column) become slice, row and column: the first is thick in the scan.
    """

    title: str
    folder: str
    files: str
    axes: tuple[int, int, int]


TRUTHS = [
    Truth("T1 brain", "brain_t1w", "*", (2, 0, 1)),
    Truth("T1 head", "brain_whole_t1", "siemens_m*", (2, 0, 1)),
    Truth("T2 brain", "brain_stroke", "M*", (2, 0, 1)),
    Truth("FLAIR head", "brain_ms_thick", "*FLAIR*", (1, 0, 2)),
]


@dataclass(frozen=True)
class Scan:
    """How a truth is measured.

    Attributes:
        title: of the row.
        profile: of the slices.
        spacing: of the slices, in voxels of the truth.
        thickness: full width at half maximum, the same; None: the spacing.
    """

    title: str
    profile: str
    spacing: float
    thickness: float | None = None


SCANS = [
    Scan("3-D scan, 4 to 1", "crop", 4),
    Scan("Gaussian, 4 to 1", "gaussian", 4),
    Scan("Gaussian 5, gap 1, 6 to 1", "gaussian", 6, 5),
    Scan("box, 4 to 1", "box", 4),
]
METHODS = ("spline", "zero filling", "correction", "kfine")


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(Path(__file__).parents[1] / "configs" / "core.toml", CoreTrainingConfig)
    print(f"# {machine()}; PSNR (dB) / SSIM, means over volumes; gains: mean (least volume)")
    heads = [
        "truth",
        "scan",
        "volumes",
        *METHODS,
        "gain over spline",
        "gain, body",
        "over correction",
        "covered",
    ]
    print("| " + " | ".join([*heads, "CPU s"]) + " |")
    print("| --- " * (len(heads) + 1) + "|")
    rows = []
    for truth in TRUTHS:
        for scan in SCANS:
            if options.only and not all(part in f"{truth.title}, {scan.title}" for part in options.only):
                continue
            found = [scores(image, scan, options) for image in truths(truth, config.data, options)]
            rows.append({"truth": truth, "scan": scan, "volumes": found})
    factor = cover(rows)
    for row in rows:
        print(line(row["truth"], row["scan"], row["volumes"]))
    print(f"# factor of the standard deviation: {factor:.4g}")
    if options.write:
        path = Path(options.model) / "config.json"
        text = json.loads(path.read_text())
        text["uncertainty"]["slices"] = round(factor, 4)
        path.write_text(json.dumps(text, indent=2) + "\n")
    if options.json:
        titled = [{**row, "truth": row["truth"].title, "scan": row["scan"].title} for row in rows]
        options.json.write_text(json.dumps({"machine": machine(), "rows": titled}, indent=2) + "\n")


def truths(truth: Truth, config: CoreDataConfig, options: argparse.Namespace):
    """Yield the validation volumes of a source, the slices along the direction that is thick in the scan."""
    source = next(s for s in config.sources if (s.folder, s.files) == (truth.folder, truth.files))
    root, patterns = options.data, config.validation
    named = [path for path in sorted((root / source.folder).glob(f"{truth.files}.nii*"))]
    chosen = [p for p in named if any(fnmatch(p.relative_to(root).as_posix(), each) for each in patterns)]
    for path in chosen[: options.volumes]:
        volume = true_volume(path, source)
        voxels = np.ascontiguousarray(volume.voxels.transpose(truth.axes))
        voxels = voxels[
            len(voxels) % 12 :
        ]  # both 4 and 6 divide the slices: no scan is a fraction off its name
        sizes = [volume.spacing[axis] for axis in truth.axes]
        yield Image(voxels[None] * GREY, np.diag([*sizes, 1.0]))


def scores(truth: Image, scan: Scan, options) -> dict:
    """Return the scores of every method on one volume."""
    mm = truth.voxel_sizes[0]
    thickness = None if scan.thickness is None else scan.thickness * mm
    low = kfine.degrade(
        truth, slice_scale=scan.spacing, slice_profile=scan.profile, slice_thickness=thickness
    )
    began = time.process_time()
    extra = {"model": options.model} if options.model else {}
    restored = kfine.restore(low, slice_scale=scan.spacing, method="core", adapt=options.adapt, **extra)
    seconds = time.process_time() - began
    filled = kfine.restore(low, slice_scale=scan.spacing, method="zero-filling").mean
    results = {
        "spline": spline(low, scan.spacing),
        "zero filling": filled,
        "correction": spline(corrected(low, scan.spacing), scan.spacing),
        "kfine": restored.mean,
    }
    found = {name: _score(truth, image) for name, image in results.items()}
    row = {"seconds": seconds, "methods": found}
    if restored.std is not None:
        body = truth.voxels > 0.1 * GREY
        needed = np.abs(restored.mean.voxels - truth.voxels)[body] / (NORMAL_90 * restored.std.voxels[body])
        # Factors of the standard deviation that 0.1, 0.2, ... 99.9 % of the voxels need.
        row["needed"] = (slices_factor(options.model) * np.quantile(needed, QUANTILES)).tolist()
    return row


def slices_factor(model: str | None) -> float:
    """Return the factor that the model has now."""
    table = Calibration.of("", load_model(model or "core").config)
    return 1.0 if table is None else table.slices


def cover(rows: list[dict]) -> float:
    """Give each volume its coverage by the factor of the others, as "covered"; return the factor of all.

    A volume needs the geometric mean of what its scans need at 90 %, volumes the geometric mean of those.
    """
    volumes: dict[tuple[str, int], list[dict]] = {}
    for row in rows:
        for number, scores in enumerate(row["volumes"]):
            if "needed" in scores:
                volumes.setdefault((row["truth"].title, number), []).append(scores)
    at_90 = QUANTILES.searchsorted(0.9)
    logs = {key: np.mean([np.log(each["needed"][at_90]) for each in own]) for key, own in volumes.items()}
    for key, own in volumes.items():
        others = [value for other, value in logs.items() if other != key]
        for scores in own:
            scores["covered"] = float(
                np.searchsorted(scores["needed"], np.exp(np.mean(others or [0]))) / 1000
            )
    return float(np.exp(np.mean(list(logs.values()))))


def spline(low: Image, scale: float) -> Image:
    """Return the cubic spline through the slices, mirrored at the ends, on the aligned grid."""
    plan = slice_plan(low, scale=scale)
    n = low.slices
    at = (np.arange(plan.fine) - plan.fine // 2) / plan.ratio + n // 2
    weights = spline_filter1d(low.voxels[0].astype(np.float64), 3, axis=0, mode="mirror")
    first, fine = np.floor(at).astype(int), 0.0
    for neighbour in (first - 1, first, first + 1, first + 2):
        distance = np.abs(at - neighbour)
        near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clip(0) ** 3 / 6
        place = np.abs(neighbour)
        place = np.where(place > n - 1, 2 * (n - 1) - place, place)
        fine = fine + np.where(distance < 1, near, far)[:, None, None] * weights[place]
    return replace(low, voxels=np.asarray(fine)[None], affine=plan.affine(low.affine))


def corrected(low: Image, scale: float) -> Image:
    """Return the slices with their profile taken out."""
    plan = slice_plan(low, scale=scale)
    long = continued(torch.from_numpy(low.voxels[0].copy()), plan.margin)
    operator = slice_operator(plan, low.matrix[1], real=True)
    sharp = torch.stack([operator.sharpened(long[:, row]) for row in range(low.matrix[0])], 1)
    return replace(low, voxels=sharp[plan.margin : plan.margin + plan.count].numpy()[None])


def _score(truth: Image, image: Image) -> dict[str, float]:
    # Planes through the slices: rows and slices change places.
    turned = [
        replace(each, voxels=np.maximum(each.voxels, 0).swapaxes(1, 2), affine=each.affine[:, [1, 0, 2, 3]])
        for each in (truth, replace(image, affine=truth.affine))
    ]
    result = compare(*turned)
    return {"psnr": result.pooled_whole, "body": result.pooled_inside, "ssim": result.whole.ssim}


def line(truth: Truth, scan: Scan, found: list[dict]) -> str:
    """Return a row of the table."""
    cells = [truth.title, scan.title, str(len(found))]
    for name in METHODS:
        psnr, ssim = (np.mean([row["methods"][name][key] for row in found]) for key in ("psnr", "ssim"))
        cells.append(
            "as spline" if name == "correction" and scan.profile == "crop" else f"{psnr:.2f} / {ssim:.3f}"
        )
    for other, key in (("spline", "psnr"), ("spline", "body"), ("correction", "psnr")):
        gains = [row["methods"]["kfine"][key] - row["methods"][other][key] for row in found]
        cells.append(f"{np.mean(gains):+.2f} ({min(gains):+.2f})")
    covered = [row["covered"] for row in found if "covered" in row]
    cells.append(f"{min(covered):.2f}-{max(covered):.2f}" if covered else "")
    cells.append(f"{np.mean([row['seconds'] for row in found]):.0f}")
    return "| " + " | ".join(cells) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--volumes", type=int, default=4, help="of a source, at most")
    parser.add_argument("--only", nargs="+", help="parts of the titles of rows, all of them")
    parser.add_argument("--write", action="store_true", help="the factor into the config of --model")
    parser.add_argument("--adapt", help="as of kfine restore, such as 300")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.write and (not options.model or options.only):
        parser.error("--write needs --model FOLDER, and all rows")
    return options


if __name__ == "__main__":
    main()
