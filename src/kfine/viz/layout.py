"""Layout of the figure: one column an image, one row a kind of view, positions in inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from matplotlib.figure import Figure

from kfine.image import Image
from kfine.viz.drawing import BACKGROUND, FAINT, shortened, text_at
from kfine.viz.view import Scene

LOW, METHOD, REFERENCE = "low", "method", "reference"

PANEL, GAP = 2.15, 0.07
SIDE, SIDE_WITH_BAR = 0.36, 0.9
_TITLE, _HEAD, _UNDER, _FOOT_LINE = 0.5, 0.3, 0.27, 0.15
_FOOT_POINTS, _FOOT_CHARACTER = (
    7.5,
    0.063,
)  # the mean width in inches of a character of DejaVu Sans at 7.5 points


@dataclass(frozen=True)
class Column:
    """One image of the figure: its name, and whether it is the input, a method's result or the reference."""

    name: str
    image: Image
    role: str


@dataclass(frozen=True)
class Sheet:
    """An empty figure and where things go: the top and the height of each row, the left of each column.

    Rows are "image" and, of a still, "zoom", "error" and "k-space", as far as they are there.
    """

    figure: Figure
    scene: Scene
    columns: Sequence[Column]
    left: float
    tops: dict[str, float]
    heights: dict[str, float]

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


def lay_out(
    scene: Scene,
    columns: Sequence[Column],
    *,
    uncertainty: bool,
    zoom: bool,
    title: str,
    notes: Sequence[str],
) -> Sheet:
    """Return the empty sheet for `columns`, its title and its notes (one paragraph each) already written."""
    has_reference = any(column.role == REFERENCE for column in columns)
    has_low = any(column.role == LOW for column in columns)
    down, across = scene.spacing
    heights = {"image": PANEL * scene.window.height / scene.window.width}
    if zoom:
        heights["zoom"] = PANEL
    if has_reference:
        heights["error"] = heights["image"]
    # k-space is as wide as 1 / pixel size; a very thin one is stretched, it is there to be seen.
    heights["k-space"] = PANEL * min(max(across / down, 0.6), 1.6)
    # The scale of the errors hangs in the free place below the input; without an input, in the margin.
    left = SIDE_WITH_BAR if has_reference and not has_low else SIDE
    right = SIDE_WITH_BAR if uncertainty else SIDE
    places = len(columns) + (uncertainty and not has_reference)
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
    """Return a sheet with rows of these `heights` (inches, "image" first), its title and its notes already written.

    places: how many columns there is room for; margins: left and right, inches.
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
    return Sheet(figure, scene, columns, left, tops, heights)
