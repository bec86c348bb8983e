"""Picture of k-space: input and result side by side, with the outline of the measured block."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.image import Image
from kfine.operators.fourier import fft2c
from kfine.viz.view import brightest_slice

_DECADES, _TALL = 4.0, 480  # range below the maximum; height in pixels, 100 per inch
_TITLE, _GAP = 30, 8  # pixels
_WIDEST = 2.5  # ratio of the sides
_INK = "#ffb454"


def kspace_picture(measured: Image, restored: Image) -> bytes:
    """Return a PNG of log10 |k-space| of frame 0 of one plane, before and after.

    The plane is the brightest slice; if slices were restored too, it is the plane across the slices at the middle row.
    Equal spatial frequencies have equal lengths along both axes.

    Args:
        measured: the measured image, without the scanner's zero filling.
        restored: the result, over the same field of view.
    """
    through = _through(measured, restored)
    index = brightest_slice(restored)
    planes = [
        image.voxels[0, :, image.matrix[0] // 2] if through else image.voxels[0, index]
        for image in (measured, restored)
    ]
    values = [_magnitudes(plane) for plane in planes]
    rows, columns = values[1].shape
    gain = (values[1].size / values[0].size) ** 0.5
    low = np.zeros_like(values[1])
    top, left = (rows // 2 - values[0].shape[0] // 2, columns // 2 - values[0].shape[1] // 2)
    shape = tuple(min(a, b) for a, b in zip(values[0].shape, values[1].shape, strict=True))
    low[max(top, 0) :, max(left, 0) :][: shape[0], : shape[1]] = gain * values[0][: shape[0], : shape[1]]
    between, row, column = restored.voxel_sizes
    wide = (between if through else row) / column  # the extent of k-space is the inverse of the voxel
    return _drawn(low, values[1], box=(max(left, 0), max(top, 0), shape[1], shape[0]), wide=wide)


def kspace_block(measured: Image, restored: Image) -> dict[str, list[int]]:
    """Return the [rows, columns] of k-space in the plane of `kspace_picture`, "measured" and "restored"."""
    through = _through(measured, restored)
    return {
        name: [image.slices if through else image.matrix[0], image.matrix[1]]
        for name, image in (("measured", measured), ("restored", restored))
    }


def _through(measured: Image, restored: Image) -> bool:
    return measured.slices != restored.slices


def _magnitudes(plane: NDArray[Any]) -> NDArray[np.float64]:
    return fft2c(torch.from_numpy(np.array(plane))).abs().to(torch.float64).numpy()


def _drawn(
    low: NDArray[np.float64], high: NDArray[np.float64], *, box: tuple[int, int, int, int], wide: float
) -> bytes:
    """Return the PNG of both planes.

    box: left, upper, width and height of the measured block; wide: ratio of the sides of a plane.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    top = np.log10(max(float(high.max()), 1e-12))
    tall = _TALL - _TITLE
    width = round(tall * min(max(wide, 1 / _WIDEST), _WIDEST))
    size = 2 * width + _GAP, _TALL
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100, facecolor="#14171c")
    for number, (name, values) in enumerate((("measured", low), ("restored", high))):
        axes = figure.add_axes((number * (width + _GAP) / size[0], 0, width / size[0], tall / size[1]))
        shown = np.log10(np.maximum(values, 10 ** (top - _DECADES)))
        axes.imshow(
            shown, cmap="gray", vmin=top - _DECADES, vmax=top, aspect="auto", interpolation="antialiased"
        )
        left, upper, block_width, height = box
        axes.add_patch(
            Rectangle((left - 0.5, upper - 0.5), block_width, height, fill=False, color=_INK, lw=2)
        )
        axes.set_axis_off()
        axes.set_title(name, color="#e8eaed", fontsize=15, pad=6)
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=figure.get_facecolor())
    return file.getvalue()
