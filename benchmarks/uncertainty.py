"""The stated error of methods: weights, constants, quantiles and coverage, for config.json or baselines.json.

For each part of k-space measured: the standard deviation's constant, the quantile of the 90 % interval by conformal
risk control, the coverage of each subject by the constants of the others, and the error over the standard deviation by
decile.  Scans are magnitudes without noise and with 1 and 3 % (the reference then shares the noise of the measured
block, which stays in the result); the references are the validation images of configs/core.toml at their true
resolution, at most 192 points wide.  Voxels are those of the body.  Images of one patient are one subject.

python benchmarks/uncertainty.py --data DATA --model FOLDER [--write] [--figure docs/images/reliability.png]
python benchmarks/uncertainty.py --data DATA --model core --learned FOLDER [--write] [--figure FILE]
python benchmarks/uncertainty.py --data DATA --method zero-filling bilinear bicubic nearest --write

--learned takes the local scale of the core network's error from a model of `kfine train uncertainty`, instead of from
features of the scan.  --write puts the table "uncertainty" into the config.json of that model, or of --model; of
methods without a model into src/kfine/models/baselines.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from common import machine
from quality import GREY, Setting, scanned
from reliability import reliability
from scipy.stats import spearmanr

import kfine
from kfine.acquisition.plan import plan
from kfine.evaluation.conformal import Errors, deciles, fitted, fitted_weights, left_out_coverage
from kfine.evaluation.foreground import foreground
from kfine.image import Image, magnitude
from kfine.io.discovery import NIFTI, find_volumes
from kfine.methods.core import CoreOptions
from kfine.methods.uncertainty import LearnedScale, error_features
from kfine.models.calibration import BASELINES, Weights
from kfine.models.checkpoint import load_model
from kfine.restoration.streaming import measured_plane
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.cines import PICTURES
from kfine.training.data.core_patches import fits, named, true_volume

SCALES = (4.0, 3.0, 2.0, 1.5)
NOISE = {2.0: (0.01, 0.03), 4.0: (0.01, 0.03)}  # at which scales, of full intensity
LONGEST = 192  # points of the references' longer side
VOXELS = 4000  # of each plane
BLOCK = 8  # voxels of a side of the blocks of the rank correlation
_FAST = {
    "core": {"effort": "fast"}
}  # one evaluation a plane: its error is 1 % larger than that of the mean of four
# The same patients under the names of two collections.
SAME = {
    "SC-HF-I-05": "SCD0000401", "SC-HF-NI-33": "SCD0002201", "SC-HYP-38": "SCD0003501", "SC-N-11": "SCD0004401",
}  # fmt: skip
_SUBJECT = re.compile(r"SC-(?:HF-NI|HF-I|HYP|N)-\d+|SCD\d+|sub-\d+|patient\d+|adi|M2208")


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(options.config, CoreTrainingConfig)
    found = list(references(options.data, config.data, planes=options.planes, pictures=options.pictures))
    print(f"# {machine()}; {len(found)} images, {options.planes} planes each")
    hows = {method: {"method": method} for method in options.method}
    if options.model:
        model = load_model(options.model)
        hows[model.name] = {"model": model, "method": model.method} | _FAST.get(model.method, {})
    learned = _learned_scale(options.learned) if options.learned else None
    rows = _rows(found, hows, learned)
    for name, how in hows.items():
        table, errors = _fitted(name, rows, learned=learned is not None)
        if options.figure:
            _draw(options.figure, table, rows, errors)
        if options.write and "model" in how:
            path = Path(options.learned or options.model) / "config.json"
            text = json.loads(path.read_text())
            # Of benchmarks/slices.py and benchmarks/uncertainty_in_time.py.
            others = {
                name: value
                for name, value in text.get("uncertainty", {}).items()
                if name in ("slices", "motion")
            }
            text["uncertainty"] = table.model_dump(mode="json") | others
            path.write_text(json.dumps(text, indent=2) + "\n")
        elif options.write:
            tables = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
            tables[name] = table.model_dump(mode="json")
            BASELINES.write_text(json.dumps(tables, indent=1) + "\n")


def references(data, config, *, planes, pictures):
    """Yield (subject, kind, image) of the validation images; at most `pictures` of each subject of pictures."""
    for source in config.sources:
        folder = data / source.folder
        paths = [
            p
            for p in find_volumes(folder, files=(*NIFTI, *PICTURES))
            if named(p, data, source) and any(fits(p, data, pattern) for pattern in config.validation)
        ]
        if paths and paths[0].suffix in PICTURES:
            by_subject = defaultdict(list)
            for path in paths:
                by_subject[subject_of(path.as_posix())].append(path)
            paths = [path for group in by_subject.values() for path in group[:: -(-len(group) // pictures)]]
        for path in paths:
            volume = true_volume(path, source)
            tissue = np.flatnonzero((volume.voxels > 0.1).mean((1, 2)) > 0.05)
            places = tissue[
                (np.linspace(0.25, 0.75, min(planes, len(tissue))) * (len(tissue) - 1)).round().astype(int)
            ]
            image = Image(volume.voxels[None, np.unique(places)] * GREY, np.diag([*volume.spacing, 1.0]))
            size = max(image.matrix)
            if size > LONGEST:
                image = kfine.degrade(image, matrix=tuple(round(n * LONGEST / size) for n in image.matrix))
            where = path.relative_to(data).as_posix()
            yield subject_of(where), kind_of(where), image


def subject_of(path):
    """Return the patient of a file."""
    names = _SUBJECT.findall(path)
    return SAME.get(names[-1], names[-1]) if names else Path(path).stem


def kind_of(path):
    """Return anatomy and contrast of a file."""
    folder = path.split("/")[0]
    if folder.startswith(("heart", "cine")):
        return "heart"
    for word in ("FLAIR", "T2W", "T1W"):
        if word in path:
            return word[:5].removesuffix("W")
    return "FLAIR" if "flair" in folder else "T2" if "t2" in folder or "stroke" in folder else "T1"


def _learned_scale(folder):
    """Return the scale of the error by the network of a model folder."""
    network = load_model(folder).network
    return LearnedScale(network, CoreOptions(), signed=False, device=torch.device("cpu"))


def _rows(found, hows, learned=None):
    """Return errors of every method, features and labels of each plane of each scan."""
    rows = []
    for number, (subject, kind, reference) in enumerate(found):
        body = np.broadcast_to(foreground(reference)[0], reference.voxels.shape[1:])
        for scale in SCALES:
            for noise in (0.0, *NOISE.get(scale, ())):
                labels = {"subject": subject, "kind": kind, "scale": scale, "noise": noise}
                rows += [labels | row for row in _errors(reference, body, scale, noise, hows, learned)]
        print(f"{number + 1}/{len(found)} {subject}", file=sys.stderr, flush=True)
    return rows


def _fitted(name, rows, *, learned):
    """Return the table of a method, and print it; with a learned scale also that of the features."""
    scans = "magnitudes of brains (T1, T2, FLAIR) and hearts, without noise and with 1 and 3 %"
    weights, errors = _by_features(name, rows)
    if learned:
        both = _by_features(name, rows, learned=True)
        table = fitted(both[1], weights=both[0], scans=scans)
        _print(f"{name}, features and learned", table, rows, both[1])
    table = fitted(errors, weights=weights, scans=scans)
    _print(f"{name}, features", table, rows, errors)
    for scale in SCALES:
        ranks = [row[f"{name} rank"] for row in rows if row["scale"] == scale and row["noise"] == 0]
        which = "learned" if learned else "features"
        print(f"rank correlation of 8x8 blocks, x{scale:g}, {which}: {np.nanmean(ranks):.2f}")
    if learned:
        errors = [Errors(row["subject"], 1 / row["scale"], row[name], row["learned"]) for row in rows]
        table = fitted(errors, weights=Weights(), scans=scans)  # without effect
        _print(f"{name}, learned", table, rows, errors)
    return table, errors


def _by_features(name, rows, *, learned=False):
    """Return the weights of the features of a method's error, and the errors with the scale by them.

    learned: whether the logarithm of the learned scale is a fifth feature.
    """
    seen = [row["features"] for row in rows]
    if learned:
        seen = [
            np.column_stack([each, np.log(row["learned"] / row["unit"])])
            for each, row in zip(seen, rows, strict=True)
        ]
    count = defaultdict(int)
    for row in rows:
        count[row["subject"], row["scale"]] += 1
    shares = [1 / count[row["subject"], row["scale"]] for row in rows]
    # One intercept a scale: the constants take their place.
    kinds = [np.eye(len(SCALES))[SCALES.index(row["scale"])] for row in rows]
    features = [
        np.column_stack([each, np.broadcast_to(kind, (len(each), len(kind)))])
        for each, kind in zip(seen, kinds, strict=True)
    ]
    weights = fitted_weights(features, [row[name] / row["unit"] for row in rows], shares)
    weights = weights[: seen[0].shape[1]].round(4)
    errors = [
        Errors(row["subject"], 1 / row["scale"], row[name], row["unit"] * np.exp(each @ weights))
        for each, row in zip(seen, rows, strict=True)
    ]
    return Weights(**dict(zip(Weights.model_fields, map(float, weights), strict=False))), errors


def _errors(reference, body, scale, noise, hows, learned):
    """Return errors and features of the body's voxels of each plane, model units."""
    setting = Setting("", (), None, scale, "noisy" if noise else "magnitude", noise)
    low, target = scanned(setting, reference)
    restored = {
        name: magnitude(kfine.restore(low, matrix=reference.matrix, **how).mean).voxels[0]
        for name, how in hows.items()
    }
    planned = plan(low, matrix=reference.matrix)
    rng, rows = np.random.default_rng(0), []
    for index in range(reference.slices):
        y = measured_plane(planned.measured.voxels[0, index], planned.scan, planned.scaling)
        seen = error_features(planned.scan.crop, y)
        inside = np.flatnonzero(body[index])
        inside = rng.choice(inside, min(VOXELS, len(inside)), replace=False)
        whole = torch.ones_like(seen.detail)
        maps = torch.stack([seen.detail, seen.edges, seen.slope * whole, seen.noise * whole], -1)
        row = {"features": maps.reshape(-1, 4).numpy()[inside].astype(np.float64), "unit": seen.unit}
        if learned is not None:
            mean = torch.from_numpy(planned.scaling.to_model(next(iter(restored.values()))[index]))
            scales = learned(planned.scan.crop, y[None], mean[None], at_once=1)[0].numpy()
            row["learned"] = scales.ravel()[inside].astype(np.float64)
        else:
            scales = seen.scale(Weights()).numpy()
        for name, images in restored.items():
            wrong = (np.maximum(images[index], 0) - target.voxels[0, index]) * (2 / planned.scaling.full)
            row[name] = wrong.ravel()[inside].astype(np.float64)
            row[f"{name} rank"] = _rank_correlation(wrong, scales, body[index])
        rows.append(row)
    return rows


def _rank_correlation(error, scale, body):
    """Return Spearman's correlation of the rms of error and scale in blocks of 8x8 voxels within the body."""
    rows, columns = (n // BLOCK * BLOCK for n in error.shape)

    def blocks(image):
        parts = image[:rows, :columns].reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        return parts.astype(np.float64).mean((1, 3)).ravel()

    inside = blocks(body) > 0.5
    return float(spearmanr(blocks(error**2)[inside], blocks(scale**2)[inside]).statistic)


def _print(name, table, rows, errors):
    """Print the table of a model card."""
    print(f"\n{name}: {table.subjects} subjects, weights {table.weights.model_dump()}")
    print(
        "| scan | subjects | constant | 90 % | coverage, each left out | noise 0 / 1 / 3 % | by kind | deciles "
        "| width over rms error | rank correlation by voxel |"
    )
    print("| --- " * 10 + "|")
    for scale in sorted(SCALES, reverse=True):
        place = [k for k, e in enumerate(errors) if e.part == 1 / scale]
        here = [errors[k] for k in place]
        at = table.measured.index(1 / scale)
        cover = left_out_coverage(here)
        level = table.constants[at] * table.quantiles[at][table.confidences.index(0.9)]
        groups = {"noise": defaultdict(list), "kind": defaultdict(list)}
        for k in place:
            inside = float((np.abs(errors[k].error) <= level * errors[k].scale).mean())
            for key, group in groups.items():
                group[rows[k][key]].append(inside)
        noise = " / ".join(f"{np.mean(v):.3f}" for _, v in sorted(groups["noise"].items()))
        kinds = ", ".join(f"{k} {np.mean(v):.3f}" for k, v in sorted(groups["kind"].items()))
        stated, actual = deciles(here, table.constants[at])
        ratio, values = actual / stated, list(cover.values())
        print(
            f"| x{scale:g} | {len(cover)} | {table.constants[at]:.3f} | {level / table.constants[at]:.2f} | "
            f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}) | {noise} | {kinds} | "
            f"{ratio.min():.2f} to {ratio.max():.2f} | {np.mean([_width(e, level) for e in here]):.2f} | "
            f"{np.mean([spearmanr(np.abs(e.error), e.scale).statistic for e in here]):.2f} |",
            flush=True,
        )


def _width(errors, level):
    """Return the mean width of the 90 % intervals of a plane over the rms of its error."""
    return 2 * level * errors.scale.mean() / np.sqrt(np.mean(errors.error**2))


def _draw(path, table, rows, errors):
    """Draw the reliability diagram, by noise and by kind."""
    panels = {}
    for scale in (2.0, 4.0):
        for label in ("noise", "kind"):
            curves = {}
            for value in sorted({row[label] for row in rows}, key=str):
                here = [
                    e for e, r in zip(errors, rows, strict=True) if r["scale"] == scale and r[label] == value
                ]
                if label == "kind":
                    here = [e for e, r in zip(errors, rows, strict=True) if _clean(r, scale, value)]
                name = f"{value:.0%} noise" if label == "noise" else value
                constant = table.constants[table.measured.index(1 / scale)]
                # Model units are 2 over full intensity.
                curves[name] = tuple(50 * part for part in deciles(here, constant))
            panels[f"x{scale:g}, by {label}"] = curves
    reliability(panels).savefig(path, dpi=110)


def _clean(row, scale, kind):
    return row["scale"] == scale and row["kind"] == kind and row["noise"] == 0


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="folder of a model")
    parser.add_argument("--learned", help="folder of a model of kfine train uncertainty")
    parser.add_argument("--method", nargs="+", default=[], help="methods without a model")
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    parser.add_argument("--planes", type=int, default=3, help="of each volume")
    parser.add_argument("--pictures", type=int, default=1, help="of each subject of a folder of pictures")
    parser.add_argument("--figure", type=Path, help="picture of the reliability of the last method")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
