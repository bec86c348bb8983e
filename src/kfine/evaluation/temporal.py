"""Temporal fidelity: error of the differences between frames, and the texture of each frame."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import InputError


def temporal_difference_error(
    reference: NDArray[Any], restored: NDArray[Any], *, data_range: float, cyclic: bool
) -> float:
    """Return the error of the changes from frame to frame, as a fraction of the data range.

    With d_t = x_(t+1) - x_t, the root mean square of d_t(restored) - d_t(reference) over all pixels and steps, divided
    by `data_range`: the comparison of frame-to-frame changes of Chu et al. (TecoGAN, ACM Trans. Graph. 39:75, 2020,
    eq. 4), on grey values instead of flow (tOF) and LPIPS (tLP).  An error common to all frames does not count; flicker
    counts twice.

    Args:
        reference: (frame, ..., row, column), real.
        restored: same shape and units.
        data_range: above 0.
        cyclic: whether the step from the last frame to the first counts (a heart beat).

    Returns:
        At least 0; nan for a single frame.

    >>> still = np.zeros((4, 2, 2))
    >>> temporal_difference_error(still, still + 7, data_range=10, cyclic=True)
    0.0
    """
    if reference.shape != restored.shape or not (data_range > 0 and math.isfinite(data_range)):
        raise ValueError(
            f"expected equal shapes and a data range above 0, got {reference.shape}, {restored.shape}, {data_range}"
        )
    if len(reference) < 2:
        return math.nan
    # Frame by frame: a whole study in double precision would take several times its memory.
    first = before = _difference(restored[0], reference[0])
    squares = []
    for number in range(1, len(reference)):
        wrong = _difference(restored[number], reference[number])
        squares.append(float(np.mean((wrong - before) ** 2)))
        before = wrong
    if cyclic:
        squares.append(float(np.mean((first - before) ** 2)))
    return math.sqrt(sum(squares) / len(squares)) / data_range


def texture(frames: NDArray[Any], *, reference: NDArray[Any]) -> NDArray[np.float64]:
    """Return the standard deviation of each frame's high frequencies where the slice is smooth tissue.

    A difference between measured and interpolated frames is visible as a pulsation of the cine.  High frequencies are
    those that a Gaussian of 1.5 pixels removes.  Smooth tissue has at least a quarter of the reference's intensity
    (0.995 quantile of the mean over frames) and the lower 40 % of the gradients of that mean.

    Args:
        frames: (frame, row, column), real.
        reference: same shape.

    Returns:
        (frame,), in the units of `frames`; nan if there is no tissue.
    """
    from scipy.ndimage import gaussian_filter, sobel

    if frames.shape != reference.shape or frames.ndim != 3:
        raise ValueError(
            f"expected frames of one slice, and equal shapes, got {frames.shape}, {reference.shape}"
        )
    mean = np.asarray(reference, np.float64).mean(0)
    blurred = gaussian_filter(mean, 1.0)
    steep = np.hypot(sobel(blurred, 0), sobel(blurred, 1))
    tissue = mean > 0.25 * np.quantile(mean, 0.995)
    if not tissue.any():
        return np.full(len(frames), math.nan)
    smooth = tissue & (steep <= np.quantile(steep[tissue], 0.4))
    fine = (np.asarray(frame, np.float64) for frame in frames)
    return np.array([(frame - gaussian_filter(frame, 1.5))[smooth].std() for frame in fine])


def _difference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(a, np.float64) - np.asarray(b, np.float64)


def check_same_times(
    reference: tuple[float, ...] | None, restored: tuple[float, ...] | None, *, name: str
) -> None:
    """Raise `InputError` if both have frame times and a frame differs by at least a quarter of a step.

    Times are compared relative to the first frame, because not every format stores the delay after the R wave.  A
    warning reports first frames that differ by as much.
    """
    if reference is None or restored is None or len(reference) != len(restored) or len(reference) < 2:
        return
    a, b = (np.asarray(times) - times[0] for times in (reference, restored))
    step, apart = float(np.diff(a).min()), float(np.abs(a - b).max())
    if apart >= 0.25 * step:
        raise InputError(
            f"{name}: expected the reference's frame times, {a[-1]:.4g} s from the first frame to the last, got "
            f"{b[-1]:.4g} s, up to {1000 * apart:.0f} ms apart; restore to the reference's frames"
        )
    later = restored[0] - reference[0]
    if abs(later) >= 0.25 * step:
        warnings.warn(
            f"{name}: its first frame is {abs(1000 * later):.0f} ms {'after' if later > 0 else 'before'} the "
            "reference's; frames are compared in their order",
            UserWarning,
            stacklevel=3,
        )
