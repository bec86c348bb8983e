"""The stated standard deviation of method core against its error: constants, coverage, deciles.

For each part of k-space measured, the constant that makes 90 % intervals hold on all subjects together, and the
coverage on each subject with the constant of the others.  Scans are magnitudes without noise, the references those of
benchmarks/quality.py; voxels are those of the body.

python benchmarks/uncertainty.py --data DATA --model FOLDER [--write]

--write puts the constants into the table "uncertainty" of the model's config.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import machine
from quality import HEARTS, OTHERS, T1, Setting, references

import kfine
from kfine.evaluation.foreground import foreground
from kfine.models.calibration import Calibration
from kfine.models.checkpoint import load_model
from kfine.training.config import CoreTrainingConfig, read_training_config
from kfine.training.data.core_patches import load_volumes

Z90 = 1.6449  # of a Gaussian: half of the width of its 90 % interval in standard deviations
SCALES = (4.0, 3.0, 2.0, 1.5)


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")
    config = read_training_config(options.config, CoreTrainingConfig)
    _, validation = load_volumes(options.data, config.data)
    model = load_model(options.model)
    unit = {"uncertainty": Calibration(measured=(1.0,), constants=(1.0,), subjects=1).model_dump(mode="json")}
    model = replace(model, config=model.config | unit)
    setting = Setting("", (*T1, *OTHERS, *HEARTS, "brain_flair_soop"), 192, 2)
    found = [pair for pair in references(setting, config, validation, options.planes)]
    print(f"# {machine()}; {options.planes} planes a volume")
    print(
        "| scan | volumes | constant | coverage, each left out: mean (least to greatest) | error / stated, by decile |"
    )
    print("| --- | --- | --- | --- | --- |")
    constants = []
    for scale in SCALES:
        ratios = [_ratios(reference, scale, model) for _, reference in found]
        fits = [_quantile([r for i, r in enumerate(ratios) if i != left]) for left in range(len(ratios))]
        covered = [float((np.abs(r[0]) <= Z90 * fit).mean()) for r, fit in zip(ratios, fits, strict=True)]
        constants.append(_quantile(ratios))
        deciles = _deciles(ratios, constants[-1])
        print(
            f"| x{scale:g} | {len(ratios)} | {constants[-1]:.3f} | {np.mean(covered):.3f} ({min(covered):.3f} to "
            f"{max(covered):.3f}) | {deciles.min():.2f} to {deciles.max():.2f} |",
            flush=True,
        )
    table = Calibration(
        measured=tuple(1 / s for s in SCALES), constants=tuple(constants), subjects=len(found)
    )
    print(table.model_dump_json())
    if options.write:
        path = Path(options.model) / "config.json"
        text = json.loads(path.read_text()) | {"uncertainty": table.model_dump(mode="json")}
        path.write_text(json.dumps(text, indent=2) + "\n")


def _ratios(reference, scale, model):
    """Return error over scale, and the scale, of the voxels of the body."""
    low = kfine.degrade(reference, scale=scale)
    restored = kfine.restore(low, matrix=reference.matrix, model=model)
    body = foreground(reference)[0]
    body = np.broadcast_to(body, reference.voxels.shape[1:])
    wrong = (restored.mean.voxels - reference.voxels)[0][body]
    stated = restored.std.voxels[0][body]
    return wrong / stated, stated / reference.voxels.max()


def _quantile(ratios):
    """Return the constant whose 90 % interval holds 90 % of the voxels, every volume counting alike."""
    rng = np.random.default_rng(0)
    drawn = [rng.choice(np.abs(r[0]), 20_000) for r in ratios]
    return float(np.quantile(np.concatenate(drawn), 0.9) / Z90)


def _deciles(ratios, constant):
    """Return the rms error over the stated deviation, for tenths of the voxels by that deviation."""
    error, stated = (np.concatenate([r[k] for r in ratios]) for k in (0, 1))
    order = np.array_split(np.argsort(stated), 10)
    return np.array(
        [
            np.sqrt(np.mean((error[part] * stated[part]) ** 2) / np.mean((constant * stated[part]) ** 2))
            for part in order
        ]
    )


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "core.toml")
    parser.add_argument("--planes", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
