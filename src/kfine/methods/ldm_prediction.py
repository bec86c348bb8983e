"""Prediction of a cine model's regression for one slice, and projections onto the measured k-space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.core import lowered
from kfine.methods.guide import guide
from kfine.methods.time_interpolation import interpolated, linear
from kfine.networks.ldm import CineLDM
from kfine.operators.kspace import image_of

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
