"""Figures of a restoration: one slice with input, interpolation and uncertainty; animation of a cine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfine._version import __version__
from kfine.acquisition.plan import Acquisition
from kfine.acquisition.scan import Scan, crop_of
from kfine.acquisition.timing import Timing
from kfine.errors import UsageError
from kfine.geometry import resized_affine
from kfine.image import Image
from kfine.methods.time_interpolation import BEST_TIME_METHOD, FrameByFrame
from kfine.models.calibration import SHOWN_CONFIDENCE
from kfine.restoration.labels import Restored, label, method_of, residual_of
from kfine.restoration.progress import Watch
from kfine.restoration.provenance import NOTICE
from kfine.restoration.selection import DETERMINISTIC
from kfine.restoration.streaming import Room, Work, stream
from kfine.viz.figure import draw, save
from kfine.viz.view import brightest_slice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINES = ("zero-filling", "bicubic")
CINE_BASELINE = "zero-filling"


def draw_restoration(result: Restored, path: Path, *, animation: Path | None) -> None:
    """Draw the figure of a restoration to `path`.

    animation: path of the animation of a cine; None for one frame.
    """
    if animation is None:
        save(figure_of(result), path)
    else:
        _draw_cine(result, path, animation=animation)


def figure_of(result: Restored) -> Figure:
    """Return the figure of a restoration.

    It shows one slice of frame 0, or a plane through the slices if the slice direction was restored: input, zero
    filling, bicubic, result, sure and unsure voxels, uncertainty, k-space.
    """
    acquisition, first = _acquisition(result), (result.provenance.slices or (0, 0))[0]
    if acquisition.slices is not None:
        return _figure_through(result, acquisition)
    index = brightest_slice(result.mean)
    still = _first_frame(acquisition, first + index)
    shown, mean = still.measured, _plane(result.mean, index)
    # If only frames were added there is nothing to interpolate in the plane.
    enlarged = mean.matrix != shown.matrix
    std, half_width = _spread(result)
    others = [name for name in BASELINES if enlarged and name != result.provenance.method]
    return draw(
        low=shown,
        restored={
            **{name: interpolated(still, name) for name in others},
            **({"sharp": _plane(result.sharp, index)} if result.sharp else {}),
            label(result): mean,
        },
        uncertainty=_plane(std, index) if std else None,
        half_width=_plane(half_width, index) if half_width else None,
        measured=shown.matrix,
        title=acquisition.image.source.name,
        provenance=_provenance(result, acquisition.image, first + index),
    )


def _figure_through(result: Restored, acquisition: Acquisition) -> Figure:
    """Return the figure of a plane through the slices, across the rows."""
    across = _crossed(result.mean)
    index = brightest_slice(across)
    mean, low = _plane(across, index), acquisition.image
    row = round((index - across.slices // 2) * low.matrix[0] / across.slices) + low.matrix[0] // 2
    shape = (1, low.slices, low.matrix[1])
    shown = replace(
        mean,
        voxels=low.voxels[:1, :, row][:, None],
        affine=resized_affine(mean.affine, (1, *mean.matrix), shape),
    )
    scan = Scan(crop_of(shown, mean.matrix), Timing.unchanged((0.0,), None), signed=acquisition.scan.signed)
    still = replace(acquisition, image=shown, measured=shown, scan=scan, slices=None)
    std, half_width = _spread(result)
    others = [name for name in BASELINES if name != result.provenance.method]
    facts = f"plane through the slices, row {row} of 0-{low.matrix[0] - 1} of the input"
    return draw(
        low=shown,
        restored={**{name: interpolated(still, name) for name in others}, label(result): mean},
        uncertainty=_plane(_crossed(std), index) if std else None,
        half_width=_plane(_crossed(half_width), index) if half_width else None,
        measured=shown.matrix,
        title=low.source.name,
        provenance=f"{facts} · {_provenance(result, shown, 0)}",
    )


def _spread(result: Restored) -> tuple[Image | None, Image | None]:
    """Return (None, half the width of the 90 % interval) if that is calibrated, else (standard deviation, None)."""
    if result.knows(SHOWN_CONFIDENCE):
        return None, result.half_width(SHOWN_CONFIDENCE)
    return result.std, None


def _crossed(image: Image) -> Image:
    """Return `image` with slices and rows exchanged."""
    return replace(image, voxels=image.voxels.swapaxes(1, 2), affine=image.affine[:, [1, 0, 2, 3]])


def _draw_cine(result: Restored, path: Path, *, animation: Path) -> None:
    """Draw the slice that changes most over time: input, the best interpolation, result."""
    from kfine.viz.animation import animate
    from kfine.viz.cine import draw_cine
    from kfine.viz.view import liveliest_slice

    acquisition, first = _acquisition(result), (result.provenance.slices or (0, 0))[0]
    timing, index = acquisition.timing, liveliest_slice(result.mean)
    part = _slice(acquisition, first + index)
    restored = {label(result): result.mean.take_slices(index, index + 1)}
    if result.provenance.method != CINE_BASELINE:
        name = f"{CINE_BASELINE}, {BEST_TIME_METHOD}" if timing.changed else CINE_BASELINE
        sharp = {"sharp": result.sharp.take_slices(index, index + 1)} if result.sharp else {}
        restored = {name: interpolated(part, CINE_BASELINE), **sharp, **restored}
    std, half_width = _spread(result)
    figure = draw_cine(
        low=part.measured,
        restored=restored,
        timing=timing,
        uncertainty=std.take_slices(index, index + 1) if std else None,
        half_width=half_width.take_slices(index, index + 1) if half_width else None,
        title=acquisition.image.source.name,
        provenance=_provenance(result, acquisition.image, first + index),
    )
    save(figure, path)
    animate(low=part.measured, restored=restored, timing=timing).save(animation)


def interpolated(acquisition: Acquisition, method: str) -> Image:
    """Return the restoration by a `method` without a model: "zero-filling" or a kernel's name."""
    plane_wise = FrameByFrame(DETERMINISTIC[method])
    work = Work(acquisition.scan, acquisition.scaling, plane_wise, seed=0, at_once=1, keep=False)
    arrays, *_ = stream(
        acquisition.measured, work, first=0, watch=Watch(), parts=None, room=Room(work.at_once)
    )
    timed = acquisition.measured.frame_times is not None
    return acquisition.measured.with_frames(arrays["mean"], acquisition.timing.at if timed else None)


def _provenance(result: Restored, low: Image, index: int) -> str:
    """Return the caption: slice, model, sampling, seed, source of the k-space, version."""
    record, options = result.provenance, result.provenance.options
    facts = [f"slice {index} of 0-{low.slices - 1} of the input"] if low.slices > 1 else []
    frames = record.frames
    if result.mean.frames > 1:
        facts.append(f"{frames.measured} frames measured, {frames.restored} restored")
    elif low.frames > 1:
        facts.append(f"frame 0 of 0-{low.frames - 1}")
    if record.model:
        facts.append(f"model {record.model['name']} ({record.model['sha256'][:8]})")
    if "samples" in options:
        samples = "1 sample" if options["samples"] == 1 else f"mean of {options['samples']} samples"
        facts.append(f"{samples} of {options['steps']} network evaluations, seed {record.seed}")
    else:
        facts.append(f"method {method_of(result)}")
    facts.append(f"k-space {record.kspace}, {residual_of(result)}")
    return " · ".join([*facts, f"kfine {__version__}", NOTICE])


def _acquisition(result: Restored) -> Acquisition:
    if result.acquisition is None:
        raise UsageError("figure: expected a restoration that holds its input")
    return result.acquisition


def _slice(acquisition: Acquisition, index: int) -> Acquisition:
    """Return the plan of slice `index` alone."""
    image, measured = (
        image.take_slices(index, index + 1) for image in (acquisition.image, acquisition.measured)
    )
    return replace(acquisition, image=image, measured=measured)


def _first_frame(acquisition: Acquisition, index: int) -> Acquisition:
    """Return the plan of slice `index` of frame 0 alone."""
    image, measured = (_plane(image, index) for image in (acquisition.image, acquisition.measured))
    scan = replace(acquisition.scan, timing=Timing.unchanged((0.0,), None))
    return replace(acquisition, image=image, measured=measured, scan=scan)


def _plane(image: Image, index: int) -> Image:
    """Return slice `index` of frame 0."""
    part = image.take_slices(index, index + 1)
    return replace(part, voxels=part.voxels[:1], frame_times=None, period=None)
