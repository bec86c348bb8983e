"""The pictures of a restoration or an evaluation: one slice beside input, interpolation, truth; a cine also moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfine.acquisition.scan import timing_of_image
from kfine.acquisition.zero_fill import without_filling
from kfine.image import Source
from kfine.restoration.restore import restore
from kfine.viz.figure import draw, save
from kfine.viz.view import brightest_slice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from kfine.image import Image
    from kfine.restoration.restore import Restoration

BASELINES = ("zero-filling", "bicubic")
CINE_BASELINE = "zero-filling"


def draw_restoration(result: Restoration, low: Image, path: Path, *, animation: Path | None) -> None:
    """Draw the figure of a restoration of `low` (or of some of its slices) to `path`.

    animation: where the moving picture of a cine goes; None for one frame.
    """
    if animation is None:
        save(figure_of(result, low), path)
    else:
        _draw_cine(result, low, path, animation=animation)


def figure_of(result: Restoration, low: Image) -> Figure:
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
    baselines = {name: restore(shown, matrix=mean.matrix, method=name).mean for name in others}
    return draw(
        low=shown,
        restored={**baselines, label(result): mean},
        uncertainty=_plane(result.std, index) if result.std else None,
        measured=shown.matrix,
        title=low.source.name,
        provenance=_provenance(result, low, first + index),
    )


def draw_evaluation(truth: Image, images: Mapping[str, Image], path: Path, *, animation: Path | None) -> None:
    """Draw `images` beside the truth to `path`.

    animation: where the moving picture of a cine goes; None for one frame.
    """
    if animation is None:
        save(draw(low=None, restored=images, reference=truth, title=truth.source.name), path)
        return
    from kfine.viz.animation import animate
    from kfine.viz.cine import draw_cine

    timing = timing_of_image(truth, frames_scale=None, frames=None)
    figure = draw_cine(low=None, restored=images, timing=timing, reference=truth, title=truth.source.name)
    save(figure, path)
    animate(low=None, restored=images, timing=timing, reference=truth).save(animation)


def _draw_cine(result: Restoration, low: Image, path: Path, *, animation: Path) -> None:
    """Draw the slice that changes most: input, the best interpolation, restored."""
    from kfine.viz.animation import animate
    from kfine.viz.cine import draw_cine
    from kfine.viz.cine_view import liveliest_slice

    asked = result.provenance["frames"]["asked"]
    first = (result.provenance["slices"] or [0])[0]
    index = liveliest_slice(result.mean)
    shown, mean = _as_measured(result, low, first + index), result.mean.take_slices(index, index + 1)
    restored = {label(result): mean}
    if result.provenance["method"] != CINE_BASELINE:
        baseline = restore(shown, matrix=mean.matrix, **asked, method=CINE_BASELINE)
        restored = {label(baseline): baseline.mean, **restored}
    timing = timing_of_image(low, **asked)
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


def label(result: Restoration) -> str:
    """Return a restoration's short name: the model or the method, and how many samples are averaged."""
    record = result.provenance
    method, model = str(record["method"]), record["model"]
    if not model:
        return _method(result)
    drawn = record["options"].get("samples")
    how = method if drawn is None else f"mean of {drawn}" if drawn > 1 else ""
    return ", ".join(dict.fromkeys(part for part in (model["name"], how) if part))


def residual_of(result: Restoration) -> str:
    """Return in words how far a restoration contradicts the scan."""
    of = "magnitude" if "relative_magnitude_residual" in result.provenance else "k-space"
    return f"{of} residual {result.residual:.1e}"


def _method(result: Restoration) -> str:
    """Return the name of the method, in space and, where that is another, in time."""
    names = [result.provenance[key] for key in ("method", "time_method") if key in result.provenance]
    return ", ".join(names)


def _provenance(result: Restoration, low: Image, index: int) -> str:
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
        facts.append(f"method {_method(result)}")
    facts.append(f"k-space {record['kspace']}, {residual_of(result)}")
    return " · ".join([*facts, f"kfine {record['software']['kfine']}", record["notice"]])


def _as_measured(result: Restoration, low: Image, index: int) -> Image:
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
