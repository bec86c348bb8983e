"""Comparison of methods on cines of lower resolution in space and time.

python benchmarks/cine.py --data CINES --subjects SCD0000401 --protocol kspace --contours CONTOURS \
    --squeezenet WEIGHTS [--model runs/cine-ldm/model] [--slices 2:8:2] [--json cine.json]

CINES and CONTOURS hold one folder for each subject.  Measured frames and frames between have separate scores.  The
protocols: cine_protocol.py.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from cine_protocol import PROTOCOLS, measured, truth_of
from cine_scores import score_slice, summary
from common import CORNERS, machine, squeezenet_distance
from contours import PoolAreas, area_errors, pool_area, read_contours

import kfine
from kfine.errors import KfineError, ModelError, ResourceError
from kfine.evaluation.metrics import lpips_distance
from kfine.evaluation.temporal import check_same_times
from kfine.text import json_ready

# SPACE+TIME is a baseline.
BASELINES = tuple(
    f"{space}+{way}"
    for space in ("zero-filling", "bicubic")
    for way in ("nearest", "linear", "cubic", "optical-flow")
)
PHOTOGRAPHIC = "cine-photographic"  # a method for the protocol "published" alone
METHODS = (*BASELINES, "cine-core", "cine-regression", "cine-ldm", PHOTOGRAPHIC)
MEAN, ONE_SAMPLE, SHARP = ", mean", ", one sample", ", sharp"
FEATURES, LPIPS = "SqueezeNet distance", "LPIPS (VGG)"


def main() -> None:
    options = _options()
    print(f"# {machine()}; {FEATURES} from corners {options.corners}")
    distances = _distances(options)
    rows = []
    for setting in PROTOCOLS[options.protocol]:
        for subject in options.subjects:
            rows += _subject(subject, setting, distances, options)
        print("\n".join(["", f"{setting.name}, means over {', '.join(options.subjects)}:", ""]))
        print("\n".join(_table([row for row in rows if row["setting"] == setting.name])), flush=True)
    if options.json:
        options.json.write_text(
            json.dumps(json_ready({"machine": machine(), "corners": options.corners, "rows": rows}), indent=2)
            + "\n"
        )


def _subject(subject, setting, distances, options):
    """Return one row for each method of one subject under one setting."""
    study = kfine.read(options.data / subject)
    truth = truth_of(study, setting, acquired=options.acquired)
    scan = measured(truth, setting, seed=options.seed)
    numbers = list(range(study.slices))[options.slices]
    contours = _contours(subject, study, truth, options)
    print(f"# {subject}, {setting.name}: {_facts(study, truth, scan)}, {len(numbers)} slices", flush=True)
    found = {}
    for method in options.methods:
        if method == PHOTOGRAPHIC and not setting.photographic:
            continue
        try:
            for number in numbers:
                _slice(found, method, scan, truth, number, setting, contours, distances, options)
        except ModelError as error:
            print(f"# {method}: skipped, {error}", flush=True)
            options.methods = tuple(name for name in options.methods if name != method)
    return [
        {"setting": setting.name, "subject": subject, "method": name, "slices": numbers}
        | summary(part["scores"])
        | {"areas": area_errors(part["areas"]), "seconds_a_slice": part["seconds"] / len(numbers)}
        | {"residual": max(part["residuals"]) if part["residuals"] else None}
        | {
            "spread_to_error": float(np.sqrt(np.mean(part["spread"]) / np.mean(part["error"])))
            if part["spread"]
            else None
        }
        for name, part in found.items()
    ]


def _slice(found, method, scan, truth, number, setting, contours, distances, options):
    """Restore one slice and add its scores to `found`, under one name or two."""
    began = time.perf_counter()
    restored, residual, std = _restored(method, scan, truth.image, number, setting, options)
    seconds = time.perf_counter() - began
    cine = truth.image.take_slices(number, number + 1)
    for name, image in restored.items():
        check_same_times(cine.frame_times, image.frame_times, name=name)
        part = found.setdefault(
            name, {"scores": [], "areas": [], "residuals": [], "seconds": 0.0, "spread": [], "error": []}
        )
        a, b = cine.voxels[:, 0], image.voxels[:, 0]
        part["scores"].append(
            score_slice(
                a, b, slice=number, measured=setting.measured(len(a)), data_range=truth.data_range,
                white=truth.white, cyclic=cine.period is not None, distances=distances,
            )
        )  # fmt: skip
        spacing = cine.voxel_sizes[1:]
        for contour in (c for c in contours if c.slice == number):
            areas = (pool_area(planes[contour.frame], contour, spacing=spacing) for planes in (a, b))
            part["areas"].append(
                PoolAreas(contour.phase, number, contour.frame, contour.area(spacing), *areas)
            )
        part["seconds"] += math.nan if name.endswith((ONE_SAMPLE, SHARP)) else seconds  # with the mean
        if std is not None and name.endswith(MEAN):
            part["spread"].append(np.square(std.voxels).mean())
            part["error"].append(np.square(np.subtract(a, b)).mean())
        if residual is not None:
            part["residuals"].append(residual)
    print(f"#   slice {number}, {method}: {seconds:.1f} s", flush=True)


def _restored(method, scan, truth, number, setting, options):
    """Return the restored images by name, the relative residual of their k-space, and the samples' standard deviation.

    A photographic degradation is no crop of k-space, so its images are not projected.
    """
    grid = {"matrix": truth.matrix, "frames": truth.frames, "slices": (number, number + 1)}
    space, _, way = method.partition("+")
    if way:
        done = kfine.restore(scan, method=space, time_method=way, **grid)
        return {method: done.mean}, done.residual, None
    if method == PHOTOGRAPHIC:
        done = kfine.restore(scan, method=method, model=options.model, sharp=True, seed=options.seed, **grid)
        return {method: done.mean, f"{method}{SHARP}": done.sharp}, done.residual, None
    own = {"model": options.model, "seed": options.seed, "strength": 0.0 if setting.photographic else 1.0}
    if (
        method == "cine-core" and options.model is None
    ):  # the packaged model of sharp images is around its core
        done = kfine.restore(scan, method=method, sharp=True, **grid, **own)
        return {method: done.mean, f"{method}{SHARP}": done.sharp}, done.residual, None
    if method != "cine-ldm":
        done = kfine.restore(scan, method=method, **grid, **own)
        return {method: done.mean}, done.residual, None
    own |= {"samples": options.samples, "steps": options.steps, "start": options.start}
    done = kfine.restore(scan, method=method, keep_samples=True, **grid, **own)
    made = {f"cine-ldm{MEAN}": done.mean, f"cine-ldm{ONE_SAMPLE}": done.samples[0]}
    return made, done.residual, done.std


def _contours(subject, study, truth, options):
    if options.contours is None:
        return []
    drawn = read_contours(options.contours / subject, dicom=options.data / subject, image=study)
    return [contour.on_matrix(study.matrix, truth.image.matrix) for contour in drawn]


def _distances(options):
    distances = {}
    if options.squeezenet:
        distances[FEATURES] = squeezenet_distance(options.squeezenet, options.corners)
    else:
        print("# SqueezeNet distance: not available, give --squeezenet WEIGHTS")
    try:
        distances[LPIPS] = lpips_distance()
    except ResourceError as error:
        print(f"# {error}")
    return distances


def _facts(study, truth, scan):
    """Return the matrices, and the factors relative to the matrix that the scanner measured."""
    high, low = ("x".join(map(str, image.matrix)) for image in (truth.image, scan))
    facts = f"{low} to {high}, frames at {len(scan.frame_times)} of {truth.image.frames} times"
    acquired = study.source.acquired_matrix
    if acquired and acquired != truth.image.matrix:
        factors = (f"{a / b:.2f}" for a, b in zip(acquired, scan.matrix, strict=True))
        facts += f" (the scanner measured {acquired[0]}x{acquired[1]}: really x{' and x'.join(factors)})"
    return facts


def _table(rows):
    """Return the lines of a markdown table: means over the subjects."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    extra = [name for name in (FEATURES, LPIPS) if any(name in row["measured"] for row in rows)]
    groups = ("measured", "between")
    heads = ["method", *(f"{group}: PSNR / SSIM" for group in groups)]
    heads += [f"{group}: {name}" for name in extra for group in groups]
    heads += [f"{group}: Laplacian, FFT apart" for group in groups]
    heads += [
        "temporal error %",
        "texture, measured : between",
        "LV area error % (diastole, systole)",
        "spread / error",
        "s a slice",
    ]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- " * len(heads) + "|"
    for name in names:
        here = [row for row in rows if row["method"] == name]
        cells = [name]
        cells += [f"{_mean(here, g, 'psnr'):.2f} / {_mean(here, g, 'ssim'):.4f}" for g in groups]
        cells += [f"{_mean(here, g, key):.4f}" for key in extra for g in groups]
        cells += [f"{_mean(here, g, 'laplacian'):.3f}, {_mean(here, g, 'fft'):.2f}" for g in groups]
        cells.append(f"{100 * _mean(here, 'all', 'temporal'):.3f}")
        cells.append(f"{_mean(here, 'all', 'pulse'):.3f}")
        cells.append(", ".join(_area(here, phase) for phase in ("end diastole", "end systole")))
        spreads = [row["spread_to_error"] for row in here if row["spread_to_error"] is not None]
        cells.append(f"{np.mean(spreads):.2f}" if spreads else "-")
        cells.append(f"{sum(row['seconds_a_slice'] for row in here) / len(here):.1f}".replace("nan", "-"))
        yield "| " + " | ".join(cells) + " |"
    of_one = [row for row in rows if row["method"] == names[0]]  # all methods have the same truth
    errors = [_area(of_one, phase, "truth_contour") for phase in ("end diastole", "end systole")]
    yield ""
    yield f"LV area: error against the truth's estimate; the truth's own against the contours: {', '.join(errors)} %."


def _mean(rows, group, key):
    values = [row[group].get(key, math.nan) for row in rows]
    return float(np.mean(values))


def _area(rows, phase, key="restored"):
    values = [row["areas"][phase][key] for row in rows if phase in row["areas"]]
    return f"{100 * np.mean(values):.1f}" if values else "-"


def _options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="CINES")
    parser.add_argument("--subjects", nargs="+", default=("SCD0000401",))
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="kspace")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--model", default=None)
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--start", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", type=_slices, default=slice(None), metavar="A:B:STEP")
    parser.add_argument("--acquired", action="store_true", help="truth at the matrix the scanner measured")
    parser.add_argument("--contours", type=Path)
    parser.add_argument("--squeezenet", type=Path, metavar="WEIGHTS")
    parser.add_argument("--corners", type=int, nargs="+", default=CORNERS, help="see samples.py")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _slices(text):
    return slice(*(int(part) if part else None for part in text.split(":")))


if __name__ == "__main__":
    try:
        main()
    except KfineError as error:
        raise SystemExit(f"cine.py: {error}") from None
