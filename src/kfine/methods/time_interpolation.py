"""Interpolation in time, frame by frame of its own: nearest, linear, cubic spline, band-limited.

Each way is a matrix of weights, (times asked for, frames given), that depends on the times alone.  With a period time
is a circle: the frame after the last one is the first one.  Without one it is a line, and times before the first frame
or after the last one take that frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.errors import InputError

Array = NDArray[np.float64]
Weights = Callable[[Sequence[float], Sequence[float], float | None], Array]

_HALF_WAY = 0.5 - 1e-9  # rounding must not decide which frame is the nearest one
_UNEVEN = 0.1  # of a step between frames: trigger times are rounded to whole milliseconds


def interpolated(
    frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None, weights: Weights
) -> Tensor:
    """Return the frames at other times.

    Args:
        frames: (frame, ...), real or complex floating point.
        times: of each frame, seconds, increasing, over less than a period.
        at: the times to interpolate to, seconds; with a period any times, of whichever heart beat.
        period: seconds after which the frames begin again, or None.
        weights: `nearest`, `linear`, `cubic` or `band_limited`.

    Returns:
        (len(at), ...), of the type of `frames`; a frame at its own time is kept, to rounding.

    Raises:
        InputError: times that do not fit the frames or the period, or that `weights` cannot use.
    """
    if len(frames) != len(times):
        raise InputError(f"expected as many frames as times, got {len(frames)} and {len(times)}")
    matrix = torch.from_numpy(weights(times, at, period))
    return torch.tensordot(matrix.to(frames), frames, dims=([1], [0]))


def nearest(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times): 1 for the nearest frame; half-way times go to the later one."""
    before, after, part = neighbours(times, at, period)
    weights = np.zeros((len(at), len(times)))
    weights[np.arange(len(at)), np.where(part < _HALF_WAY, before, after)] = 1
    return weights


def linear(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times): the frames before and after, the nearer the heavier."""
    before, after, part = neighbours(times, at, period)
    weights = np.zeros((len(at), len(times)))
    np.add.at(weights, (np.arange(len(at)), before), 1 - part)
    np.add.at(weights, (np.arange(len(at)), after), part)
    return weights


def cubic(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times) of the cubic spline through the frames: periodic, or natural without a period.

    de Boor, A Practical Guide to Splines (1978), chapter IV; the frames need not be evenly spaced.
    """
    from scipy.interpolate import CubicSpline  # type: ignore[import-untyped]

    knots, places = _line(times, at, period)
    if len(times) == 1:
        return np.ones((len(at), 1))
    frames = np.eye(len(times))[
        np.arange(len(knots)) % len(times)
    ]  # on a circle the last knot is the first frame
    return CubicSpline(knots, frames, bc_type="natural" if period is None else "periodic")(places)


def band_limited(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times) of the trigonometric polynomial of least degree through evenly spaced frames.

    That is zero filling along the frequencies of time.  The periodic sinc of n frames is
    D(u) = (1 + 2 cos 2 pi u + 2 cos 4 pi u + ...) / n with the last term, n / 2, halved where n is even (Schanze,
    Sinc interpolation of discrete periodic signals, IEEE Trans. Signal Process. 43, 1502, 1995).  Times that are only
    nearly even, by rounding, are met exactly all the same: W = D(at - times) D(times - times)^-1.

    Raises:
        InputError: no period, or a step between frames that differs by more than 10 % from period / n.
    """
    if period is None:
        raise InputError("band-limited interpolation: expected a cine with a period, got none; use cubic")
    knots, places = _line(times, at, period)
    count = len(times)
    steps = np.diff(knots) * count / period
    if np.abs(steps - 1).max() > _UNEVEN:
        raise InputError(
            f"band-limited interpolation: expected evenly spaced frames round the period, got steps from "
            f"{steps.min():.2f} to {steps.max():.2f} of the mean one; use cubic"
        )
    own = knots[:-1]
    here, there = (_periodic_sinc((line[:, None] - own) / period, count) for line in (own, places))
    return np.linalg.solve(here.T, there.T).T.astype(np.float64)


WEIGHTS: dict[str, Weights] = {
    "nearest": nearest, "linear": linear, "cubic": cubic, "band-limited": band_limited,
}  # fmt: skip


def neighbours(
    times: Sequence[float], at: Sequence[float], period: float | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Return for each time the numbers of the frames before and after it, and how far it is on the way (0 to 1).

    Args:
        times: of each frame, seconds, increasing, over less than a period.
        at: times, seconds.
        period: seconds after which the frames begin again, or None.

    Raises:
        InputError: times that do not increase, are not finite or span a period.
    """
    knots, places = _line(times, at, period)
    if len(knots) == 1:
        return np.zeros(len(at), np.intp), np.zeros(len(at), np.intp), np.zeros(len(at))
    before = (np.searchsorted(knots, places, side="right") - 1).clip(0, len(knots) - 2)
    part = (places - knots[before]) / np.diff(knots)[before]
    return before, (before + 1) % len(times), part


def _line(times: Sequence[float], at: Sequence[float], period: float | None) -> tuple[Array, Array]:
    """Return the frames' times and the times asked for, counted from the first frame and within them.

    With a period the frames' times end with the first frame of the next cycle, at `period`.
    """
    knots, places = np.asarray(times, np.float64), np.asarray(at, np.float64)
    if not (
        knots.size and np.isfinite(knots).all() and np.isfinite(places).all() and (np.diff(knots) > 0).all()
    ):
        raise InputError("expected finite frame times in increasing order; check the image's frame times")
    knots, places = knots - knots[0], places - knots[0]
    if period is None:
        return knots, places.clip(0, knots[-1])
    if not (math.isfinite(period) and period > knots[-1]):
        raise InputError(f"period {period:g} s: expected more than the {knots[-1]:g} s that the frames span")
    return np.append(knots, period), places % period


def _periodic_sinc(turns: Array, count: int) -> Array:
    """Return D(u) of `turns`, any shape: 1 at whole turns, 0 at the other multiples of 1 / count."""
    frequency = np.arange(count // 2 + 1)
    height: Array = np.where((frequency == 0) | (2 * frequency == count), 1.0, 2.0) / count
    return np.cos(2 * np.pi * frequency * turns[..., None]) @ height
