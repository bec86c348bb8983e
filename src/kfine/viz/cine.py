"""Figure of a cine: input, methods and reference, as stills and along a line over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kfine.acquisition.timing import Timing
from kfine.errors import UsageError
from kfine.evaluation.comparison import check_same_grid, range_of
from kfine.evaluation.metrics import psnr, ssim
from kfine.image import Image, magnitude
from kfine.viz import drawing
from kfine.viz.drawing import BLOCK, FAINT, OUTLINE, Box
from kfine.viz.sheet import (
    INTERVAL,
    LOW,
    METHOD,
    PANEL,
    SIDE,
    SIDE_WITH_BAR,
    SURENESS,
    UNCERTAINTY,
    UNSURE,
    UNSURE_COLOUR,
    Column,
    Sheet,
    columns_of,
    empty_sheet,
    grid_of,
    unsure_part,
    unsure_words,
)
from kfine.viz.view import CineScene, check_low, make_cine_scene

_FRAMES = 3
_BEATS = 2  # of a cine with a period, so that the transition from the last frame to the first is visible
_STD, _SURENESS, _ERROR = "std", "sureness", "error"
_COLOURS = {_STD: "viridis", _ERROR: "inferno"}
_TALL = 0.8  # height to width of a line over time


def draw_cine(
    *,
    low: Image | None,
    restored: Mapping[str, Image],
    timing: Timing,
    reference: Image | None = None,
    uncertainty: Image | None = None,
    half_width: Image | None = None,
    slice_index: int | None = None,
    title: str = "",
    provenance: str = "",
) -> Figure:
    """Return the figure of one slice of a cine: dark, upright, in the proportions of the body.

    One column per image.  Rows: the first frame, with the outline of the region that moves most; that region in three
    other frames, interpolated ones if there are any; the line of the first row over time, for two heart beats.  With a
    reference, a column shows the absolute error of each restored cine.

    Args:
        low: the low-resolution input, or None; each of its frames is shown until the next one.
        restored: name -> cine, one column each in this order, all on one grid and at `timing.at`; without a
            reference the last one determines slice, region, line and grey window.
        timing: times of the frames of `low` and of `restored`.
        reference: the truth on that grid, at the same times; adds mean PSNR and SSIM over the slice's frames, and the
            errors.
        uncertainty: standard deviation on that grid, at the same times.
        half_width: instead of it, half the width of the 90 % interval, beside the last restored cine with the unsure
            voxels coloured (`kfine.viz.sheet.UNSURE`).
        slice_index: counted from 0; default: the slice that changes most.
        title, provenance: a line above, a paragraph below.

    Raises:
        UsageError: nothing to draw.
        InputError: images on different grids or a slice that does not exist.
    """
    if not restored:
        raise UsageError("figure: expected at least one restored cine, got none")
    guide = reference if reference is not None else list(restored.values())[-1]
    scene = check_and_make_scene(guide, low, [*restored.values()], timing, slice_index=slice_index)
    columns = columns_of(low, restored, reference)
    if reference is not None:
        columns += _columns_of_errors(restored, reference)
    columns += _columns_of_uncertainty(list(restored.values())[-1], uncertainty, half_width)
    percent = 100 / range_of(guide)
    tops = {
        role: _top([column.image for column in columns if column.role == role], scene) * percent
        for role in (_STD, _ERROR)
    }
    square = PANEL * scene.still.zoom.height / scene.still.zoom.width
    frames = scene.chosen(_FRAMES)
    heights = {"image": PANEL * scene.still.window.height / scene.still.window.width}
    heights |= {f"frame {frame}": square for frame in frames} | {"line": PANEL * _TALL}
    facts = _facts(scene, guide, with_low=low is not None, scored=reference is not None)
    facts += "" if half_width is None else f" · {unsure_words()} ({range_of(guide):.4g})"
    sheet = empty_sheet(
        scene.still, columns, heights=heights, places=len(columns),
        margins=(SIDE, SIDE_WITH_BAR if columns[-1].role in _COLOURS else SIDE), title=title,
        notes=[facts, provenance],
    )  # fmt: skip
    for number, column in enumerate(columns):
        below = f"{grid_of(column.image)} · {column.image.frames} frames"
        unsure = None
        if column.role == _STD:
            below = "% of range"
        elif column.role == _ERROR:
            below = f"0 to {drawing.nice_ceiling(tops[_ERROR]):g} % of range"
        elif column.role == _SURENESS and half_width is not None:
            part = unsure_part(column.image, half_width, data_range=range_of(guide))
            below, unsure = f"{part:.0%} unsure (orange)", 100 * half_width.voxels / range_of(guide) > UNSURE
        elif column.role == METHOD and reference is not None:
            below = _scores(scene, column.image, reference)
        _draw_column(
            sheet,
            scene,
            number,
            column,
            frames=frames,
            percent=percent,
            top=tops.get(column.role),
            bar=column.role == _STD or (column.role == _ERROR and number == len(columns) - 1),
            below=below,
            unsure=unsure,
        )
    label = scene.label if low is not None else scene.when
    for row, words in {
        "image": scene.when(0), **{f"frame {frame}": label(frame) for frame in frames},
        "line": "line over time",
    }.items():  # fmt: skip
        top, height = sheet.tops[row], sheet.heights[row]
        drawing.text_at(sheet.figure, (0.2, top + height / 2), words, fontsize=8, color=FAINT, rotation=90)
    return sheet.figure


def _columns_of_uncertainty(
    shown: Image, uncertainty: Image | None, half_width: Image | None
) -> list[Column]:
    """Return the last columns: the standard deviation; or `shown`, of which voxels are coloured, and the interval."""
    if half_width is not None:
        return [Column(SURENESS, shown, _SURENESS), Column(INTERVAL, half_width, _STD)]
    return [] if uncertainty is None else [Column(UNCERTAINTY, uncertainty, _STD)]


def _columns_of_errors(restored: Mapping[str, Image], reference: Image) -> list[Column]:
    """Return a column of the absolute error of each restored cine."""
    truth = magnitude(reference).voxels
    return [
        Column(
            "error" if len(restored) == 1 else f"error, {name}",
            replace(magnitude(image), voxels=np.abs(magnitude(image).voxels - truth)),
            _ERROR,
        )
        for name, image in restored.items()
    ]


def _top(images: list[Image], scene: CineScene) -> float:
    """Return the 0.995 quantile of the slice over all images, 0 without images."""
    planes = [magnitude(image).voxels[:, scene.still.index] for image in images]
    return float(np.percentile(planes, 99.5)) if planes else 0.0


def check_and_make_scene(
    guide: Image, low: Image | None, others: list[Image], timing: Timing, *, slice_index: int | None
) -> CineScene:
    """Return the scene of `guide`, or raise `InputError` if an image is on another grid."""
    for image in others:
        check_same_grid(guide, image)
    if low is not None:
        check_low(low, guide)
    return make_cine_scene(guide, timing, slice_index=slice_index, seconds=guide.frame_times is not None)


def _scores(scene: CineScene, image: Image, reference: Image) -> str:
    """Return PSNR and SSIM of the slice, as means over the frames."""
    data_range = range_of(reference)
    pairs = [
        (scene.still.plane(reference, frame=frame), scene.still.plane(image, frame=frame))
        for frame in range(reference.frames)
    ]
    decibels, likeness = (
        float(np.mean([score(*pair, data_range=data_range) for pair in pairs])) for score in (psnr, ssim)
    )
    return f"{decibels:.2f} dB · SSIM {likeness:.4f}"


def _draw_column(
    sheet: Sheet,
    scene: CineScene,
    number: int,
    column: Column,
    *,
    frames: list[int],
    percent: float,
    top: float | None,
    bar: bool,
    below: str,
    unsure: NDArray[np.bool_] | None = None,
) -> None:
    """Draw every row of one column, and the text `below` its first image.

    percent: factor from grey values to % of the range; top: greatest percentage in colours, None for a grey image; bar:
    whether the colours get a colour bar; unsure: voxels (frame, slice, row, column) that are coloured.
    """
    still, image = scene.still, column.image
    shown = scene.latest_measured() if column.role == LOW else list(range(image.frames))
    factor, limits, colours = 1.0, still.grey, "gray"
    if top is not None:
        factor, limits, colours = percent, (0.0, drawing.nice_ceiling(top)), _COLOURS[column.role]
    extent = still.extent(image.matrix)

    def show(row: str, frame: int, window: Box) -> Axes:
        axes = drawing.axes_at(sheet.figure, f"{row}: {column.name}", sheet.place(row, number))
        plane = factor * still.plane(image, frame=shown[frame])
        drawing.show(axes, plane, extent, window=window, limits=limits, colours=colours)
        if unsure is not None:
            mask = still.view.turn(unsure[shown[frame], still.index])
            drawing.tint(axes, mask, extent, colour=UNSURE_COLOUR)
        return axes

    axes = show("image", 0, still.window)
    sheet.write_above(number, column.name)
    sheet.write_below(number, below)
    drawing.outline(axes, still.zoom, colour=OUTLINE)
    _mark(axes, scene)
    if number == 0:
        drawing.scale_bar(axes, still.window)
        drawing.side_letter(axes, still.view.left)
    for frame in frames:
        drawing.frame(show(f"frame {frame}", frame, still.zoom), colour=OUTLINE)
    over_time = factor * scene.along_line(image)[:, shown]
    over_time = np.tile(over_time, _BEATS if scene.timing.period is not None else 1)
    box = Box(0, over_time.shape[1], over_time.shape[0], 0)
    axes = drawing.axes_at(sheet.figure, f"line: {column.name}", sheet.place("line", number))
    drawn = drawing.show(axes, over_time, box, window=box, limits=limits, colours=colours)
    drawing.frame(axes, colour=BLOCK)
    if bar:
        left, above, width, height = sheet.place("image", number)
        place = left + width + 0.08, above + 0.2 * height, 0.08, 0.6 * height
        drawing.colourbar(sheet.figure, f"scale: {column.name}", drawn, place=place)


def _mark(axes: Axes, scene: CineScene) -> None:
    """Draw the line that is shown over time."""
    line = scene.line
    ends, place = (line.first, line.last), (line.place, line.place)
    across, down = (ends, place) if line.across else (place, ends)
    axes.plot(across, down, color=BLOCK, linewidth=0.9, solid_capstyle="butt")


def _facts(scene: CineScene, guide: Image, *, with_low: bool, scored: bool) -> str:
    """Return the caption: slice, grey window, scores and times."""
    still, timing = scene.still, scene.timing
    facts = [f"slice {still.index} of 0-{guide.slices - 1}"] if guide.slices > 1 else []
    facts.append(f"grey {still.grey[0]:.4g} to {still.grey[1]:.4g}")
    if scored:
        facts.append(f"PSNR and SSIM: means over the slice's frames, range {range_of(guide):.4g}")
    facts.append("times from the first frame on")
    beat = f", {_BEATS} heart beats of {1000 * timing.period:.0f} ms" if timing.period is not None else ""
    facts.append(f"line over time: left to right{beat}")
    if with_low:
        facts[-1] += "; each input frame is shown until the next"
    return " · ".join(facts)
