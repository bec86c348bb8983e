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
from kfine.methods.core import lowered
from kfine.methods.time_interpolation import interpolated, linear, warped
from kfine.networks.ldm import CineLDM
from kfine.operators.kspace import KSpaceCrop, image_of


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
    time; channel 1 the same from the frame after; channel 2 the part of the way from the one to the other, from 0
    to 1, constant over the plane.  At a measured frame's own time both images are that zero-filled frame, and the
    part is 0.  `(1 - part) * guide[0] + part * guide[1]` is the optical-flow baseline.  Channels 3 and 4 are the
    parts of k-space that were measured along rows and columns, in (0, 1], constant everywhere.

    Args:
        y: measurements (kept frame, *crop.low), complex, in the units of `PlaneMethod.restore`.
        crop: what was measured of each frame; complex cines are guided by magnitude.
        times: of each kept frame, seconds, increasing, over less than a period.
        at: the times asked for, seconds.
        period: seconds after which the frames begin again; None takes the first or last frame outside them.
        parts: channels 3 and 4, where `crop` does not tell: frames that were brought to the fine grid before.

    Returns:
        (5, len(at), *crop.high), float32, on the device of `y`.

    Raises:
        InputError: times that do not fit the frames or the period.
        ResourceError: OpenCV cannot be loaded.
    """
    scan = crop.pseudo_inverse(y)
    # The flow knows air as 0: intensities from 0 to 2.
    images = warped(scan.abs() if scan.is_complex() else scan + 1, times, at, period=period)
    part = images.part.to(scan.device)[:, None, None].expand(images.before.shape)
    rows, columns = parts or tuple(low / high for low, high in zip(crop.low, crop.high, strict=True))
    return with_facts(images.before - 1, images.after - 1, part.to(images.before), (rows, columns)).float()


def with_facts(before: Tensor, after: Tensor, part: Tensor, parts: tuple[float, float]) -> Tensor:
    """Return the guide (5, ...) of these three channels (...) each and of the measured parts of k-space."""
    return torch.stack([before, after, part, *(torch.full_like(before, share) for share in parts)])


# FFT sharpness of a brain's samples at x4: 4.2 above the truth's with 3 rounds, 1.7 with 10, 0.3 with 30.
_ROUNDS = 30
# Scans of brains and hearts at a sixth of the matrix or more have up to 1.7 % of their pixels there, magnitudes none;
# with noise of 3 % they have 3.5 % (hearts, which have little air) to 19 % (brains).
_BELOW, _SHARE = 0.02, 0.02  # of the brightest value; of the pixels


@dataclass(frozen=True)
class Prediction:
    """What the network makes of one slice before any sampling.

    Attributes:
        guided: the guide (channel, frame, row, column).
        raw: E[x | y] as the network has it (frame, row, column), real, air at -1.
        held: the same, held to the measured k-space as far as the result will be: what an autoencoder is shown.
    """

    guided: Tensor
    raw: Tensor
    held: Tensor


@dataclass(frozen=True)
class Projection:
    """The measured k-space of one slice, and how real images in model units are held to it.

    Complex cines are restored by magnitude: what they are given has the phase of the zero-filled frames, linear in
    time between them, and no offset.

    Attributes:
        scan: what was measured.
        y: the slice's measurement (measured frame, *low), on the CPU.
        strength: 1 to replace the measured frequencies by the measurement, 0 to leave images alone; between them,
            the weight of the measurement.
    """

    scan: Scan
    y: Tensor
    strength: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        """Return x (..., frame, row, column), real, air at -1, held to the measurement, in the units of y."""
        x = self._in_units_of_y(x.cpu())
        held = self.scan.operator.project_in_double(x, self.scan.kept(self.y))
        return torch.lerp(x, held, self.strength)

    def of_magnitudes(self, x: Tensor) -> Tensor:
        """Return x as `__call__` does; where that are magnitudes, which have no values below air, with fewer of them.

        Held to the k-space, what is not quite the truth rings into the air around.  Projections by turns onto the
        images without negative values and onto those with the measured k-space, which comes last, take most of that
        away (Youla and Webb, IEEE Trans. Med. Imaging 1982, 1:81).  Complex frames have no such bound, and scans with
        noise of both signs are those of no such image.
        """
        if self.strength == 0 or not self.scan.crop.real or self._negative:
            return self(x)
        held, kept = x.cpu(), self.scan.kept(self.y)
        for _ in range(_ROUNDS):
            held = self.scan.operator.project(held, kept).clamp_min(AIR)
        return torch.lerp(x.cpu(), replace(self, strength=1.0)(held), self.strength)

    @cached_property
    def _negative(self) -> bool:
        """Whether more of the scan's own pixels lie below air than an edge beside air explains."""
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
    """Return the network's prediction for one slice's measurement, all of it on `device`."""
    scan, y = projection.scan, projection.y
    timing = scan.timing
    estimate = lowered(
        lambda shown: network.predict(shown, cyclic=timing.period is not None), device, precision
    )
    guided = guide(y, scan.crop, timing.times, timing.at, period=timing.period).to(device)
    raw = estimate(guided[None])[0]
    held = projection(raw)
    return Prediction(guided, raw, (held.abs() - 1 if held.is_complex() else held).to(device))


class CineRegression:
    """Restore slices with the regressor of a `CineLDM`.

    Args:
        network: in evaluation mode, on `device`.
        strength: see `Projection`.
        device: where the network runs.
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
        """The settings, JSON-ready."""
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
