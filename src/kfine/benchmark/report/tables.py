"""Blocks of the report, which its template escapes, and its tables.

Tables: wins of simpler methods, all metrics under each degradation, sharpness as on the poster.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kfine.benchmark.degradations import Degradation
from kfine.benchmark.results import BASELINE, COMPARED, SAMPLED, SINGLE, Estimate, Results, Win
from kfine.benchmark.scoring import BY_KEY, HIGHER, LOWER, NEITHER, Metric
from kfine.benchmark.writing import COLUMNS, REFERENCE, poster_rows

_TYPES = {"svg": "image/svg+xml", "png": "image/png"}
_COLUMNS = (
    "psnr", "ssim", "ms_ssim", "nrmse", "resolved", "laplacian_off", "fft_off", "fine_off", "lpips",
)  # fmt: skip
_NOTHING = "–"
_DEFEATS_TABLE = (
    "Gain of the best simpler method, named below, over the method at the left. Methods without training are simpler "
    "than networks without sampling, and these simpler than many samples. Differences of less than half of the last "
    "digit are not listed. Bold: the 95 % paired t interval of the difference within patients excludes 0; each is "
    "tested alone, and the best simpler method was chosen on the same patients, so more than 5 of 100 do by chance. "
    "One sample is not meant to win image metrics, a mean not to be sharp; both are listed. Nearest neighbour does not "
    "compete in sharpness: the edges of its pixels would win."
)
_SCORES = (
    "Means over {patients}; a method with fewer results is marked and cannot be the best. Below: the 95 % bootstrap "
    "interval over patients. Image metrics inside the body. Sharpness: distance to the value of the truth. Bold: the "
    "best mean of a column. Gain: within patients. Groups: without training; a network without sampling; many samples, "
    "of which the mean and one are scored."
)
_POSTER = (
    "{title}. Means over patients; below: the distance to the value of the reference. Sharpness at 8 bits as on the "
    "poster of Kouhana et al.: closest to the reference is best, higher is not better. Low resolution: nearest "
    "neighbour at the matrix of the reference. PSNR, MS-SSIM and NRMSE inside the body."
)


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a text, and a smaller one below.

    Attributes:
        best: bold; faint: grey; word: not a number, left-aligned.
    """

    text: str
    below: str = ""
    best: bool = False
    faint: bool = False
    word: bool = False

    @property
    def style(self) -> str:
        """The classes of the cell."""
        marks = {"best": self.best, "faint": self.faint, "word": self.word}
        return " ".join(name for name, marked in marks.items() if marked)


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; `style` is its class."""

    kind: ClassVar[str] = "paragraph"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain lines."""

    kind: ClassVar[str] = "items"
    lines: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """A list of terms and their texts."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table: one head, and groups of rows with a rule between them.

    The first cell of a row is its name; the others are numbers, except cells of words.
    """

    kind: ClassVar[str] = "table"
    heads: Sequence[Cell]
    groups: Sequence[Sequence[Sequence[Cell]]]
    caption: str


@dataclass(frozen=True)
class Picture:
    """An embedded picture with its caption; `form` is "svg" or "png"."""

    kind: ClassVar[str] = "picture"
    content: bytes
    form: str
    caption: str
    alt: str

    @property
    def source(self) -> str:
        """The content as a data URL."""
        return f"data:{_TYPES[self.form]};base64,{base64.b64encode(self.content).decode()}"


Block = Paragraph | Heading | Items | Facts | Table | Picture


def defeats(results: Results, found: Sequence[Win]) -> Table:
    """Return the table of the wins of simpler methods: a row a method and degradation, a column a metric."""
    metrics = [BY_KEY[key] for key in COMPARED if any(win.metric == key for win in found)]
    heads = [
        Cell("behind"),
        Cell("under", word=True),
        *(Cell(metric.title, metric.unit) for metric in metrics),
    ]
    groups = []
    for method in results.methods:
        rows: list[list[Cell]] = []
        for degradation in results.degradations:
            here = {w.metric: w for w in found if (w.method, w.degradation) == (method, degradation.name)}
            if here:
                cells = [_defeat(here.get(metric.key), metric) for metric in metrics]
                rows.append([Cell("" if rows else method), Cell(degradation.title, word=True), *cells])
        groups.append(rows)
    return Table(heads, groups, caption=_DEFEATS_TABLE)


def _defeat(win: Win | None, metric: Metric) -> Cell:
    if win is None:
        return Cell("")
    sure = win.gain.excludes_zero
    return Cell(_plain(win.gain.mean, metric.digits), win.simpler, best=sure, faint=not sure)


def scores(results: Results, degradation: Degradation) -> Table:
    """Return the table of one degradation: methods in rows, grouped by tier."""
    name = degradation.name
    there = results.there(name)
    metrics = [BY_KEY[key] for key in _COLUMNS]
    metrics = [
        m for m in metrics if any(not math.isnan(results.estimate(name, x, m.key).mean) for x in there)
    ]
    base = results.best(name, "psnr", results.baselines)
    heads = [Cell(""), *(Cell(m.title, _arrow(m)) for m in metrics)]
    if base is not None:
        heads.insert(2, Cell("gain", f"dB over {base}"))
    heads += [Cell("time", "s a slice"), Cell("memory", "MiB")]
    best = {m.key: _best(results, name, m, there) for m in metrics}

    def row(method: str) -> list[Cell]:
        cells = [Cell(results.title(name, method))]
        for metric in metrics:
            cells.append(
                _estimate(results.estimate(name, method, metric.key), metric, best=method in best[metric.key])
            )
        if base is not None:
            gain = results.gain(name, method, base, "psnr")
            shown = (
                Cell("0", faint=True) if method == base else Cell(_signed(gain.mean, 2), _interval(gain, 2))
            )
            cells.insert(2, shown)
        seconds, memory = results.cost(name, method)
        return [*cells, Cell(_plain(seconds, 2 if seconds < 10 else 0)), Cell(_plain(memory, 0))]

    groups = [[row(m) for m in there if results.tier(m) == tier] for tier in (BASELINE, SINGLE, SAMPLED)]
    patients = max((results.estimate(name, method, "psnr").patients for method in there), default=0)
    return Table(
        heads,
        groups,
        caption=_SCORES.format(patients=counted(patients, "patient")),
    )


def poster(results: Results, degradation: Degradation) -> Table:
    """Return the table of the poster under one degradation."""
    rows = poster_rows(results, degradation.name)
    heads = [Cell(""), *(Cell(BY_KEY[key].title, BY_KEY[key].unit) for key in COLUMNS)]
    body = []
    for row in rows:
        cells = [Cell(row.name)]
        for at, key in enumerate(COLUMNS):
            below = "" if row.name == REFERENCE else _apart(key, row.values[at], row.truth.get(key, math.nan))
            cells.append(Cell(_plain(row.values[at], BY_KEY[key].digits), below))
        body.append(cells)
    return Table(
        heads,
        [body[:-1], body[-1:]],
        caption=_POSTER.format(title=degradation.title),
    )


def _apart(key: str, value: float, own: float) -> str:
    if math.isnan(value) or math.isnan(own) or not own:
        return ""
    if key == "laplacian":
        return f"{_signed(100 * (value / own - 1), 1)} %"
    return _signed(value - own, 2) if key == "fft" else ""


def _best(results: Results, degradation: str, metric: Metric, methods: Sequence[str]) -> set[str]:
    """Return the methods whose printed mean is the best of several."""
    winner = results.best(degradation, metric.key, methods)
    if winner is None or len(methods) < 2:
        return set()
    means = results.complete(degradation, metric.key, methods)
    printed = {method: _plain(mean, metric.digits) for method, mean in means.items()}
    return {method for method, text in printed.items() if text == printed[winner]}


def _estimate(estimate: Estimate, metric: Metric, *, best: bool) -> Cell:
    return Cell(_plain(estimate.mean, metric.digits), _interval(estimate, metric.digits), best=best)


def _interval(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.low):
        return ""
    return f"{_plain(estimate.low, digits)} to {_plain(estimate.high, digits)}"


def _plain(value: float, digits: int) -> str:
    if math.isnan(value):
        return _NOTHING
    return f"{value:.{digits}f}".replace("-", "−").replace("inf", "∞")


def _signed(value: float, digits: int) -> str:
    return ("+" if value >= 0 else "") + _plain(value, digits)


def _arrow(metric: Metric) -> str:
    arrow = {HIGHER: "↑", LOWER: "↓", NEITHER: ""}[metric.best]
    return f"{metric.unit} {arrow}".strip()


def counted(number: int, thing: str) -> str:
    """Return "1 patient" or "2 patients"."""
    return f"{number} {thing}{'s' * (number != 1)}"
