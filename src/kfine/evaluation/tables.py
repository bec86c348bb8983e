"""Tables of comparisons for a terminal: methods in rows, scores in columns."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich import box
from rich.markup import escape
from rich.table import Table

from kfine.evaluation.comparison import Comparison, Scores

_COLUMNS = ("PSNR dB", "pooled dB", "SSIM", "NRMSE")
_TEMPORAL = "temporal"
_LEAST_IS_BEST = ("NRMSE", _TEMPORAL)


def table(comparisons: Mapping[str, Comparison]) -> Table:
    """Return a table of several methods' comparisons with the same reference, best values in bold.

    One block for whole slices, one for the inside of the mask: mean PSNR over slices, PSNR of the pooled error, mean
    SSIM, mean NRMSE; for cines also the temporal difference error.  The caption states the data range, the mask and the
    number of slices.
    """
    if not comparisons:
        raise ValueError("expected at least one comparison")
    first = next(iter(comparisons.values()))
    result = Table(box=box.SIMPLE_HEAD, caption=_caption(first), caption_justify="left", pad_edge=False)
    result.add_column("", no_wrap=True)
    result.add_column("", overflow="fold")
    columns = _COLUMNS if first.frames == 1 else (*_COLUMNS, _TEMPORAL)
    for name in columns:
        result.add_column(name, justify="right", no_wrap=True)
    for region, get in (("whole", _whole), ("inside", _inside)):
        result.add_section()
        values = {name: get(comparison) for name, comparison in comparisons.items()}
        best = [_best([row[at] for row in values.values()], column) for at, column in enumerate(columns)]
        for number, (name, row) in enumerate(values.items()):
            cells = (_cell(*cell) for cell in zip(row, columns, best, strict=False))
            result.add_row("" if number else region, escape(name), *cells)
    return result


def _whole(comparison: Comparison) -> tuple[float, ...]:
    return *_row(comparison.whole, comparison.pooled_whole), comparison.temporal


def _inside(comparison: Comparison) -> tuple[float, ...]:
    return *_row(comparison.inside, comparison.pooled_inside), math.nan


def _row(scores: Scores, pooled: float) -> tuple[float, ...]:
    return scores.psnr, pooled, scores.ssim, scores.nrmse


def _cell(value: float, column: str, best: float | None) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.2f}" if column.endswith("dB") else f"{value:.4f}"
    return f"[bold]{text}[/bold]" if value == best else text


def _best(values: list[float], column: str) -> float | None:
    """Return the best value of a column (the smallest of errors); None with fewer than two values."""
    defined = [value for value in values if not math.isnan(value)]
    if len(defined) < 2:
        return None
    return min(defined) if column in _LEAST_IS_BEST else max(defined)


def _caption(comparison: Comparison) -> str:
    empty = len(comparison.slices) - comparison.averaged
    left_out = f"; {empty} without foreground listed but not averaged" if empty else ""
    cine = comparison.frames > 1
    moving = " Temporal: RMS error of the change from frame to frame, of the data range." if cine else ""
    return (
        f"Data range {comparison.data_range:.6g} (maximum - minimum of the reference volume). "
        f"Means over {comparison.averaged} of {len(comparison.slices)} slices{' of all frames' * cine}{left_out}. "
        f"Inside: mask {comparison.mask}. Pooled: from one squared error over those slices' voxels. "
        f"NRMSE: over the root mean square of the reference.{moving}"
    )
