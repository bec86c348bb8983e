"""Method cine-core: every frame of a slice by the core network of cines, consistent with complex k-space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import (
    CoreBased,
    CoreOptions,
    Symmetry,
    mean_over_symmetries,
    scan_input,
    with_precision,
)
from kfine.methods.time_interpolation import Warped, interpolated, linear, warped
from kfine.networks.core import CineCoreNet, Facts, of_slice


class CineInput(NamedTuple):
    """Input of the networks for the restored frames of a slice.

    Attributes:
        moved: the zero-filled frames around each restored frame, moved to its time; air is at 0.
        unit: unit of detail of the slice.
        facts: facts of the slice.
        phase: (restored frame, row, column), exp(i phi) of a complex scan; None for a real one.
    """

    moved: Warped
    unit: float
    facts: Facts
    phase: Tensor | None

    @property
    def image(self) -> Tensor:
        """The zero-filled frames (restored frame, row, column) in model units."""
        return self.moved.blend + AIR


def cine_input(scan: Scan, y: Tensor, options: CoreOptions, *, signed: bool) -> CineInput:
    """Return the input of the networks for one slice with the measurement `y` (measured frame, *low).

    options, signed: see `kfine.methods.core.scan_input`.
    """
    timing = scan.timing
    inputs = [scan_input(scan.crop, plane, options, signed=signed) for plane in y]
    frames = torch.stack([each.image for each in inputs])
    moved = warped(frames - AIR, timing.times, timing.at, period=timing.period)
    phases = [each.phase for each in inputs if each.phase is not None]
    phase = None
    if phases:
        turned = interpolated(
            torch.stack(phases), timing.times, timing.at, period=timing.period, weights=linear
        )
        phase = torch.polar(torch.ones(turned.shape), turned.angle())
    return CineInput(moved, *of_slice([(each.unit, each.facts) for each in inputs]), phase)


def consistent_frames(
    scan: Scan, y: Tensor, phase: Tensor | None, x: Tensor, *, signed: bool, strength: float
) -> Tensor:
    """Return the estimates `x` (restored frame, row, column) of a slice, consistent with its measurement `y`.

    See `kfine.methods.core.consistent` for the other arguments and the units.
    """
    if scan.crop.real and not signed:
        return x.clamp_min(AIR)
    if phase is not None:
        x = (x - AIR) * phase
    return torch.lerp(x, scan.operator.project_in_double(x, scan.kept(y)), strength) if strength else x


class CineCoreMethod(CoreBased[CineCoreNet]):
    """Restore slices of cines with the core network of cines.

    Args:
        network: in evaluation mode, on `device`.
        options: settings; slice profiles are not used.
        signed: whether real images have values of both signs; otherwise they are magnitudes, and the result has no
            values below air.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-core"
    samples = 1

    def evaluations(self, scan: Scan) -> int:
        """Return the evaluations of a slice, of all its frames together: one for each symmetry."""
        return self.settings.symmetries

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        return torch.stack([self._slice(scan, measured, draws) for measured in y])[:, None]

    def _slice(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the frames (frame, *high) of one slice from its measurement (measured frame, *low)."""
        known = cine_input(scan, y, self.settings, signed=self.signed)
        x = self._estimate(known, cyclic=scan.timing.period is not None, draws=draws)
        strength = 0.0 if self.settings.denoise else self.settings.strength
        return consistent_frames(scan, y, known.phase, x, signed=self.signed, strength=strength)

    def _estimate(self, known: CineInput, *, cyclic: bool, draws: Draws) -> Tensor:
        """Return the estimate of the network (frame, row, column), the mean over the symmetries."""
        difference = known.moved.after - known.moved.before
        part = known.moved.part.float()[None].to(self.device)
        run = with_precision(
            lambda *inputs: self.network(*inputs, cyclic=cyclic), self.device, self.precision
        )
        unit = torch.tensor([known.unit]).to(self.device)

        def estimate(symmetry: Symmetry) -> Tensor:
            images = (symmetry.image(x)[None].to(self.device) for x in (known.image, difference))
            changed = symmetry.facts(known.facts).tensor()[None].to(self.device)
            output = run(*images, part, unit, changed)[0].cpu()
            draws.on_step(1)
            return output

        return mean_over_symmetries(estimate, self.settings.symmetries)
