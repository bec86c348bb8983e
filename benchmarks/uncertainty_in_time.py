"""The stated error of interpolated frames: the weight of motion and the coverage of 90 % intervals, for config.json.

Cines are degraded to magnitudes of fewer frames, and restored by method `cine-core`.  The weight is fitted to the
frames between measured ones; constants and quantiles are those of benchmarks/uncertainty.py.  The coverage of a subject
is that with the weight of the other subjects.  Voxels are those of the body.

python benchmarks/uncertainty_in_time.py --data CINES [--model core] [--slices 3] [--write]

CINES holds one folder a subject.  --write puts the weight into the model's config.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from common import machine

import kfine
from kfine.acquisition.plan import plan
from kfine.evaluation.foreground import foreground
from kfine.image import magnitude
from kfine.methods.core import measured_parts
from kfine.methods.uncertainty import deviation_in_time, difference_in_time, scan_scale
from kfine.models.calibration import Calibration
from kfine.models.checkpoint import load_model
from kfine.restoration.statement import Statement
from kfine.restoration.streaming import measured_plane

SCANS = ((1.5, 2), (2, 2), (2, 4), (4, 2), (4, 4))  # factor in space, one of so many frames is measured
CONFIDENCE = 0.9
VOXELS = 4000  # of each frame
WEIGHTS = np.geomspace(0.05, 3, 120)


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    model = load_model(options.model)
    table = Calibration.of(model.name, model.config)
    if table is None:
        raise SystemExit(
            f"model {model.name}: expected a calibrated one; run benchmarks/uncertainty.py first"
        )
    print(f"# {machine()}")
    subjects = sorted(path.name for path in options.data.iterdir() if path.is_dir())
    rows = [row for name in subjects for row in _subject(options.data / name, model, table, options.slices)]
    weight = _fitted(rows)
    others = {name: _fitted([row for row in rows if row["subject"] != name]) for name in subjects}
    print(f"\n{len(subjects)} subjects, weight of motion {weight:.3f}\n")
    print(
        "| scan | measured frames | frames between, each left out | error / stated, between | without motion |"
    )
    print("| --- | --- | --- | --- | --- |")
    for scan in SCANS:
        here = [row for row in rows if row["scan"] == scan]
        covered = {measured: {name: [] for name in subjects} for measured in (True, False)}
        for row in here:
            covered[row["measured"]][row["subject"]].append(_coverage(row, others[row["subject"]]))
        between = [row for row in here if not row["measured"]]
        ratio, plain = (_ratio(between, value) for value in (weight, 0.0))
        name, still, moving = f"x{scan[0]:g}, every {scan[1]}", _range(covered[True]), _range(covered[False])
        print(f"| {name} | {still} | {moving} | {ratio:.2f} | {plain:.2f} |")
    if options.write:
        path = Path(options.model if Path(options.model).is_dir() else _packaged(model)) / "config.json"
        text = json.loads(path.read_text())
        text["uncertainty"]["motion"] = round(float(weight), 3)
        path.write_text(json.dumps(text, indent=2) + "\n")


def _subject(path, model, table, slices):
    """Yield the errors and stated deviations of the frames of some slices of a cine, in model units."""
    study = magnitude(kfine.read(path))
    rng = np.random.default_rng(0)
    for number in np.unique(np.linspace(0.3, 0.7, slices) * study.slices).astype(int):
        reference = study.take_slices(number, number + 1)
        body = foreground(reference)[0]
        body = np.broadcast_to(body, reference.voxels.shape)[0, 0]
        for scale, every in SCANS:
            low = kfine.degrade(reference, scale=scale, keep_every=every)
            grid = {"matrix": reference.matrix, "frames": reference.frames}
            mean = kfine.restore(low, method="cine-core", model=model, **grid).mean
            planned = plan(low, **grid)
            scan = planned.scan
            y = torch.stack(
                [
                    measured_plane(planned.measured.voxels[t, 0], scan, planned.scaling)
                    for t in range(low.frames)
                ]
            )
            statement = Statement(table, measured_parts(scan.crop), "")
            known = statement.constant * scan_scale(scan, y[None], table.weights)[0]
            still = deviation_in_time(scan, y, known, motion=0.0)
            moving = difference_in_time(scan, y)
            kept = {restored for _, restored in scan.timing.pairs}
            for frame in range(reference.frames):
                wrong = np.maximum(mean.voxels[frame, 0], 0) - reference.voxels[frame, 0]
                inside = np.flatnonzero(body)
                inside = rng.choice(inside, min(VOXELS, len(inside)), replace=False)
                yield {
                    "subject": path.name,
                    "scan": (scale, every),
                    "measured": frame in kept,
                    "error": (wrong * (2 / planned.scaling.full)).ravel()[inside],
                    "still": still[frame].numpy().ravel()[inside],
                    "moving": moving[frame].numpy().ravel()[inside],
                    "quantile": statement.multiplier(CONFIDENCE),
                }
            print(f"# {path.name}, slice {number}, x{scale:g}, every {every}", flush=True)


def _stated(row, weight):
    return np.hypot(row["still"], weight * row["moving"])


def _fitted(rows):
    """Return the weight of greatest likelihood of the errors between measured frames (Laplace distribution)."""
    between = [row for row in rows if not row["measured"]]

    def loss(weight):
        found = defaultdict(list)
        for row in between:
            stated = _stated(row, weight)
            found[row["subject"]].append(np.mean(np.log(stated) + np.sqrt(2) * np.abs(row["error"]) / stated))
        return np.mean([np.mean(values) for values in found.values()])

    return float(min(WEIGHTS, key=loss))


def _coverage(row, weight):
    return float((np.abs(row["error"]) <= row["quantile"] * _stated(row, weight)).mean())


def _ratio(rows, weight):
    """Return the rms error over the rms stated deviation."""
    error, stated = (
        np.mean([np.mean(np.square(values)) for values in part])
        for part in zip(*((row["error"], _stated(row, weight)) for row in rows), strict=True)
    )
    return float(np.sqrt(error / stated))


def _range(found):
    """Return mean, least and greatest of the means of the subjects."""
    means = [np.mean(values) for values in found.values() if values]
    return f"{np.mean(means):.3f} ({min(means):.3f} to {max(means):.3f})"


def _packaged(model):
    return Path(kfine.__file__).parent / "models" / model.name


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="core", help="packaged model, or folder of a model")
    parser.add_argument("--slices", type=int, default=3, help="of each cine")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
