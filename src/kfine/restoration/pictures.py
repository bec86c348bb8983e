"""Pictures of a restoration: one slice beside input and interpolation; a cine also moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfine.acquisition.scan import timing_of_image
from kfine.acquisition.zero_fill import without_filling
from kfine.image import Image, Source
from kfine.methods.frame_by_frame import BEST_TIME_METHOD
from kfine.restoration.baseline import interpolated
from kfine.restoration.labels import Restored, label, method_of, residual_of
from kfine.viz.figure import draw, save
from kfine.viz.view import brightest_slice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINES = ("zero-filling", "bicubic")
CINE_BASELINE = "zero-filling"


def draw_restoration(result: Restored, low: Image, path: Path, *, animation: Path | None) -> None:
    """Draw the figure of a restoration of `low` (or of some of its slices) to `path`.

    animation: where the moving picture of a cine goes; None for one frame.
    """
    if animation is None:
        save(figure_of(result, low), path)
    else:
        _draw_cine(result, low, path, animation=animation)


def figure_of(result: Restored, low: Image) -> Figure:
    """Return the figure of a restoration of `low` (or of some of its slices).

    One slice of frame 0: input, zero filling, bicubic, restored, uncertainty, k-space.
    """
    first = (result.provenance["slices"] or [0])[0]
    index = brightest_slice(result.mean)
    shown = _plane(_as_measured(result, low, first + index), 0)
    mean = _plane(result.mean, index)
    # Where only frames were asked for there is nothing to interpolate.
    enlarged = mean.matrix != shown.matrix
    others = [name for name in BASELINES if enlarged and name != result.provenance["method"]]
    baselines = {name: interpolated(shown, name, matrix=mean.matrix) for name in others}
    return draw(
        low=shown,
        restored={**baselines, label(result): mean},
        uncertainty=_plane(result.std, index) if result.std else None,
        measured=shown.matrix,
        title=low.source.name,
        provenance=_provenance(result, low, first + index),
    )


def _draw_cine(result: Restored, low: Image, path: Path, *, animation: Path) -> None:
    """Draw the slice that changes most: input, the best interpolation, restored."""
    from kfine.viz.animation import animate
    from kfine.viz.cine import draw_cine
    from kfine.viz.cine_view import liveliest_slice

    asked = result.provenance["frames"]["asked"]
    timing = timing_of_image(low, **asked)
    first = (result.provenance["slices"] or [0])[0]
    index = liveliest_slice(result.mean)
    shown, mean = _as_measured(result, low, first + index), result.mean.take_slices(index, index + 1)
    restored = {label(result): mean}
    if result.provenance["method"] != CINE_BASELINE:
        name = f"{CINE_BASELINE}, {BEST_TIME_METHOD}" if timing.changed else CINE_BASELINE
        restored = {name: interpolated(shown, CINE_BASELINE, matrix=mean.matrix, **asked), **restored}
    figure = draw_cine(
        low=shown,
        restored=restored,
        timing=timing,
        uncertainty=result.std.take_slices(index, index + 1) if result.std else None,
        title=low.source.name,
        provenance=_provenance(result, low, first + index),
    )
    save(figure, path)
    animate(low=shown, restored=restored, timing=timing).save(animation)


def _provenance(result: Restored, low: Image, index: int) -> str:
    """Return what made the picture: slice, model, sampling, seed, where the k-space came from, version."""
    record, made = result.provenance, result.provenance["options"]
    facts = [f"slice {index} of 0-{low.slices - 1} of the input"] if low.slices > 1 else []
    frames = record["frames"]
    if result.mean.frames > 1:
        facts.append(f"{frames['measured']} frames measured, {frames['restored']} restored")
    elif low.frames > 1:
        facts.append(f"frame 0 of 0-{low.frames - 1}")
    if record["model"]:
        facts.append(f"model {record['model']['name']} ({record['model']['sha256'][:8]})")
    if "samples" in made:
        samples = "1 sample" if made["samples"] == 1 else f"mean of {made['samples']} samples"
        facts.append(f"{samples} of {made['steps']} network evaluations, seed {record['seed']}")
    else:
        facts.append(f"method {method_of(result)}")
    facts.append(f"k-space {record['kspace']}, {residual_of(result)}")
    return " · ".join([*facts, f"kfine {record['software']['kfine']}", record["notice"]])


def _as_measured(result: Restored, low: Image, index: int) -> Image:
    """Return slice `index` without the zeros that its scanner filled in.

    It bears no source: the measured block was told from all planes and is not to be told again from one.
    """
    rows, columns = result.provenance["matrix"]["measured"]
    part = low.take_slices(index, index + 1)
    if part.matrix != (rows, columns):
        part = without_filling(part, (rows, columns))
    return replace(part, source=Source())


def _plane(image: Image, index: int) -> Image:
    """Return slice `index` of frame 0."""
    part = image.take_slices(index, index + 1)
    return replace(part, voxels=part.voxels[:1], frame_times=None, period=None)
