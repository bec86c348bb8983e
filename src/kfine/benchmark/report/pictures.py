"""The report's pictures: one slice of one patient under each degradation, with detail and errors, on paper's white."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from kfine.benchmark.cases import SAMPLE, volume_seed
from kfine.benchmark.degradations import Degradation, degraded
from kfine.benchmark.results import BASELINE, Record, Results
from kfine.benchmark.truths import Truth
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

_MOST = 5  # methods side by side
_DPI = 110
_PAPER = {LIGHT: "#1b1f23", FAINT: "#5f6872"}


def median_truth(results: Results) -> Truth:
    """Return the volume that pictures show, not chosen by eye: of the patient with the median PSNR by the best method.

    Under the first degradation; of an even number of patients the lower of the two in the middle.
    """
    first = results.degradations[0].name
    best = results.best(first, "psnr", results.methods) or results.records[0].label
    values = results.patients(first, best, "psnr") or {results.records[0].case.truth.subject: 0.0}
    ordered = sorted(values, key=lambda who: (values[who], who))
    who = ordered[(len(ordered) - 1) // 2]
    return next(record.case.truth for record in results.records if record.case.truth.subject == who)


def methods_shown(results: Results, degradation: str) -> list[str]:
    """Return up to five methods: the best baseline in PSNR, then those that do most; in the order of the tables."""
    there = results.there(degradation)
    best = results.best(degradation, "psnr", results.baselines)
    learnt = [method for method in there if results.tier(method) != BASELINE]
    # Means before their samples, and of each kind the last ones: those that do most.
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
    """Return a picture of the truth's middle slice; None where no method restored it under this degradation."""
    records = {record.label: record for record in results.records if _shows(record, degradation, truth)}
    names = [name for name in methods_shown(results, degradation.name) if name in records]
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
    """Return the figure with white around its panels and dark words; what is written on images stays light."""
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
