"""Interpolation in time along the motion: the frames before and after are warped to the time between, and blended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.errors import InputError, ResourceError
from kfine.methods.time_interpolation import neighbours

Plane = NDArray[Any]
Flow = NDArray[np.floating]

_AT_A_FRAME = 1e-6  # parts of the way to the next frame
_SMALLEST = 64  # pixels along each side: OpenCV's search reads beyond smaller pictures
_GREYS = 255.0


@dataclass(frozen=True)
class Warped:
    """The two frames around each time, moved to that time.

    Attributes:
        before, after: (time, ..., row, column), of the type of the frames; both are the frame itself at its own time.
        part: (time,) float64, how far each time is on the way from the one to the other; 0 at a frame's own time.
    """

    before: Tensor
    after: Tensor
    part: Tensor

    @property
    def blend(self) -> Tensor:
        """The two, the nearer the heavier."""
        t = self.part.to(self.before).reshape(-1, *[1] * (self.before.ndim - 1))
        return (1 - t) * self.before + t * self.after


def flow_interpolated(
    frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None
) -> Tensor:
    """Return the frames at other times, moved along the optical flow between their two neighbours, and blended.

    With the parts of `warped`, I_t = (1 - t) g(I_0, F_t0) + t g(I_1, F_t1).
    """
    return warped(frames, times, at, period=period).blend


def warped(frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None) -> Warped:
    """Return the frames before and after each time, moved along the optical flow to that time.

    With I_0 and I_1 the frames before and after, t the part of the way between them, F_01 and F_10 the flows from
    each to the other and g(I, F)(x) = I(x + F(x)), they are g(I_0, F_t0) and g(I_1, F_t1) with

        F_t0 = t (t F_10 - (1 - t) F_01),   F_t1 = (1 - t) ((1 - t) F_01 - t F_10)

    (Jiang et al., Super SloMo, CVPR 2018, eqs. 4 and 1, without its networks and its occlusion weights).  A time
    needs two flow fields, estimated once for all times between the same two frames, on the CPU.

    Args:
        frames: (frame, ..., row, column), real with air at 0, or complex; the flow of complex frames is that of
            their magnitudes.
        times: of each frame, seconds, increasing, over less than a period.
        at: the times to interpolate to, seconds.
        period: seconds after which the frames begin again; None takes the first or last frame outside them.

    Raises:
        InputError: times that do not fit the frames or the period.
        ResourceError: OpenCV cannot be loaded.
    """
    if len(frames) != len(times):
        raise InputError(f"expected as many frames as times, got {len(frames)} and {len(times)}")
    stack = frames.detach().cpu().numpy()
    stack = stack.reshape(len(stack), -1, *stack.shape[-2:])
    result = np.empty((2, len(at), *stack.shape[1:]), stack.dtype)
    before, after, parts = neighbours(times, at, period)
    near = np.minimum(parts, 1 - parts) <= _AT_A_FRAME
    for plane in range(stack.shape[1]):
        # Each plane by its own range: a result must not depend on what else is in the stack.
        full = float(np.abs(stack[:, plane]).max()) or 1.0
        flows: dict[tuple[int, int], tuple[Flow, Flow]] = {}
        for place, way in enumerate(zip(before.tolist(), after.tolist(), strict=True)):
            first, second = (stack[frame, plane] for frame in way)
            t = float(parts[place])
            if near[place]:
                result[:, place, plane] = first if t < 0.5 else second
                continue
            if way not in flows:
                one, other = np.abs(first) / full, np.abs(second) / full
                flows[way] = _flow(one, other), _flow(other, one)
            forth, back = flows[way]
            result[0, place, plane] = _moved(first, t * (t * back - (1 - t) * forth))
            result[1, place, plane] = _moved(second, (1 - t) * ((1 - t) * forth - t * back))
    shape = (len(at), *frames.shape[1:])
    early, late = (torch.from_numpy(part).reshape(shape).to(frames.device) for part in result)
    return Warped(early, late, torch.from_numpy(np.where(near, 0.0, parts)))


def _flow(start: Plane, end: Plane) -> Flow:
    """Return F (2, row, column) in pixels with start(x) = end(x + F(x)); intensities are from 0 to 1.

    Dense inverse search (Kroeger, Timofte, Dai and Van Gool, Fast Optical Flow using Dense Inverse Search, ECCV
    2016), OpenCV's, its medium preset, on 256 grey levels: decision 9.
    """
    cv2 = _opencv()
    missing = [(0, max(0, _SMALLEST - n)) for n in start.shape]
    pair = [
        np.pad(np.clip(plane * _GREYS, 0, _GREYS).round().astype(np.uint8), missing, mode="edge")
        for plane in (start, end)
    ]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*pair, None)
    rows, columns = start.shape
    return np.asarray(flow[:rows, :columns, ::-1].transpose(2, 0, 1))


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(
            f"optical flow needs OpenCV, which does not load ({reason}); pip install opencv-python-headless"
        ) from None
    return cv2


def _moved(image: Plane, flow: Flow) -> Plane:
    """Return image(x + F(x)) by cubic convolution; beyond its border an image goes on as it ends."""
    cv2 = _opencv()
    rows, columns = np.indices(image.shape, dtype=np.float32) + flow.astype(np.float32)
    parts = [
        np.ascontiguousarray(part, np.float32)
        for part in (image.real, image.imag)[: 1 + np.iscomplexobj(image)]
    ]
    moved = [
        cv2.remap(part, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE) for part in parts
    ]
    return np.asarray(moved[0] + 1j * moved[1] if len(moved) > 1 else moved[0])
