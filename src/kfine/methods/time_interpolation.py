"""Frames at other times: interpolation frame by frame, interpolation along the optical flow, plane methods in time.

Interpolation without motion is a matrix of weights (output times, input frames) that depends on the times alone.  With
a period, time is a circle: the first frame follows the last one.  Without a period, times before the first frame or
after the last one get that frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.acquisition.timing import Timing
from kfine.errors import InputError, ResourceError
from kfine.methods.base import Draws, PlaneMethod

Array = NDArray[np.float64]
Weights = Callable[[Sequence[float], Sequence[float], float | None], Array]

_HALF_WAY = 0.5 - 1e-9  # rounding must not decide which frame is the nearest one
_UNEVEN = 0.1  # of a step between frames: trigger times are rounded to whole milliseconds
Plane = NDArray[Any]
Flow = NDArray[np.floating]
_AT_A_FRAME = 1e-6  # fraction of the way to the next frame
_SMALLEST = 64  # pixels along each side: OpenCV's search reads beyond smaller pictures
_GREYS = 255.0
BEST_TIME_METHOD = "optical-flow"


def interpolated(
    frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None, weights: Weights
) -> Tensor:
    """Return the frames at other times.

    Args:
        frames: (frame, ...), real or complex floating point.
        times: time of each frame, seconds, increasing, over less than a period.
        at: output times, seconds; with a period, any times of any heart beat.
        period: seconds after which the frames begin again, or None.
        weights: `nearest`, `linear`, `cubic` or `band_limited`.

    Returns:
        (len(at), ...), of the type of `frames`; a frame at its own time is unchanged, to rounding.

    Raises:
        InputError: times that do not fit the frames or the period, or that `weights` cannot use.
    """
    if len(frames) != len(times):
        raise InputError(f"expected as many frames as times, got {len(frames)} and {len(times)}")
    matrix = torch.from_numpy(weights(times, at, period))
    return torch.tensordot(matrix.to(frames), frames, dims=([1], [0]))


def nearest(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times): 1 for the nearest frame; midpoints belong to the later one."""
    before, after, part = neighbours(times, at, period)
    weights = np.zeros((len(at), len(times)))
    weights[np.arange(len(at)), np.where(part < _HALF_WAY, before, after)] = 1
    return weights


def linear(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times) of linear interpolation between the frames before and after."""
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
    ]  # with a period the last knot is the first frame
    return CubicSpline(knots, frames, bc_type="natural" if period is None else "periodic")(places)


def band_limited(times: Sequence[float], at: Sequence[float], period: float | None) -> Array:
    """Return weights (at, times) of the trigonometric polynomial of least degree through evenly spaced frames.

    That is zero filling along the frequencies of time.  The periodic sinc of n frames is
    D(u) = (1 + 2 cos 2 pi u + 2 cos 4 pi u + ...) / n with the last term, n / 2, halved for even n (Schanze, Sinc
    interpolation of discrete periodic signals, IEEE Trans. Signal Process. 43, 1502, 1995).  The weights
    W = D(at - times) D(times - times)^-1 are exact at the frames, also for times that are uneven by rounding.

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
    """Return the times of the frames and the output times, relative to the first frame and within the frames.

    With a period, the times of the frames end with the first frame of the next cycle, at `period`.
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


@dataclass(frozen=True)
class Warped:
    """The two frames around each time, moved to that time.

    Attributes:
        before, after: (time, ..., row, column), of the type of the frames; at the time of a frame both are that frame.
        part: (time,) float64, fraction of the way from the one to the other; 0 at the time of a frame.
    """

    before: Tensor
    after: Tensor
    part: Tensor

    @property
    def blend(self) -> Tensor:
        """Linear blend of the two frames."""
        t = self.part.to(self.before).reshape(-1, *[1] * (self.before.ndim - 1))
        return (1 - t) * self.before + t * self.after


def flow_interpolated(
    frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None
) -> Tensor:
    """Return the frames at other times, moved along the optical flow between their two neighbours, and blended.

    In the notation of `warped`, I_t = (1 - t) g(I_0, F_t0) + t g(I_1, F_t1).
    """
    return warped(frames, times, at, period=period).blend


def warped(frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None) -> Warped:
    """Return the frames before and after each time, moved along the optical flow to that time.

    With the frames before and after I_0 and I_1, the fraction of the way t, the flows between them F_01 and F_10, and
    g(I, F)(x) = I(x + F(x)), they are g(I_0, F_t0) and g(I_1, F_t1) with

        F_t0 = t (t F_10 - (1 - t) F_01),   F_t1 = (1 - t) ((1 - t) F_01 - t F_10)

    (Jiang et al., Super SloMo, CVPR 2018, eqs. 4 and 1, without its networks and its occlusion weights).  The two flow
    fields are estimated once for all times between the same two frames, on the CPU.

    Args:
        frames: (frame, ..., row, column), real with air at 0, or complex; the flow of complex frames is that of
            their magnitudes.
        times: time of each frame, seconds, increasing, over less than a period.
        at: output times, seconds.
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
        # Each plane has its own range: a result must not depend on the other planes.
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
    """Return image(x + F(x)) by cubic convolution; beyond its border an image is extended by its edge values."""
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


class TimeMethod(Protocol):
    """Interpolation of frames (frame, ..., row, column) to other times; a frame at its own time is unchanged."""

    def __call__(
        self, frames: Tensor, times: Sequence[float], at: Sequence[float], *, period: float | None
    ) -> Tensor:
        """Return (len(at), ..., row, column); air is at 0, times are seconds."""
        ...


TIME_METHODS: dict[str, TimeMethod] = {
    **{name: partial(interpolated, weights=weights) for name, weights in WEIGHTS.items()},
    "optical-flow": flow_interpolated,
}


def check_time_method(name: str, timing: Timing) -> None:
    """Raise `InputError` if the time method cannot use these times, before hours of work."""
    if timing.changed and name in WEIGHTS:
        WEIGHTS[name](timing.times, timing.at, timing.period)


@dataclass(frozen=True)
class FrameByFrame:
    """Restore each measured frame by `plane`, and interpolate the results to other times.

    Attributes:
        plane: the method in space; each of its samples is interpolated separately.
        time_method: a name of `TIME_METHODS`.
    """

    plane: PlaneMethod
    time_method: str = BEST_TIME_METHOD

    @property
    def name(self) -> str:
        """Name of the method in space."""
        return self.plane.name

    @property
    def samples(self) -> int:
        """Samples of each slice."""
        return self.plane.samples

    @property
    def options(self) -> dict[str, Any]:
        """Settings of the method in space."""
        return self.plane.options

    def evaluations(self, scan: Scan) -> int:
        """Return the evaluations of all measured frames."""
        return len(scan.timing.times) * self.plane.samples * self.plane.evaluations

    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return samples of each slice, see `Method.restore`."""
        slices, frames = y.shape[:2]
        # The frame is part of the noise seed of a plane.
        named = draws.named([(seed, frame, slice) for seed, slice in draws.names for frame in range(frames)])
        planes = self.plane.restore(scan.crop, y.flatten(0, 1), named)
        measured = planes.unflatten(0, (slices, frames)).transpose(1, 2)
        timing = scan.timing
        if not timing.changed:
            return measured
        air = 1.0 if scan.crop.real else 0.0  # air is -1 in model units, 0 in complex images
        in_time = (measured + air).movedim(2, 0)
        restored = TIME_METHODS[self.time_method](in_time, timing.times, timing.at, period=timing.period)
        return restored.movedim(0, 2) - air
