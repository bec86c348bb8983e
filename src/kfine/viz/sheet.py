"""Sheet of a figure: a column per image, a row per kind of view, positions in inches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kfine.evaluation.comparison import range_of
from kfine.evaluation.foreground import foreground
from kfine.evaluation.metrics import psnr, ssim
from kfine.image import Image, magnitude
from kfine.viz import drawing
from kfine.viz.drawing import BACKGROUND, BLOCK, FAINT, INK, OUTLINE, Box, shortened, text_at
from kfine.viz.view import Scene

LOW, METHOD, REFERENCE = "low", "method", "reference"

PANEL, GAP = 2.15, 0.07
SIDE, SIDE_WITH_BAR = 0.36, 0.9
_TITLE, _HEAD, _UNDER, _FOOT_LINE = 0.5, 0.3, 0.27, 0.15
_FOOT_POINTS, _FOOT_CHARACTER = (
    7.5,
    0.063,
)  # the mean width in inches of a character of DejaVu Sans at 7.5 points

UNCERTAINTY = "uncertainty (std)"
INTERVAL = "90 % interval (±)"
SURENESS = "sure and unsure"
UNSURE = 5.0  # % of the range: half the width of the 90 % interval above which a voxel counts as unsure
UNSURE_COLOUR = "#ff8c42"
_ERROR_COLOURS, _UNCERTAINTY_COLOURS = "inferno", "viridis"
_DECADES = 4.5  # of k-space magnitude: the largest grey window


@dataclass(frozen=True)
class Column:
    """One image of the figure; `role` is `LOW` (input), `METHOD` or `REFERENCE`."""

    name: str
    image: Image
    role: str


@dataclass(frozen=True)
class Sheet:
    """An empty figure and its layout in inches: top and height of each row, left edge of the first column.

    Rows are "image" and, for stills, those of "zoom", "error" and "k-space" that have data.  `beside`: columns at the
    right of those of the images.
    """

    figure: Figure
    scene: Scene
    columns: Sequence[Column]
    left: float
    tops: dict[str, float]
    heights: dict[str, float]
    beside: int = 0

    def place(self, row: str, column: int) -> tuple[float, float, float, float]:
        """Return (left, top, width, height) of a panel."""
        return self.left + column * (PANEL + GAP), self.tops[row], PANEL, self.heights[row]

    def write_above(self, column: int, text: str) -> None:
        """Write the name of a column above its image."""
        left, top, width, _ = self.place("image", column)
        text_at(self.figure, (left + width / 2, top - 0.15), shortened(text, 26), fontsize=10.5)

    def write_below(self, column: int, text: str, *, colour: str = FAINT) -> None:
        """Write a column's numbers below its image."""
        left, top, width, height = self.place("image", column)
        text_at(self.figure, (left + width / 2, top + height + 0.15), text, fontsize=8.5, color=colour)


def columns_of(low: Image | None, restored: Mapping[str, Image], reference: Image | None) -> list[Column]:
    """Return the columns in their order: input, methods, reference."""
    columns = [] if low is None else [Column("low resolution", low, LOW)]
    columns += [Column(name, image, METHOD) for name, image in restored.items()]
    return columns + ([] if reference is None else [Column("reference", reference, REFERENCE)])


def lay_out(
    scene: Scene,
    columns: Sequence[Column],
    *,
    beside: int,
    zoom: bool,
    title: str,
    notes: Sequence[str],
) -> Sheet:
    """Return the sheet for `columns` with its title and its notes (one paragraph each).

    beside: number of columns of the uncertainty, at the right of `columns`; below the reference where there is one.
    """
    has_reference = any(column.role == REFERENCE for column in columns)
    has_low = any(column.role == LOW for column in columns)
    down, across = scene.spacing
    heights = {"image": PANEL * scene.window.height / scene.window.width}
    if zoom:
        heights["zoom"] = PANEL
    if has_reference:
        heights["error"] = heights["image"]
    # The extent of k-space is 1 / pixel size; a very narrow one is stretched to stay visible.
    heights["k-space"] = PANEL * min(max(across / down, 0.6), 1.6)
    # The colourbar of the errors is in the free place below the input; without an input, in the margin.
    left = SIDE_WITH_BAR if has_reference and not has_low else SIDE
    right = SIDE_WITH_BAR if beside else SIDE
    places = len(columns) + (beside if not has_reference else 0)
    return empty_sheet(
        scene, columns, heights=heights, places=places, margins=(left, right), title=title, notes=notes
    )


def empty_sheet(
    scene: Scene,
    columns: Sequence[Column],
    *,
    heights: dict[str, float],
    places: int,
    margins: tuple[float, float],
    title: str,
    notes: Sequence[str],
) -> Sheet:
    """Return a sheet with rows of these `heights` (inches, "image" first), with its title and its notes.

    places: number of columns in the width; margins: left and right, inches.
    """
    tops, top = {}, (_TITLE if title else 0.1) + _HEAD
    for row, height in heights.items():
        tops[row] = top
        top += height + GAP + (_UNDER if row == "image" else 0)
    left, right = margins
    width = left + places * (PANEL + GAP) - GAP + right
    lines = [line for note in notes for line in wrap(note, int((width - left) / _FOOT_CHARACTER))]
    figure = Figure(figsize=(width, top + 0.2 + _FOOT_LINE * len(lines)), facecolor=BACKGROUND)
    if title:
        text_at(figure, (left, _TITLE / 2 + 0.04), title, fontsize=13, ha="left")
    for number, line in enumerate(lines):
        place = left, top + 0.13 + _FOOT_LINE * number
        text_at(figure, place, line, fontsize=_FOOT_POINTS, color=FAINT, ha="left")
    return Sheet(figure, scene, columns, left, tops, heights, beside=places - len(columns))


def draw_images(sheet: Sheet, reference: Image | None, *, captions: Mapping[str, str] | None = None) -> None:
    """Draw the image and the enlarged detail of every column, with its name above and numbers below.

    captions: text below a method by column name, instead of its PSNR and SSIM.
    """
    figure, scene = sheet.figure, sheet.scene
    for number, column in enumerate(sheet.columns):
        plane, extent = scene.plane(column.image), scene.extent(column.image.matrix)
        axes = drawing.axes_at(figure, f"image: {column.name}", sheet.place("image", number))
        drawing.show(axes, plane, extent, window=scene.window, limits=scene.grey)
        sheet.write_above(number, column.name)
        if captions and column.name in captions:
            sheet.write_below(number, captions[column.name], colour=INK)
        elif column.role == METHOD and reference is not None:
            sheet.write_below(number, _scores(scene, column.image, reference), colour=INK)
        else:
            sheet.write_below(number, grid_of(column.image))
        if number == 0:
            drawing.scale_bar(axes, scene.window)
            drawing.side_letter(axes, scene.view.left)
        if "zoom" in sheet.tops:
            drawing.outline(axes, scene.zoom, colour=OUTLINE)
            detail = drawing.axes_at(figure, f"zoom: {column.name}", sheet.place("zoom", number))
            drawing.show(detail, plane, extent, window=scene.zoom, limits=scene.grey)
            drawing.frame(detail, colour=OUTLINE)


def draw_errors(sheet: Sheet, reference: Image, *, data_range: float) -> None:
    """Draw |method - reference| in % of `data_range`, with one scale for all methods."""
    scene = sheet.scene
    truth, extent = scene.plane(reference), scene.extent(reference.matrix)
    methods = [number for number, column in enumerate(sheet.columns) if column.role == METHOD]
    maps = [100 * np.abs(scene.plane(sheet.columns[number].image) - truth) / data_range for number in methods]
    limits = 0.0, drawing.nice_ceiling(max(float(np.percentile(values, 99)) for values in maps))
    for number, values in zip(methods, maps, strict=True):
        axes = drawing.axes_at(
            sheet.figure, f"error: {sheet.columns[number].name}", sheet.place("error", number)
        )
        drawn = drawing.show(axes, values, extent, window=scene.window, limits=limits, colours=_ERROR_COLOURS)
    left, top, _, height = sheet.place("error", methods[0])
    bar = left - 0.16, top + 0.2 * height, 0.08, 0.6 * height
    drawing.colourbar(sheet.figure, "scale: error", drawn, place=bar, left=True)
    words = {"fontsize": 8, "color": FAINT, "rotation": 90}
    drawing.text_at(sheet.figure, (left - 0.68, top + height / 2), "absolute error, % of range", **words)


def draw_uncertainty(sheet: Sheet, spread: Image, *, data_range: float, name: str = UNCERTAINTY) -> None:
    """Draw `spread` in % of `data_range` with its colour bar: beside the errors if there are any, else as last column.

    Args:
        sheet: of the figure.
        spread: standard deviation, or half the width of the 90 % interval, in the images' units.
        data_range: maximum - minimum of the image.
        name: `UNCERTAINTY` or `INTERVAL`; for the latter a line surrounds the unsure voxels (`UNSURE`).
    """
    scene, beside_errors = sheet.scene, "error" in sheet.tops
    number = len(sheet.columns) - 1 if beside_errors else _places(sheet) - 1
    row = "error" if beside_errors else "image"
    values, extent = 100 * scene.plane(spread) / data_range, scene.extent(spread.matrix)
    limits = 0.0, drawing.nice_ceiling(float(np.percentile(values, 99)))

    def show(axes: Axes, window: Box) -> AxesImage:
        if name == INTERVAL:
            drawing.contour(axes, values > UNSURE, extent, colour=UNSURE_COLOUR)
        return drawing.show(axes, values, extent, window=window, limits=limits, colours=_UNCERTAINTY_COLOURS)

    axes = drawing.axes_at(sheet.figure, "uncertainty", sheet.place(row, number))
    drawn = show(axes, scene.window)
    if beside_errors:
        drawing.text_in(axes, name, colour=INK)  # a label, as the panel is below the reference
    else:
        sheet.write_above(number, name)
        if "zoom" in sheet.tops:
            drawing.outline(axes, scene.zoom, colour=OUTLINE)
            detail = drawing.axes_at(sheet.figure, "zoom: uncertainty", sheet.place("zoom", number))
            show(detail, scene.zoom)
            drawing.frame(detail, colour=OUTLINE)
    left, top, width, height = sheet.place(row, number)
    bar = left + width + 0.08, top + 0.2 * height, 0.08, 0.6 * height
    drawing.colourbar(sheet.figure, "scale: uncertainty", drawn, place=bar)
    words = {"fontsize": 8, "color": FAINT, "rotation": 90}
    drawing.text_at(sheet.figure, (left + width + 0.68, top + height / 2), f"{name}, % of range", **words)


def draw_sureness(sheet: Sheet, image: Image, half: Image, *, data_range: float) -> None:
    """Draw `image` with the unsure voxels coloured, as the column before the uncertainty.

    Args:
        sheet: of a figure without reference.
        image: the restored image.
        half: half the width of its 90 % interval, same units.
        data_range: of which `UNSURE` is a percentage.
    """
    scene, number = sheet.scene, _places(sheet) - 2
    plane, extent = scene.plane(image), scene.extent(image.matrix)
    unsure = 100 * scene.plane(half) / data_range > UNSURE
    panels = {"image": scene.window} | ({"zoom": scene.zoom} if "zoom" in sheet.tops else {})
    for row, window in panels.items():
        axes = drawing.axes_at(sheet.figure, f"{row}: {SURENESS}", sheet.place(row, number))
        drawing.show(axes, plane, extent, window=window, limits=scene.grey)
        drawing.tint(axes, unsure, extent, colour=UNSURE_COLOUR)
        if row == "image" and "zoom" in panels:
            drawing.outline(axes, scene.zoom, colour=OUTLINE)
        elif row == "zoom":
            drawing.frame(axes, colour=OUTLINE)
    sheet.write_above(number, SURENESS)
    sheet.write_below(number, f"{unsure_part(image, half, data_range=data_range):.0%} unsure (orange)")


def unsure_part(image: Image, half: Image, *, data_range: float) -> float:
    """Return the fraction of unsure voxels in the body, over the whole `image`; 0 without a body."""
    body = np.broadcast_to(foreground(image), image.voxels.shape)
    return float((100 * half.voxels[body] / data_range > UNSURE).mean()) if body.any() else 0.0


def unsure_words() -> str:
    """Return the definition of unsure voxels for a caption."""
    return f"unsure: half of the 90 % interval is wider than {UNSURE:g} % of the range"


def _places(sheet: Sheet) -> int:
    """Return the number of columns in the width of a sheet without reference, those of the uncertainty included."""
    return len(sheet.columns) + sheet.beside


def draw_kspaces(sheet: Sheet, guide: Image, block: tuple[int, int] | None) -> None:
    """Draw log |k-space| of every column in the grey window of `guide`, with the outline of the measured `block`."""
    scene = sheet.scene
    whole = scene.kspace(guide)
    white = float(np.percentile(whole, 99.95))
    limits = max(float(np.percentile(whole, 1)), white - _DECADES), white
    everything = scene.block(scene.matrix)
    for number, column in enumerate(sheet.columns):
        axes = drawing.axes_at(sheet.figure, f"k-space: {column.name}", sheet.place("k-space", number))
        drawing.show(axes, scene.kspace(column.image), everything, window=everything, limits=limits)
        if block is None:
            continue
        drawing.outline(axes, scene.block(block), colour=BLOCK)
        if column.role == LOW:
            words = f"measured {block[0]} × {block[1]}"
            drawing.text_in(axes, words, colour=BLOCK)


def _scores(scene: Scene, image: Image, reference: Image) -> str:
    a, b = (magnitude(shown).voxels[0, scene.index] for shown in (reference, image))
    data_range = range_of(reference)
    decibels, similarity = psnr(a, b, data_range=data_range), ssim(a, b, data_range=data_range)
    return f"{decibels:.2f} dB · SSIM {similarity:.3f}"


def grid_of(image: Image) -> str:
    """Return matrix and pixel size."""
    (rows, columns), (_, row_mm, column_mm) = image.matrix, image.voxel_sizes
    same = abs(row_mm - column_mm) < 0.005 * row_mm
    return f"{rows} × {columns} · " + (f"{row_mm:.2f} mm" if same else f"{row_mm:.2f} × {column_mm:.2f} mm")
