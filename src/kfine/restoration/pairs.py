"""Calibration of a method on pairs of a scan and an image at full resolution, found in folders or a table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from kfine.acquisition.plan import plan
from kfine.degradation.kspace import degrade
from kfine.errors import InputError, UsageError
from kfine.evaluation.conformal import REPORTED, Errors, fitted, subjects_needed
from kfine.evaluation.foreground import foreground
from kfine.files.names import stem_of
from kfine.geometry import resized_affine
from kfine.image import Image, magnitude
from kfine.io import read
from kfine.io.discovery import find_volumes, subject_of
from kfine.methods.core import measured_parts
from kfine.methods.uncertainty import error_scale
from kfine.models.calibration import Calibration, CalibrationFile, Weights
from kfine.models.checkpoint import Model, load_model
from kfine.restoration.options import BASELINES
from kfine.restoration.restore import restore
from kfine.restoration.selection import packaged_for
from kfine.restoration.streaming import measured_plane

LOW, HIGH, SUBJECT = "low", "high", "subject"
_TABLES = (".csv", ".tsv")
_VOXELS = 20_000  # sampled from each pair
_APART = 0.5  # greatest distance between corresponding corners of a pair, in voxels of the fine image


@dataclass(frozen=True)
class Pair:
    """Two images of one subject over the same field of view.

    Attributes:
        subject: images of one subject are not independent.
        low: file or folder of the scan; None: simulated from `high`.
        high: file or folder of the image at full resolution.
    """

    subject: str
    low: Path | None
    high: Path


def find_pairs(pairs: Path, highs: Path | None = None, *, simulated: bool = False) -> list[Pair]:
    """Return the pairs in folders or a table.

    Args:
        pairs: a table (.csv, .tsv) with columns low, high and, if subjects have several images, subject, with paths
            relative to the table; a folder with folders low and high; or a folder of scans.
        highs: the folder of the images at full resolution, with the names of the scans.
        simulated: whether `pairs` is a folder of images at full resolution only, whose scans are simulated.

    Raises:
        UsageError: other places.
        InputError: a table without these columns, or a scan without its image.
    """
    if simulated:
        return [Pair(subject_of(path, pairs), None, path) for path in find_volumes(pairs)]
    if pairs.suffix.lower() in _TABLES:
        return _of_table(pairs)
    lows = pairs if highs is not None else pairs / LOW
    highs = pairs / HIGH if highs is None else highs
    for folder in (lows, highs):
        if not folder.is_dir():
            raise UsageError(
                f"{pairs.name}: expected a table (.csv, .tsv), a folder with folders low and high, or two folders; "
                f"found no folder {folder.name}"
            )
    by_name = {_name(path, highs): path for path in find_volumes(highs)}
    found = [(path, by_name.get(_name(path, lows))) for path in find_volumes(lows)]
    lone = [path.name for path, high in found if high is None]
    if lone:
        raise InputError(
            f"{lone[0]}: expected an image of the same name in {highs.name}, found none ({len(lone)} such scans); "
            "name them alike, or give a table"
        )
    return [Pair(subject_of(low, lows), low, high) for low, high in found if high is not None]


def _name(path: Path, root: Path) -> str:
    relative = path.relative_to(root)
    return (relative.parent / stem_of(relative)).as_posix()


def _of_table(path: Path) -> list[Pair]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path.name}: cannot be read as a table ({type(error).__name__})") from None
    if not rows or not {LOW, HIGH} <= set(rows[0]):
        raise InputError(f"{path.name}: expected a table with columns low and high, and rows below them")
    pairs = []
    for number, row in enumerate(rows, start=2):
        if not row[LOW] or not row[HIGH]:
            raise InputError(f"{path.name}: line {number}: expected the paths of a scan and of its image")
        low, high = (path.parent / str(row[name]) for name in (LOW, HIGH))
        pairs.append(Pair(row.get(SUBJECT) or stem_of(high).split("_")[0], low, high))
    return pairs


def calibrate(
    pairs: Sequence[Pair],
    *,
    method: str = "core",
    model: Model | str | None = None,
    scale: float | None = None,
    slices: int = 8,
    device: str = "auto",
    on_pair: Callable[[int, int], None] = lambda done, total: None,
) -> CalibrationFile:
    """Return the calibration of a method's error on `pairs`.

    The weights of the local scale and the factor of finer slices are the packaged ones; constants and quantiles are
    fitted, see `kfine.evaluation.conformal`.  Grey values of a pair are matched by one factor, by least squares over
    the body.

    Args:
        pairs: of at least one subject.
        method: a method of `kfine.restore` other than "auto".
        model: of that method; None: the packaged one.
        scale: factor by which scans are simulated from images without a scan.
        slices: greatest number of slices of each pair, evenly spread over the stack.
        device: see `kfine.restore`.
        on_pair: called with (done, total).

    Raises:
        UsageError: the method "auto", or no scale where one is needed.
        InputError: a pair over different fields of view or on the same grid.
    """
    if method == "auto":
        raise UsageError("method auto: expected one method, whose error is calibrated; name it")
    if not pairs:
        raise InputError("pairs: expected at least one, found none")
    loaded = _model(method, model)
    packaged = Calibration.of(loaded.name, loaded.config) if loaded else Calibration.of_baseline(method)
    weights = packaged.weights if packaged else Weights()
    errors = []
    on_pair(0, len(pairs))
    for number, pair in enumerate(pairs, start=1):
        low, high = _images(pair, scale=scale, slices=slices)
        estimate = restore(low, matrix=high.matrix, method=method, model=loaded, device=device).mean
        errors.append(_errors(pair.subject, low, high, estimate, weights))
        on_pair(number, len(pairs))
    table = fitted(errors, weights=weights, scans=f"{len(pairs)} pairs of the user")
    if packaged:
        table = table.model_copy(update={"slices": packaged.slices})
    identity = None if loaded is None else loaded.digests
    facts = {"pairs": len(pairs), "slices_a_pair": slices, "made_coarser_by": scale}
    return CalibrationFile(table, method, identity, facts)


def summary_of(calibration: Calibration) -> Iterator[str]:
    """Yield lines that describe the coverage and guarantee of a calibration."""
    n, needed = calibration.subjects, subjects_needed(REPORTED)
    yield f"calibrated on {n} subject{'s' if n > 1 else ''}: {', '.join(calibration.names)}"
    for part, cover in zip(calibration.measured, calibration.coverage, strict=False):
        yield (
            f"{part:.2f} of k-space measured along a direction: 90 % intervals hold {cover.mean:.1%} of the voxels, "
            f"each subject by the others' constants ({cover.least:.1%} to {cover.greatest:.1%})"
        )
    if n < needed:
        yield f"no guarantee: for 90 % intervals conformal risk control needs at least {needed} subjects"
    else:
        yield (
            "a new subject drawn as these were has in expectation at least 90 % of its voxels inside its 90 % "
            "interval; that is no statement about a single image, region or voxel"
        )


def _model(method: str, model: Model | str | None) -> Model | None:
    if method in BASELINES:
        return None
    which = model if model is not None else packaged_for(method)
    if which is None:
        raise UsageError(f"method {method}: no model for it is packaged; give model=FOLDER")
    return which if isinstance(which, Model) else load_model(which)


def _images(pair: Pair, *, scale: float | None, slices: int) -> tuple[Image, Image]:
    """Return the same slices of the scan and the image."""
    high = read(pair.high)
    numbers = np.unique(
        np.linspace(0, high.slices - 1, min(slices, high.slices) + 2).round().astype(int)[1:-1]
    )
    if pair.low is None:
        if scale is None:
            raise UsageError("scale: expected a factor by which the scans are simulated; give one")
        high = replace(high, voxels=high.voxels[:1, numbers], frame_times=None, period=None)
        return degrade(high, scale=scale), high
    low = read(pair.low)
    _check(pair, low, high)
    cut = [
        replace(image, voxels=image.voxels[:1, numbers], frame_times=None, period=None)
        for image in (low, high)
    ]
    return cut[0], cut[1]


def _check(pair: Pair, low: Image, high: Image) -> None:
    """Raise `InputError` unless `high` is `low` on a finer grid over the same field of view."""
    name = f"{pair.low.name if pair.low else ''} and {pair.high.name}"
    finer = any(n < big for n, big in zip(low.matrix, high.matrix, strict=True))
    larger = any(n > big for n, big in zip(low.matrix, high.matrix, strict=True))
    if low.slices != high.slices or larger or not finer:
        raise InputError(
            f"{name}: expected as many slices and a larger matrix, got {low.slices} slices of "
            f"{'x'.join(map(str, low.matrix))} and {high.slices} of {'x'.join(map(str, high.matrix))}"
        )
    expected = resized_affine(low.affine, (low.slices, *low.matrix), (high.slices, *high.matrix))
    ends = np.array([[0, 0, 0, 1], [high.slices - 1, *(n - 1 for n in high.matrix), 1]]).T
    apart = np.linalg.norm(((expected - high.affine) @ ends)[:3], axis=0).max()
    if apart > _APART * min(high.voxel_sizes):
        raise InputError(
            f"{name}: expected the same field of view, they lie {apart:.2g} mm apart; resample the image to the scan's"
        )


def _errors(subject: str, low: Image, high: Image, estimate: Image, weights: Weights) -> Errors:
    """Return the errors in voxels of the body, in model units."""
    planned = plan(low, matrix=high.matrix)
    truth, restored = magnitude(high).voxels[0], magnitude(estimate).voxels[0]
    body = np.broadcast_to(foreground(high)[0], truth.shape)
    power = float((restored[body].astype(np.float64) ** 2).sum())
    if not power:
        raise InputError(f"{high.source.name or 'image'}: expected tissue, found none")
    factor = float((restored[body] * truth[body]).sum(dtype=np.float64)) / power
    y = [
        measured_plane(planned.measured.voxels[0, index], planned.scan, planned.scaling)
        for index in range(low.slices)
    ]
    scale = torch.stack([error_scale(planned.scan.crop, plane, weights) for plane in y]).numpy()
    wrong = (restored - truth / factor) * (2 / planned.scaling.full)
    inside = np.flatnonzero(body)
    inside = np.random.default_rng(0).choice(inside, min(_VOXELS, inside.size), replace=False)
    rows, columns = measured_parts(planned.scan.crop)
    return Errors(
        subject,
        round(float(np.sqrt(rows * columns)), 2),
        wrong.ravel()[inside].astype(np.float64),
        scale.ravel()[inside].astype(np.float64),
    )
