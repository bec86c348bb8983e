"""Slice direction: planes through the slices, restored by a method of planes, projected onto the measured slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kfine.acquisition.slices import SlicePlan
from kfine.intensity import AIR
from kfine.methods.base import Draws, PlaneMethod
from kfine.methods.core import CoreMethod, measured_parts
from kfine.methods.interpolation import ZeroFilling
from kfine.methods.uncertainty import error_scale
from kfine.models.calibration import Calibration
from kfine.operators.kspace import KSpaceCrop, measurement_of
from kfine.operators.slices import SliceProfile

REFORMATS = (1, 2)  # the axes of (slice, row, column) across which the planes lie
_DARK = 0.02  # of full intensity: a plane without brighter voxels is air
_NOISE_PLANES = 8  # planes for the estimate of the noise


class Refined(NamedTuple):
    """Restored slices.

    Attributes:
        mean: (slice, row, column), model units.
        std: standard deviation of the error, None for a method without calibration.
        again: (measured slice, row, column), the scan simulated from the mean.
    """

    mean: Tensor
    std: Tensor | None
    again: Tensor


@dataclass(frozen=True)
class SliceMethod:
    """Restore slices by `plane` across both axes of the plane, average, and project onto the measured slices.

    With the operator A of the slices (`SliceProfile`), a scan with signs or phases is reproduced exactly:
    x + A^+ (y - A x).  A^+ would amplify the noise of magnitudes, so they get x + A.H (A A.H + level / r)^-1 (y - A x),
    the Wiener filter for white errors of x and white noise of y.  `level` is the ratio of the power of the noise to
    that of the unit of detail of the scan (`kfine.networks.core.detail_unit`), which is about the error of the
    estimate.  Magnitudes do not fall below air.

    Attributes:
        plane: a method of planes with one finer direction, the first.
        projected: whether the mean is projected onto the measured slices.
        signed: whether real images have values of both signs.
        strength: weight of the measured slices in the result, for scans with a sign.
        calibration: calibration of the error of `plane`; None: the standard deviation is not known.
    """

    plane: PlaneMethod
    projected: bool
    signed: bool
    strength: float = 1.0
    calibration: Calibration | None = None

    @classmethod
    def of(
        cls, plane: PlaneMethod, plan: SlicePlan, *, signed: bool, calibration: Calibration | None = None
    ) -> SliceMethod:
        """Return the slice method of the core network, which gets the profile as input, or of a baseline."""
        if not isinstance(plane, CoreMethod):
            return cls(plane, projected=False, signed=signed)
        width = (plan.width, 0.0)
        settings = replace(
            plane.settings,
            symmetries=1,  # four gain 0.02 dB for four times the time: two directions of planes are averaged anyway
            strength=0.0,  # the slices, not the planes, are projected
            gaussian=width if plan.profile == "gaussian" else (0.0, 0.0),
            box=width if plan.profile == "box" else (0.0, 0.0),
        )
        method = plane.with_settings(settings)
        return cls(method, not settings.denoise, signed, plane.settings.strength, calibration)

    @property
    def options(self) -> dict[str, Any]:
        """Settings of the slice direction, JSON-ready."""
        if not self.projected:
            return {}
        magnitude = "by the Wiener filter of the noise" if not self.signed else f"weight {self.strength:g}"
        return {**self.plane.options, "held_to_measured_slices": magnitude}

    def evaluations(self, matrix: tuple[int, int]) -> int:
        """Return the evaluations of a stack whose slices have `matrix` (rows, columns), for progress."""
        return sum(matrix) * self.plane.evaluations

    @torch.inference_mode()
    def restore(self, stack: Tensor, plan: SlicePlan, draws: Draws) -> Refined:
        """Return the fine slices of one frame.

        Args:
            stack: (slice, row, column), the measured slices; real in model units, or complex without offset.
            plan: grids and profile.
            draws: limits of the frame; `names` is not used.
        """
        air = 0.0 if stack.is_complex() else AIR
        long = continued(stack - air, plan.margin) + air
        mean = long.new_zeros((plan.fine_margined, *long.shape[1:]))
        spread = None if self.calibration is None else torch.zeros(mean.shape)
        for axis in REFORMATS:
            for planes, x, std in self._reformatted(long, plan, axis, draws):
                mean.movedim(axis, 0)[planes] += x / len(REFORMATS)
                if spread is not None and std is not None:
                    spread.movedim(axis, 0)[planes] += std / len(REFORMATS)
        if self.projected:
            self._project(mean, long, plan)
        operator = slice_operator(plan, long.shape[-1], real=not long.is_complex())
        again = torch.stack([operator(mean[:, row] - air) + air for row in range(long.shape[1])], 1)
        kept = slice(plan.first, plan.first + plan.fine)
        return Refined(
            mean[kept].clone(),
            None if spread is None else spread[kept].clone(),
            again[plan.margin : plan.margin + plan.count],
        )

    def _reformatted(
        self, long: Tensor, plan: SlicePlan, axis: int, draws: Draws
    ) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
        """Yield numbers of planes across `axis`, their estimates (plane, slice, point) and standard deviations."""
        planes = long.movedim(axis, 0)
        points = planes.shape[-1]
        crop = KSpaceCrop(
            (plan.fine_margined, points), (plan.count_margined, points), real=not long.is_complex()
        )
        offset = 0.0 if long.is_complex() else AIR
        bright = (planes - offset).abs().amax((1, 2)) > 2 * _DARK
        for numbers, method in (
            *((part, self.plane) for part in _parts(bright, draws.at_once)),
            *((part, ZeroFilling()) for part in _parts(~bright, draws.at_once)),
        ):
            y = measurement_of(planes[numbers], crop)
            named = draws.named([(number,) for number in numbers])
            x = method.restore(crop, y, named if method is self.plane else replace(named, on_step=_silent))
            if method is not self.plane:
                draws.on_step(len(numbers) * self.plane.evaluations)
            std = None
            if self.calibration is not None:
                # The scale of the error is that of the finest detail of the slices, without the blur of the profile.
                sharp = (
                    slice_operator(plan, points, real=crop.real).sharpened(planes[numbers] - offset) + offset
                )
                constant = self.calibration.slices * self.calibration.constant(measured_parts(crop))
                weights = self.calibration.weights
                std = constant * torch.stack(
                    [error_scale(crop, y, weights) for y in measurement_of(sharp, crop)]
                )
            yield numbers, x[:, 0], std

    def _project(self, mean: Tensor, long: Tensor, plan: SlicePlan) -> None:
        """Project the estimate `mean` onto the measured slices, in place, row by row."""
        rows, columns = long.shape[1:]
        operator = slice_operator(plan, columns, real=not long.is_complex())
        magnitude = not (long.is_complex() or self.signed)
        air = 0.0 if long.is_complex() else AIR
        level = self.noise_level(long, plan) if magnitude else 0.0
        for row in range(rows):
            x, y = mean[:, row], long[:, row]
            if magnitude:
                mean[:, row] = (x + operator.shrunk_inverse(y - operator(x - air) - air, level)).clamp_min(
                    AIR
                )
            else:
                exact = operator.project_in_double(x - air, y - air) + air
                mean[:, row] = torch.lerp(x, exact, self.strength)

    def noise_level(self, long: Tensor, plan: SlicePlan) -> float:
        """Return the power of the noise of the scan in units of detail, the median of some planes with tissue."""
        assert isinstance(self.plane, CoreMethod)
        planes = long.movedim(1, 0)
        points = planes.shape[-1]
        crop = KSpaceCrop((plan.fine_margined, points), (plan.count_margined, points), real=True)
        signal = (planes - AIR).mean((1, 2))
        bright = (signal >= signal.max() / 2).nonzero().flatten().tolist()
        chosen = bright[:: max(1, len(bright) // _NOISE_PLANES)]
        inputs = [self.plane.input_of(crop, measurement_of(planes[n], crop)) for n in chosen]
        return float(torch.tensor([each.facts.noise for each in inputs]).median()) ** 2


def slice_operator(plan: SlicePlan, points: int, *, real: bool) -> SliceProfile:
    """Return the operator from planes (fine slice, point) to planes (measured slice, point), margins included."""
    return SliceProfile(
        (plan.fine_margined, points),
        plan.count_margined,
        axis=-2,
        profile=plan.profile,
        width=plan.width,
        real=real,
    )


def continued(stack: Tensor, margin: int) -> Tensor:
    """Return `stack` (slice, ...) with `margin` more slices at each end, which lead from its last to its first slice.

    They are mirror images of both ends, blended smoothly, so that the stack is periodic without a step.
    """
    if not margin:
        return stack
    bridge = _bridge(stack, 2 * margin)
    return torch.cat([bridge[margin:], stack, bridge[:margin]])


def _bridge(stack: Tensor, count: int) -> Tensor:
    """Return `count` slices that lead from the last of `stack` to its first."""
    n = len(stack)
    steps = torch.arange(count)
    # Mirrored at its end, repeatedly if the stack is shorter than the bridge.
    there = steps % (2 * n)
    mirrored = torch.where(there < n, n - 1 - there, there - n)
    back = (count - 1 - steps) % (2 * n)
    towards = torch.where(back < n, back, 2 * n - 1 - back)
    part = (steps + 1.0) / (count + 1)
    weight = (part * part * (3 - 2 * part)).reshape(-1, *[1] * (stack.ndim - 1))
    return stack[mirrored] * (1 - weight) + stack[towards] * weight


def _parts(chosen: Tensor, size: int) -> list[list[int]]:
    """Return the numbers of the `chosen` planes in groups of `size`."""
    numbers = chosen.nonzero().flatten().tolist()
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _silent(evaluations: int) -> None:
    pass
