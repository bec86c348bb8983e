"""Method cine-core: every frame of a slice by the core network of cines, consistent with complex k-space."""

from __future__ import annotations

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import (
    CoreBased,
    ScanInput,
    Symmetry,
    mean_over_symmetries,
    scan_input,
    with_precision,
)
from kfine.methods.time_interpolation import Warped, interpolated, linear, warped
from kfine.networks.core import CineCoreNet, of_slice


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
        timing = scan.timing
        inputs = [scan_input(scan.crop, plane, self.settings, signed=self.signed) for plane in y]
        frames = torch.stack([each.image for each in inputs])
        moved = warped(frames - AIR, timing.times, timing.at, period=timing.period)
        x = self._estimate(inputs, moved, cyclic=timing.period is not None, draws=draws)
        if scan.crop.real and not self.signed:
            return x.clamp_min(AIR)
        if inputs[0].phase is not None:
            phases = torch.stack([each.phase for each in inputs if each.phase is not None])
            turned = interpolated(phases, timing.times, timing.at, period=timing.period, weights=linear)
            x = torch.polar((x - AIR), turned.angle())
        if self.settings.denoise or not self.settings.strength:
            return x
        projected = scan.operator.project_in_double(x, scan.kept(y))
        return torch.lerp(x, projected, self.settings.strength)

    def _estimate(self, inputs: list[ScanInput], moved: Warped, *, cyclic: bool, draws: Draws) -> Tensor:
        """Return the estimate of the network (frame, row, column), the mean over the symmetries."""
        unit, facts = of_slice([(each.unit, each.facts) for each in inputs])
        blend, difference = moved.blend + AIR, moved.after - moved.before
        part = moved.part.float()[None].to(self.device)
        run = with_precision(
            lambda *inputs: self.network(*inputs, cyclic=cyclic), self.device, self.precision
        )
        units = torch.tensor([unit]).to(self.device)

        def estimate(symmetry: Symmetry) -> Tensor:
            images = (symmetry.image(x)[None].to(self.device) for x in (blend, difference))
            changed = symmetry.facts(facts).tensor()[None].to(self.device)
            output = run(*images, part, units, changed)[0].cpu()
            draws.on_step(1)
            return output

        return mean_over_symmetries(estimate, self.settings.symmetries)
