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

_DECADES, _TALL = 4.0, 320  # range below the maximum; height in pixels, 100 per inch
_INK = "#ffb454"


def kspace_picture(measured: Image, restored: Image) -> bytes:
    """Return a PNG of log10 |k-space| of frame 0 of one plane, before and after.

    The plane is the brightest slice; if slices were restored too, it is the plane across the slices at the middle row.

    Args:
        measured: the measured image, without the scanner's zero filling.
        restored: the result, over the same field of view.
    """
    through = measured.slices != restored.slices
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
    return _drawn(low, values[1], box=(max(left, 0), max(top, 0), shape[1], shape[0]))


def _magnitudes(plane: NDArray[Any]) -> NDArray[np.float64]:
    return fft2c(torch.from_numpy(np.array(plane))).abs().to(torch.float64).numpy()


def _drawn(low: NDArray[np.float64], high: NDArray[np.float64], *, box: tuple[int, int, int, int]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    top = np.log10(max(float(high.max()), 1e-12))
    figure = Figure(figsize=(2 * _TALL / 100, _TALL / 100), dpi=100, facecolor="#14171c")
    for number, (name, values) in enumerate((("measured", low), ("restored", high))):
        axes = figure.add_axes((0.5 * number + 0.01, 0.01, 0.48, 0.9))
        shown = np.log10(np.maximum(values, 10 ** (top - _DECADES)))
        axes.imshow(shown, cmap="gray", vmin=top - _DECADES, vmax=top, aspect="auto", interpolation="nearest")
        left, upper, width, height = box
        axes.add_patch(Rectangle((left - 0.5, upper - 0.5), width, height, fill=False, color=_INK, lw=1.2))
        axes.set_axis_off()
        axes.set_title(name, color="#e8eaed", fontsize=9, pad=3)
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor=figure.get_facecolor())
    return file.getvalue()
