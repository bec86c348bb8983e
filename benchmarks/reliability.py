"""Reliability diagram: actual error of voxels against the stated standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

Curve = tuple[NDArray[Any], NDArray[Any]]
_WITHIN = 0.1  # half the width of the band, relative to the stated standard deviation


def reliability(panels: Mapping[str, Mapping[str, Curve]], *, unit: str = "% of full intensity") -> Figure:
    """Return the diagram: a panel per title, a curve (stated, actual) of increasing root mean squares per name.

    On the diagonal the actual error equals the stated one; the band is 10 % around it.
    """
    figure = Figure(figsize=(3.4 * len(panels), 3.3), layout="constrained")
    grid: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        values = np.concatenate([np.concatenate(curve) for curve in curves.values()])
        ends = np.array([values[values > 0].min() / 1.3, values.max() * 1.3])
        axes.fill_between(ends, ends * (1 - _WITHIN), ends * (1 + _WITHIN), color="#dfe3e8", lw=0)
        axes.plot(ends, ends, color="#7b838b", lw=0.8)
        for name, (stated, actual) in curves.items():
            axes.plot(stated, actual, "o-", ms=3.5, lw=1, label=name)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.set_xlabel(f"stated standard deviation, {unit}", fontsize=8)
        axes.set_ylabel(f"error, rms, {unit}", fontsize=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.tick_params(labelsize=7)
        axes.legend(frameon=False, fontsize=8)
    return figure
