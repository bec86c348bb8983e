"""Plots and pictures of the report.

Plots are SVG, small multiples, one panel a degradation.  Pictures are PNG: one slice of one patient under each
degradation, with detail and errors, on white.  No pyplot; matplotlib's global style is unchanged.
"""

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

from kfine.benchmark.cases import SAMPLE, volume_seed
from kfine.benchmark.degradations import Degradation, degraded
from kfine.benchmark.results import BASELINE, SAMPLED, SINGLE, Record, Results
from kfine.benchmark.scoring import BY_KEY
from kfine.benchmark.truths import Truth
from kfine.evaluation.rings import HALF, frequencies
from kfine.image import Image
from kfine.viz.drawing import FAINT
from kfine.viz.drawing import INK as LIGHT
from kfine.viz.sheet import (
    INTERVAL,
    LOW,
    METHOD,
    PANEL,
    REFERENCE,
    SIDE_WITH_BAR,
    UNCERTAINTY,
    Column,
    Sheet,
    draw_errors,
    draw_images,
    draw_uncertainty,
    empty_sheet,
)
from kfine.viz.view import make_scene

INK, SOFT, RULE = "#1b1f23", "#5f6872", "#c9ced3"
# Grey: without training; blue: networks without sampling; warm colours: many samples.
_COLOURS = {
    BASELINE: ("#3d444b", "#7b838b", "#a9b0b7", "#cdd2d7"),
    SINGLE: ("#1f5fa8", "#3aa0c9", "#14365f", "#6c8ebf"),
    SAMPLED: ("#c2410c", "#d99a1c", "#9d2463", "#7a5230"),
}
_ACROSS, _WIDTH, _HEIGHT, _LEGEND = 3, 3.3, 2.45, 0.24
_THICKNESS = {BASELINE: 1.2, SINGLE: 2.4, SAMPLED: 1.1}  # curves that coincide must not hide each other
_SPAN = 300  # ratio of the ends of an axis of the calibration
_ROUND = [a * 10.0**b for b in range(-3, 2) for a in (1, 2, 5)]
# Their curves would only cover those of better interpolation.
_HIDDEN = ("nearest", "bilinear")

Panel = Callable[[Axes, Degradation], None]
_MOST = 5  # methods side by side
_DPI = 110
_PAPER = {LIGHT: "#1b1f23", FAINT: "#5f6872"}


@dataclass(frozen=True)
class Look:
    """Colour and line style of a method."""

    colour: str
    dash: Literal["-", "--", ":"]


def looks(results: Results) -> dict[str, Look]:
    """Return the look of each method; a sample has the colour of its method, dashed."""
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


def drawn_methods(results: Results) -> list[str]:
    """Return the methods with curves."""
    wanted = [method for method in results.methods if method not in _HIDDEN]
    return wanted or results.methods


def gains(results: Results, metric: str) -> bytes:
    """Return a plot of the gain of each method over the best baseline, with intervals: right of 0 is better."""
    style, unit = looks(results), BY_KEY[metric].unit
    methods = drawn_methods(results)[::-1]

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
    """Return a plot of the Fourier ring correlation of each method."""
    return _rings(results, 0, "Fourier ring correlation", top=1.03, level=HALF)


def ring_errors(results: Results) -> bytes:
    """Return a plot of the relative error in each ring of k-space."""
    return _rings(results, 1, "relative error of the ring", top=1.6, level=1.0)


def calibrations(results: Results) -> bytes | None:
    """Return a plot of error against standard deviation, in bins of voxels; None if no method states one."""
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
    style, methods, places = looks(results), drawn_methods(results), frequencies()

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
    """Return a sheet of panels, three a row, with titles above and one legend below.

    left: inches for long names at the left, which the panels of a row share.
    """
    with rc_context({"text.parse_math": False}):  # dollars in names are plain text
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


def median_truth(results: Results) -> Truth:
    """Return the volume of the pictures: that of the patient with the median PSNR of the best method.

    The first degradation counts; for an even number of patients, the lower of the two middle ones.
    """
    first = results.degradations[0].name
    best = results.best(first, "psnr", results.methods) or results.records[0].label
    values = results.patients(first, best, "psnr") or {results.records[0].case.truth.subject: 0.0}
    ordered = sorted(values, key=lambda who: (values[who], who))
    who = ordered[(len(ordered) - 1) // 2]
    return next(record.case.truth for record in results.records if record.case.truth.subject == who)


def pictured_methods(results: Results, degradation: str) -> list[str]:
    """Return up to five methods: the best baseline in PSNR, and the highest tiers; in the order of the tables."""
    there = results.there(degradation)
    best = results.best(degradation, "psnr", results.baselines)
    learnt = [method for method in there if results.tier(method) != BASELINE]
    # Means before their samples, higher tiers before lower ones.
    ranked = sorted(learnt, key=lambda method: (method.endswith(SAMPLE), -results.tier(method)))
    room = _MOST - (best is not None)
    taken = {*ranked[:room], best}
    if not learnt:
        taken |= set(there[:_MOST])
    return [method for method in there if method in taken]


@dataclass(frozen=True)
class Drawn:
    """A picture, and whose uncertainty it shows.

    Attributes:
        png: the picture.
        spread_of: the method, None where no uncertainty is shown.
        interval: whether it is the 90 % interval, else the standard deviation.
    """

    png: bytes
    spread_of: str | None
    interval: bool = False


def picture(results: Results, degradation: Degradation, truth: Truth) -> Drawn | None:
    """Return a picture of the middle slice of the truth; None if no method restored it under this degradation."""
    records = {record.label: record for record in results.records if _shows(record, degradation, truth)}
    names = [name for name in pictured_methods(results, degradation.name) if name in records]
    if not names:
        return None
    index, affine = truth.middle, truth.image.affine
    reference = Image(truth.planes[index][None, None], affine)
    coarse = degraded(
        truth.image, degradation, seed=volume_seed(truth, next(iter(records.values())).case.seed)
    )
    low = Image(np.abs(coarse.voxels[:, index : index + 1]), coarse.affine)
    columns = [Column("low resolution", low, LOW)]
    columns += [Column(name, Image(records[name].picture()[0][None, None], affine), METHOD) for name in names]
    columns.append(Column("truth", reference, REFERENCE))
    whose = next((name for name in names if records[name].calibration), None)
    spread, name = None, UNCERTAINTY
    if whose is not None:
        half_width = records[whose].half_width()
        spread, name = (records[whose].picture()[1], name) if half_width is None else (half_width, INTERVAL)
    sheet = _empty(reference, columns)
    captions = {name: _caption(records[name], index) for name in names}
    draw_images(sheet, None, captions=captions)
    draw_errors(sheet, reference, data_range=truth.data_range)
    if spread is not None:
        draw_uncertainty(sheet, Image(spread[None, None], affine), data_range=truth.data_range, name=name)
    return Drawn(_png(_on_paper(sheet.figure)), whose, interval=name == INTERVAL)


def _shows(record: Record, degradation: Degradation, truth: Truth) -> bool:
    return record.case.degradation == degradation and record.case.truth is truth


def _empty(reference: Image, columns: list[Column]) -> Sheet:
    scene = make_scene(reference, slice_index=0)
    height = PANEL * scene.window.height / scene.window.width
    # Room for both scales, so that pictures with and without uncertainty are equally large.
    return empty_sheet(
        scene,
        columns,
        heights={"image": height, "zoom": PANEL, "error": height},
        places=len(columns),
        margins=(0.05, SIDE_WITH_BAR),
        title="",
        notes=[],
    )


def _caption(record: Record, index: int) -> str:
    return f"{record.values['psnr'][index]:.2f} dB · SSIM {record.values['ssim'][index]:.3f}"


def _on_paper(figure: Figure) -> Figure:
    """Return the figure with a white background and dark texts around the panels; texts on images stay light."""
    figure.set_facecolor("white")
    for words in figure.texts:
        words.set_color(_PAPER.get(str(words.get_color()), str(words.get_color())))
    for axes in figure.axes:
        axes.tick_params(colors=_PAPER[FAINT])
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(
        file, format="png", dpi=_DPI, facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return file.getvalue()
