"""Method cine-regression: guide, prediction by least squares, and projection onto the measured k-space; no samples.

Method cine-ldm samples around the same prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import with_precision
from kfine.methods.time_interpolation import interpolated, linear, warped
from kfine.networks.ldm import CineLDM
from kfine.operators.kspace import KSpaceCrop, image_of

# FFT sharpness of samples of a brain at x4, above that of the truth: 4.2 with 3 rounds, 1.7 with 10, 0.3 with 30.
_ROUNDS = 30
# Pixels below air by more than _BELOW: up to 1.7 % in noise-free scans of brains and hearts at a sixth of the matrix or
# more, none in magnitudes; with noise of 3 %, from 3.5 % (hearts, which have little air) to 19 % (brains).
_BELOW, _SHARE = 0.02, 0.02  # fraction of the brightest value; fraction of the pixels


def guide(
    y: Tensor,
    crop: KSpaceCrop,
    times: Sequence[float],
    at: Sequence[float],
    *,
    period: float | None,
    parts: tuple[float, float] | None = None,
) -> Tensor:
    """Return the guide of one slice's cine, real, in model units (air at -1, white at 1).

    Channel 0 is the measured frame before each time, zero-filled in space and warped along the optical flow to that
    time.  Channel 1 is the same for the frame after.  Channel 2 is the fraction of the way from the one to the other,
    from 0 to 1, constant over the plane.  At the time of a measured frame both images are that zero-filled frame, and
    the fraction is 0.  `(1 - part) * guide[0] + part * guide[1]` is the optical-flow baseline.  Channels 3 and 4 are
    the measured fractions of k-space along rows and columns, in (0, 1], constant.

    Args:
        y: measurements (measured frame, *crop.low), complex, in the units of `PlaneMethod.restore`.
        crop: operator of each frame; complex cines are guided by magnitude.
        times: time of each measured frame, seconds, increasing, over less than a period.
        at: the output times, seconds.
        period: seconds after which the frames begin again; None takes the first or last frame outside them.
        parts: channels 3 and 4, for frames that are on the fine grid already; None: from `crop`.

    Returns:
        (5, len(at), *crop.high), float32, on the device of `y`.

    Raises:
        InputError: times that do not fit the frames or the period.
        ResourceError: OpenCV cannot be loaded.
    """
    scan = crop.pseudo_inverse(y)
    # The flow needs air at 0: intensities from 0 to 2.
    images = warped(scan.abs() if scan.is_complex() else scan + 1, times, at, period=period)
    part = images.part.to(scan.device)[:, None, None].expand(images.before.shape)
    rows, columns = parts or tuple(low / high for low, high in zip(crop.low, crop.high, strict=True))
    return with_facts(images.before - 1, images.after - 1, part.to(images.before), (rows, columns)).float()


def with_facts(before: Tensor, after: Tensor, part: Tensor, parts: tuple[float, float]) -> Tensor:
    """Return the guide (5, ...) of three channels (...) and of the measured fractions of k-space."""
    return torch.stack([before, after, part, *(torch.full_like(before, share) for share in parts)])


@dataclass(frozen=True)
class Prediction:
    """Prediction of the network for one slice, before any sampling.

    Attributes:
        guided: the guide (channel, frame, row, column).
        raw: the estimate of E[x | y] by the network (frame, row, column), real, air at -1.
        projected: `raw` projected onto the measured k-space with the weight of the result: input of the autoencoder.
    """

    guided: Tensor
    raw: Tensor
    projected: Tensor


@dataclass(frozen=True)
class Projection:
    """Projection of real images in model units onto the measured k-space of one slice.

    Complex cines are restored by magnitude.  The result gets the phase of the zero-filled frames, linear in time
    between them, and has no offset.

    Attributes:
        scan: operator of the measurement.
        y: measurement of the slice (measured frame, *low), on the CPU.
        strength: weight of the measurement: 1 replaces the measured frequencies, 0 changes nothing.
    """

    scan: Scan
    y: Tensor
    strength: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Return x (..., frame, row, column), real, air at -1, projected onto the measurement, in the units of y."""
        x = self._in_units_of_y(x.cpu())
        projected = self.scan.operator.project_in_double(x, self.scan.kept(self.y))
        return torch.lerp(x, projected, self.strength)

    def of_magnitudes(self, x: Tensor) -> Tensor:
        """Return x projected as by `__call__`; for magnitudes with few values below air.

        An estimate projected onto the k-space rings into the surrounding air.  Alternating projections onto the
        non-negative images and onto those with the measured k-space, which comes last, remove most of the ringing
        (POCS; Youla and Webb, IEEE Trans.  Med.  Imaging 1982, 1:81).  Complex frames have no such bound, and scans
        with noise of both signs do not come from non-negative images.
        """
        if self.strength == 0 or not self.scan.crop.real or self._negative:
            return self(x)
        projected, measured = x.cpu(), self.scan.kept(self.y)
        for _ in range(_ROUNDS):
            projected = self.scan.operator.project(projected, measured).clamp_min(AIR)
        return torch.lerp(x.cpu(), replace(self, strength=1.0)(projected), self.strength)

    @cached_property
    def _negative(self) -> bool:
        """Whether more pixels of the scan are below air than the ringing of edges explains."""
        low = image_of(self.y, self.scan.crop) - AIR
        return bool((low < -_BELOW * low.max()).float().mean() > _SHARE)

    def _in_units_of_y(self, x: Tensor) -> Tensor:
        if self.scan.crop.real:
            return x
        timing, frames = self.scan.timing, self.scan.crop.pseudo_inverse(self.y)
        moved = interpolated(frames, timing.times, timing.at, period=timing.period, weights=linear)
        return torch.polar((x + 1).clamp_min(0), moved.angle().expand_as(x))


def predict(
    network: CineLDM,
    projection: Projection,
    *,
    device: torch.device,
    precision: torch.dtype,
) -> Prediction:
    """Return the prediction of the network for the measurement of one slice, on `device`."""
    scan, y = projection.scan, projection.y
    timing = scan.timing
    estimate = with_precision(
        lambda inputs: network.predict(inputs, cyclic=timing.period is not None), device, precision
    )
    guided = guide(y, scan.crop, timing.times, timing.at, period=timing.period).to(device)
    raw = estimate(guided[None])[0]
    projected = projection(raw)
    magnitude = projected.abs() - 1 if projected.is_complex() else projected
    return Prediction(guided, raw, magnitude.to(device))


class CineRegression:
    """Restore slices with the regressor of a `CineLDM`.

    Args:
        network: in evaluation mode, on `device`.
        strength: see `Projection`.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-regression"
    samples = 1

    def __init__(
        self,
        network: CineLDM,
        *,
        strength: float,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.device, self.precision = network, device, precision
        self.strength = strength

    @property
    def options(self) -> dict[str, Any]:
        """Settings, JSON-ready."""
        return {"strength": self.strength}

    def evaluations(self, scan: Scan) -> int:
        """Return one."""
        return 1

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        slices = []
        for measured in y:
            projection = Projection(scan, measured, self.strength)
            predicted = predict(self.network, projection, device=self.device, precision=self.precision)
            slices.append(projection.of_magnitudes(predicted.raw))
            draws.on_step(1)
        return torch.stack(slices)[:, None]
