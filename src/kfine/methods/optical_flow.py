"""Interpolation in time along the motion: the frames before and after are warped to the time between, and blended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.errors import InputError
from kfine.methods.time_interpolation import neighbours

_AT_A_FRAME = 1e-9  # parts of the way to the next frame


def flow_interpolated(
    frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None
) -> Tensor:
    """Return the frames at other times, moved along the optical flow between their two neighbours.

    With I_0 and I_1 the frames before and after, t the part of the way between them, F_01 and F_10 the flows from
    each to the other (TV-L1: Zach, Pock and Bischof, DAGM 2007) and g(I, F)(x) = I(x + F(x)):

        F_t0 = t (t F_10 - (1 - t) F_01),   F_t1 = (1 - t) ((1 - t) F_01 - t F_10)
        I_t = (1 - t) g(I_0, F_t0) + t g(I_1, F_t1)

    (Jiang et al., Super SloMo, CVPR 2018, eqs. 4 and 1, without its networks and its occlusion weights).  A time
    needs two flow fields, estimated once for all times between the same two frames, on the CPU.

    Args:
        frames: (frame, ..., row, column), real or complex; the flow of complex frames is that of their magnitudes.
        times: of each frame, seconds, increasing, over less than a period.
        at: the times to interpolate to, seconds.
        period: seconds after which the frames begin again; None takes the first or last frame outside them.

    Returns:
        (len(at), ..., row, column), of the type of `frames` and on its device; a frame at its own time is kept.

    Raises:
        InputError: times that do not fit the frames or the period.
    """
    if len(frames) != len(times):
        raise InputError(f"expected as many frames as times, got {len(frames)} and {len(times)}")
    stack = frames.detach().cpu().numpy()
    stack = stack.reshape(len(stack), -1, *stack.shape[-2:])
    result = np.empty((len(at), *stack.shape[1:]), stack.dtype)
    full = float(np.abs(stack).max()) or 1.0
    before, after, parts = neighbours(times, at, period)
    ways = list(zip(before.tolist(), after.tolist(), strict=True))
    for plane in range(stack.shape[1]):
        flows: dict[tuple[int, int], tuple[NDArray[np.floating], NDArray[np.floating]]] = {}
        for place, (way, part) in enumerate(zip(ways, parts, strict=True)):
            first, second = (stack[frame, plane] for frame in way)
            if part <= _AT_A_FRAME or part >= 1 - _AT_A_FRAME:
                result[place, plane] = first if part < 0.5 else second
                continue
            if way not in flows:
                one, other = np.abs(first) / full, np.abs(second) / full
                flows[way] = _flow(one, other), _flow(other, one)
            result[place, plane] = _between(first, second, *flows[way], float(part))
    return torch.from_numpy(result).reshape(len(at), *frames.shape[1:]).to(frames.device)


def _between(
    first: NDArray[Any],
    second: NDArray[Any],
    forth: NDArray[np.floating],
    back: NDArray[np.floating],
    t: float,
) -> NDArray[Any]:
    """Return I_t of `flow_interpolated`."""
    to_first = t * (t * back - (1 - t) * forth)
    to_second = (1 - t) * ((1 - t) * forth - t * back)
    return (1 - t) * _warped(first, to_first) + t * _warped(second, to_second)


def _flow(start: NDArray[np.floating], end: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return F (2, row, column) in pixels with start(x) = end(x + F(x)); intensities are of order 1."""
    from skimage.registration import optical_flow_tvl1

    return optical_flow_tvl1(start, end)


def _warped(image: NDArray[Any], flow: NDArray[np.floating]) -> NDArray[Any]:
    """Return image(x + F(x)) by cubic splines; beyond its border an image goes on as it ends."""
    from scipy.ndimage import map_coordinates  # type: ignore[import-untyped]

    places = np.indices(image.shape, dtype=np.float32) + flow
    return map_coordinates(image, places, order=3, mode="nearest")
