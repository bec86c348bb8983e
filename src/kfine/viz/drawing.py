"""Parts of a figure: images, maps, outlines, colourbars and text at positions in inches.

Plain functions on `matplotlib.figure.Figure`, without pyplot and global style.  Importing this module loads matplotlib.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Text
from numpy.typing import NDArray

BACKGROUND, INK, FAINT = "#000000", "#eceff1", "#8d969e"
OUTLINE, BLOCK = "#ffc94d", "#4fd2e8"  # the zoomed region, the measured block


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture in its units (mm or k-space indices), y downwards."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def width(self) -> float:
        """Horizontal length."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Vertical length."""
        return self.bottom - self.top

    def widened(self, aspect: float) -> Box:
        """Return the smallest box around this one, same centre, with height / width = `aspect`."""
        width = max(self.width, self.height / aspect)
        height = width * aspect
        x, y = (self.left + self.right) / 2, (self.top + self.bottom) / 2
        return Box(x - width / 2, x + width / 2, y + height / 2, y - height / 2)


def axes_at(figure: Figure, name: str, place: tuple[float, float, float, float]) -> Axes:
    """Return bare axes labelled `name` at (left, top, width, height) in inches from the top left corner."""
    width, height = figure.get_size_inches()
    left, top, w, h = place
    axes = figure.add_axes((left / width, 1 - (top + h) / height, w / width, h / height), label=name)
    axes.set_axis_off()
    return axes


def text_at(figure: Figure, place: tuple[float, float], text: str, **style: Any) -> Text:
    """Write `text` at (left, top) in inches from the top left corner; `style` is matplotlib's Text."""
    width, height = figure.get_size_inches()
    defaults: dict[str, Any] = {
        "color": INK,
        "fontsize": 9,
        "ha": "center",
        "va": "center",
        "parse_math": False,
    }
    return figure.text(place[0] / width, 1 - place[1] / height, text, **(defaults | style))


def show(
    axes: Axes,
    pixels: NDArray[Any],
    extent: Box,
    *,
    window: Box,
    limits: tuple[float, float],
    colours: str = "gray",
) -> AxesImage:
    """Draw `pixels` (row, column) that cover `extent`, cropped to `window`; both in the same units.

    Voxels are drawn as rectangles: smooth interpolation would improve the appearance of coarse images.
    """
    image = axes.imshow(
        pixels,
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=(extent.left, extent.right, extent.bottom, extent.top),
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.bottom, window.top)
    return image


def outline(axes: Axes, box: Box, *, colour: str, linewidth: float = 0.9) -> None:
    """Draw a thin rectangle around `box`, in the units of the axes."""
    corner = (box.left, box.top)
    axes.add_patch(
        Rectangle(
            corner,
            box.width,
            box.height,
            fill=False,
            edgecolor=colour,
            linewidth=linewidth,
            joinstyle="miter",
        )
    )


def contour(axes: Axes, mask: NDArray[np.bool_], extent: Box, *, colour: str) -> None:
    """Draw a thin line around the pixels of `mask` (row, column), which covers `extent`."""
    if mask.any() and not mask.all():
        x, y = _centres(mask.shape, extent)
        axes.contour(x, y, mask.astype(float), levels=[0.5], colors=[colour], linewidths=0.5)


def tint(axes: Axes, mask: NDArray[np.bool_], extent: Box, *, colour: str, opacity: float = 0.5) -> None:
    """Colour the pixels of `mask` (row, column), which covers `extent`, over the image of the axes."""
    layer = np.zeros((*mask.shape, 4))
    layer[..., :3] = to_rgb(colour)
    layer[..., 3] = opacity * mask
    edges = (extent.left, extent.right, extent.bottom, extent.top)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(layer, extent=edges, interpolation="nearest", aspect="auto")
    axes.set(xlim=limits[0], ylim=limits[1])


def _centres(shape: tuple[int, ...], extent: Box) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions of the columns and rows of an image of `shape` that covers `extent`."""
    rows, columns = shape[0], shape[1]
    x = extent.left + (np.arange(columns) + 0.5) * extent.width / columns
    return x, extent.top + (np.arange(rows) + 0.5) * extent.height / rows


def frame(axes: Axes, *, colour: str) -> None:
    """Outline the axes: a zoomed panel has the colour of its outline in the image above."""
    axes.add_patch(
        Rectangle(
            (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=1.4, clip_on=True
        )
    )


def colourbar(
    figure: Figure,
    name: str,
    image: AxesImage,
    *,
    place: tuple[float, float, float, float],
    left: bool = False,
) -> None:
    """Draw a thin vertical colourbar of `image` at `place` with three ticks in %, on its left side if `left`."""
    axes = axes_at(figure, name, place)
    axes.set_axis_on()
    bar = figure.colorbar(image, cax=axes)
    low, high = image.get_clim()
    ticks = [low, (low + high) / 2, high]
    bar.set_ticks(ticks, labels=[f"{tick:.3g} %" for tick in ticks])
    bar.outline.set_visible(False)  # type: ignore[operator]
    axes.yaxis.set_ticks_position("left" if left else "right")
    axes.tick_params(colors=FAINT, labelsize=7, length=0, pad=3)


def scale_bar(axes: Axes, window: Box, *, longest: float = 0.34) -> None:
    """Draw a scale bar of a round length, 20 mm if it fits, in the lower left corner of `window` (mm)."""
    length = min(20.0, nice_number(longest * window.width))
    x, y = window.left + 0.05 * window.width, window.bottom - 0.045 * window.width
    axes.plot([x, x + length], [y, y], color=INK, linewidth=1.6, solid_capstyle="butt", path_effects=_halo())
    above = y - 0.025 * window.width
    words = f"{length:g} mm"
    axes.text(x, above, words, color=INK, fontsize=7, ha="left", va="bottom", path_effects=_halo())


def side_letter(axes: Axes, letter: str) -> None:
    """Write the letter of the patient's side at the left edge of the picture."""
    axes.text(
        0.012,
        0.5,
        letter,
        transform=axes.transAxes,
        color=INK,
        fontsize=8,
        ha="left",
        va="center",
        path_effects=_halo(),
    )


def text_in(axes: Axes, text: str, *, colour: str) -> None:
    """Write a small `text` at the lower edge of a panel."""
    axes.text(
        0.5,
        0.03,
        text,
        transform=axes.transAxes,
        color=colour,
        fontsize=8,
        ha="center",
        va="bottom",
        bbox={"facecolor": BACKGROUND, "alpha": 0.7, "linewidth": 0, "pad": 1.5},
    )


def _halo() -> list[AbstractPathEffect]:
    """Return a dark outline that makes text legible on a bright image."""
    return [withStroke(linewidth=1.8, foreground=BACKGROUND)]


def shortened(text: str, characters: int) -> str:
    """Return `text` shortened to `characters` in its middle, since file names differ at both ends.

    >>> shortened("sub-11_T1w_128_to_256.nii.gz", 15)
    'sub-11_….nii.gz'
    """
    rest = characters - 1
    return text if len(text) <= characters else f"{text[: rest - rest // 2]}…{text[len(text) - rest // 2 :]}"


def nice_number(limit: float) -> float:
    """Return the largest of ..., 0.5, 1, 2, 5, 10, 20, ... that does not exceed `limit` > 0.

    >>> nice_number(37), nice_number(0.3)
    (20.0, 0.2)
    """
    decade = 10.0 ** math.floor(math.log10(limit))
    return max(step * decade for step in (1.0, 2.0, 5.0) if step * decade <= limit * (1 + 1e-9))


def nice_ceiling(value: float) -> float:
    """Return the smallest of ..., 1, 2, 3, 5, 8, 10, 20, ... that is at least `value`; 1 for 0.

    >>> nice_ceiling(6.1), nice_ceiling(0.0)
    (8.0, 1.0)
    """
    if not (value > 0 and np.isfinite(value)):
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return min(
        step * decade for step in (1.0, 2.0, 3.0, 5.0, 8.0, 10.0) if step * decade >= value * (1 - 1e-9)
    )
