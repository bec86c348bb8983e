"""The rows of the figure: images and detail, errors, uncertainty, k-space."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kfine.evaluation.comparison import range_of
from kfine.evaluation.metrics import psnr, ssim
from kfine.image import Image, magnitude
from kfine.viz import drawing
from kfine.viz.drawing import BLOCK, FAINT, INK, OUTLINE
from kfine.viz.layout import LOW, METHOD, Sheet
from kfine.viz.view import Scene

UNCERTAINTY = "uncertainty (std)"
_ERROR_COLOURS, _UNCERTAINTY_COLOURS = "inferno", "viridis"
_DECADES = 4.5  # of k-space magnitude between black and white, at most


def images(sheet: Sheet, reference: Image | None, *, captions: Mapping[str, str] | None = None) -> None:
    """Draw every column's image and its enlarged detail, with a name above and numbers below.

    captions: by column name, what stands below a method in the place of its PSNR and SSIM.
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


def errors(sheet: Sheet, reference: Image, *, data_range: float) -> None:
    """Draw |method - reference| in % of `data_range`, on one scale for all methods."""
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


def uncertainty(sheet: Sheet, std: Image, *, data_range: float) -> None:
    """Draw the standard deviation in % of `data_range`: beside the errors if any, else as last column."""
    scene, beside_errors = sheet.scene, "error" in sheet.tops
    row, number = ("error", len(sheet.columns) - 1) if beside_errors else ("image", len(sheet.columns))
    values, extent = 100 * scene.plane(std) / data_range, scene.extent(std.matrix)
    limits = 0.0, drawing.nice_ceiling(float(np.percentile(values, 99)))
    axes = drawing.axes_at(sheet.figure, "uncertainty", sheet.place(row, number))
    drawn = drawing.show(
        axes, values, extent, window=scene.window, limits=limits, colours=_UNCERTAINTY_COLOURS
    )
    if beside_errors:
        drawing.text_in(axes, UNCERTAINTY, colour=INK)  # it stands below the reference, whose it is not
    else:
        sheet.write_above(number, UNCERTAINTY)
        if "zoom" in sheet.tops:
            drawing.outline(axes, scene.zoom, colour=OUTLINE)
            detail = drawing.axes_at(sheet.figure, "zoom: uncertainty", sheet.place("zoom", number))
            drawing.show(
                detail, values, extent, window=scene.zoom, limits=limits, colours=_UNCERTAINTY_COLOURS
            )
            drawing.frame(detail, colour=OUTLINE)
    left, top, width, height = sheet.place(row, number)
    bar = left + width + 0.08, top + 0.2 * height, 0.08, 0.6 * height
    drawing.colourbar(sheet.figure, "scale: uncertainty", drawn, place=bar)
    words = {"fontsize": 8, "color": FAINT, "rotation": 90}
    drawing.text_at(
        sheet.figure, (left + width + 0.68, top + height / 2), f"{UNCERTAINTY}, % of range", **words
    )


def kspaces(sheet: Sheet, guide: Image, block: tuple[int, int] | None) -> None:
    """Draw log |k-space| of every column on the grey scale of `guide`'s, the measured `block` outlined."""
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
