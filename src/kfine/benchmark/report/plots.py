"""The report's plots: small multiples, one panel a degradation, as SVG.  No pyplot; global style is left as it is."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from kfine.benchmark.cases import SAMPLE
from kfine.benchmark.degradations import Degradation
from kfine.benchmark.results import BASELINE, SAMPLED, SINGLE, Results
from kfine.benchmark.scoring import BY_KEY
from kfine.evaluation.rings import HALF, frequencies

INK, SOFT, RULE = "#1b1f23", "#5f6872", "#c9ced3"
# Greys need no training, blues do not sample, warm colours do.
_COLOURS = {
    BASELINE: ("#3d444b", "#7b838b", "#a9b0b7", "#cdd2d7"),
    SINGLE: ("#1f5fa8", "#3aa0c9", "#14365f", "#6c8ebf"),
    SAMPLED: ("#c2410c", "#d99a1c", "#9d2463", "#7a5230"),
}
_ACROSS, _WIDTH, _HEIGHT, _LEGEND = 3, 3.3, 2.45, 0.24
_THICKNESS = {BASELINE: 1.2, SINGLE: 2.4, SAMPLED: 1.1}  # curves that coincide must not hide each other
_SPAN = 300  # of an axis of the calibration: smaller spreads are nothing
_ROUND = [a * 10.0**b for b in range(-3, 2) for a in (1, 2, 5)]
# Their curves would only hide those of better interpolation.
_HIDDEN = ("nearest", "bilinear")

Panel = Callable[[Axes, Degradation], None]


@dataclass(frozen=True)
class Look:
    """How a method's marks look."""

    colour: str
    dash: Literal["-", "--", ":"]


def looks(results: Results) -> dict[str, Look]:
    """Return one look a method: a sample is its method's colour, dashed."""
    found: dict[str, Look] = {}
    used = dict.fromkeys(_COLOURS, 0)
    for method in results.methods:
        if method.endswith(SAMPLE) and method.removesuffix(SAMPLE) in found:
            found[method] = Look(found[method.removesuffix(SAMPLE)].colour, "--")
            continue
        tier = results.tier(method)
        colours = _COLOURS[tier]
        found[method] = Look(colours[used[tier] % len(colours)], "-" if used[tier] < len(colours) else ":")
        used[tier] += 1
    return found


def shown(results: Results) -> list[str]:
    """Return the methods whose curves are drawn."""
    wanted = [method for method in results.methods if method not in _HIDDEN]
    return wanted or results.methods


def gains(results: Results, metric: str) -> bytes:
    """Return by how much each method is better than the best baseline, with intervals: right of 0 is better."""
    style, unit = looks(results), BY_KEY[metric].unit
    methods = shown(results)[::-1]

    def panel(axes: Axes, degradation: Degradation) -> None:
        best = results.best(degradation.name, metric, results.baselines)
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, method in enumerate(methods):
            if best is None or not results.of(degradation.name, method):
                continue
            gain = results.gain(degradation.name, method, best, metric)
            colour, hollow = style[method].colour, method.endswith(SAMPLE)
            if not math.isnan(gain.low):
                axes.plot([gain.low, gain.high], [place, place], color=colour, linewidth=1.6)
            face = "white" if hollow else colour
            axes.plot(gain.mean, place, "o", markersize=5, color=colour, markerfacecolor=face)
        axes.set_ylim(-0.6, len(methods) - 0.4)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_xlabel(f"{f'{unit} ' if unit else ''}better than {best or 'the best baseline'}")
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(5))

    height = 0.75 + 0.21 * len(methods)
    return _sheet(results.degradations, panel, share_y=True, height=height, left=1.15)


def correlations(results: Results) -> bytes:
    """Return the Fourier ring correlation of each method."""
    return _rings(results, 0, "Fourier ring correlation", top=1.03, level=HALF)


def ring_errors(results: Results) -> bytes:
    """Return the relative error in each ring of k-space."""
    return _rings(results, 1, "relative error of the ring", top=1.6, level=1.0)


def calibrations(results: Results) -> bytes | None:
    """Return the error against the standard deviation, in bins of voxels; None where no method has a spread."""
    style = looks(results)
    methods = [
        m for m in results.methods if any(results.calibration(d.name, m) for d in results.degradations)
    ]
    if not methods:
        return None

    def panel(axes: Axes, degradation: Degradation) -> None:
        ends = np.array([1e-4, 1.0])
        axes.plot(100 * ends, 100 * ends, color=RULE, linewidth=1, zorder=0)
        words = []
        values = []
        for method in methods:
            found = results.calibration(degradation.name, method)
            if found is None:
                continue
            predicted, actual = found.curve
            axes.plot(
                100 * predicted, 100 * actual, "o-", color=style[method].colour, markersize=2.5, linewidth=1.2
            )
            values += [*(100 * predicted), *(100 * actual)]
            words.append(f"{method}: {found.ratio:.2f}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        if values:
            limits = max(values) / _SPAN, max(values) * 1.8
            for axis, set_limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
                set_limits(*limits)
                axis.set_major_locator(FixedLocator(_ROUND))
                axis.set_major_formatter("{x:g}")
                axis.set_minor_locator(NullLocator())
        axes.text(
            0.97,
            0.05,
            "\n".join(["spread / error", *words]),
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=7.5,
            color=SOFT,
        )
        axes.set_xlabel("standard deviation, % of range")
        axes.set_ylabel("error, % of range")

    return _sheet(results.degradations, panel, legend=_legend(style, methods))


def _rings(results: Results, row: int, label: str, *, top: float, level: float) -> bytes:
    style, methods, places = looks(results), shown(results), frequencies()

    def panel(axes: Axes, degradation: Degradation) -> None:
        for border in sorted({1 / s for s in degradation.scale if s > 1}):
            axes.axvline(border, color=RULE, linewidth=0.9, zorder=0)
        axes.axhline(level, color=RULE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        for method in methods:
            if results.of(degradation.name, method):
                curve = results.rings(degradation.name, method)[row]
                look, thickness = style[method], _THICKNESS[results.tier(method)]
                axes.plot(places, curve, color=look.colour, linestyle=look.dash, linewidth=thickness)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, top)
        axes.set_xlabel("fraction of the Nyquist frequency")
        axes.set_ylabel(label)

    return _sheet(results.degradations, panel, legend=_legend(style, methods))


def _legend(style: dict[str, Look], methods: Sequence[str]) -> list[Line2D]:
    return [
        Line2D([], [], color=style[method].colour, linestyle=style[method].dash, label=method)
        for method in methods
    ]


def _sheet(
    degradations: Sequence[Degradation],
    panel: Panel,
    *,
    legend: Sequence[Line2D] = (),
    share_y: bool = False,
    height: float = _HEIGHT,
    left: float = 0.0,
) -> bytes:
    """Return a sheet of panels, three side by side, titles above, one legend below.

    left: inches for long names at the left, where the panels of a row share them.
    """
    with rc_context({"text.parse_math": False}):  # names are text, whatever dollars they have
        return svg_of(_drawn(degradations, panel, legend, share_y=share_y, height=height, left=left))


def _drawn(
    degradations: Sequence[Degradation],
    panel: Panel,
    legend: Sequence[Line2D],
    *,
    share_y: bool,
    height: float,
    left: float,
) -> Figure:
    across = min(_ACROSS, len(degradations))
    down = math.ceil(len(degradations) / across)
    lines = math.ceil(len(legend) / (2 * across))
    figure = Figure(figsize=(_WIDTH * across + left, height * down + _LEGEND * lines), layout="constrained")
    grid: Any = figure.subplots(down, across, squeeze=False, sharey=share_y)
    for number, axes in enumerate(grid.flat):
        if number >= len(degradations):
            axes.set_visible(False)
            continue
        axes.tick_params(labelsize=8, colors=INK, width=0.6, length=3)
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_linewidth(0.6)
        panel(axes, degradations[number])
        axes.set_title(degradations[number].title, fontsize=9.5, color=INK, loc="left")
        axes.xaxis.label.set(fontsize=8, color=SOFT)
        axes.yaxis.label.set(fontsize=8, color=SOFT)
    if legend:
        figure.legend(
            handles=list(legend),
            loc="outside lower left",
            ncols=2 * across,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
        )
    return figure


def svg_of(figure: Figure) -> bytes:
    """Return the figure as SVG, the same bytes every time."""
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "kfine", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
