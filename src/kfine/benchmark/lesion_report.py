"""Files of a benchmark of lesions: a table a lesion, a summary, and a plot against lesion size."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kfine.benchmark.lesions import DIAMETERS, Lesions
from kfine.errors import UsageError
from kfine.files.atomic import atomic_file

LESIONS_CSV, LESIONS_JSON, LESIONS_PLOT = FILES = ("lesions.csv", "lesions.json", "lesions.png")


def check_free(output: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` where such files are there already, unless they may be replaced."""
    for name in FILES:
        if (output / name).exists() and not overwrite:
            raise UsageError(f"{output / name}: exists already; choose another folder or add overwrite=True")


def write(lesions: Lesions, output: Path, *, about: dict[str, Any]) -> None:
    """Write the three files, each whole or not at all."""
    rows = lesions.rows()
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    for name, content in (
        (LESIONS_CSV, text.getvalue()),
        (LESIONS_JSON, json.dumps(about | {"summary": lesions.summary()}, indent=2) + "\n"),
    ):
        with atomic_file(output / name, overwrite=True) as partial:
            partial.write_text(content, "utf-8", newline="")
    with (
        atomic_file(output / LESIONS_PLOT, overwrite=True) as partial,
        rc_context({"text.parse_math": False}),
    ):
        plot(lesions).savefig(partial, format="png", dpi=150)


def plot(lesions: Lesions) -> Figure:
    """Return retained contrast and false structures against the diameter of lesions, one row a degradation."""
    summary = [row for row in lesions.summary() if not row["real"]]
    degradations = list(dict.fromkeys(row["degradation"] for row in summary))
    figure = Figure(figsize=(9, 3.2 * len(degradations)), layout="constrained")
    grid: Any = figure.subplots(len(degradations), 2, squeeze=False)
    for axes, degradation in zip(grid, degradations, strict=True):
        here = [row for row in summary if row["degradation"] == degradation]
        for method in dict.fromkeys(row["method"] for row in here):
            own = [row for row in here if row["method"] == method]
            sizes = [row["diameter"] for row in own]
            axes[0].plot(sizes, [row["contrast_kept"] for row in own], "o-", ms=3.5, lw=1.2, label=method)
            axes[1].plot(
                sizes, [row["false_per_1000_voxels"] for row in own], "o-", ms=3.5, lw=1.2, label=method
            )
        _dress(axes[0], f"{degradation}: contrast kept", "part of the lesion's contrast")
        axes[0].axhline(1, color="#c9ced3", lw=0.8, zorder=0)
        _dress(axes[1], f"{degradation}: false structures", "in 1000 voxels of the body")
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def _dress(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=9.5, loc="left")
    axes.set_xlabel("diameter, voxels of the reference", fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_xlim(0, max(DIAMETERS) + 0.5)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
