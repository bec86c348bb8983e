"""Method cine-photographic: cines with blur, noise and JPEG, cleaned at their own matrix, then enlarged."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import (
    CoreBased,
    CoreOptions,
    Symmetry,
    core_mean,
    mean_over_symmetries,
    scan_input,
    with_precision,
)
from kfine.methods.sharp import SharpMethod
from kfine.methods.time_interpolation import flow_interpolated
from kfine.networks.core import PhotographicNet, SharpNet, of_slice
from kfine.operators.kspace import KSpaceCrop, image_of, measurement_of


class PhotographicMethod(CoreBased[PhotographicNet]):
    """Restore slices of real images that were degraded like photographs: blur, noise and JPEG of unknown strength.

    Most of the error of such images lies within their matrix.  So one network removes it there, from all measured
    frames of a slice.  The core network then enlarges each cleaned frame as a scan without noise, and frames at other
    times are interpolated along the optical flow.

    Args:
        network: both networks, in evaluation mode, on `device`.
        options: settings; strength and slice profiles are not used.
        signed: False.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-photographic"
    samples = 1

    def evaluations(self, scan: Scan) -> int:
        """Return the evaluations of a slice: for each symmetry one of all measured frames, and one for each of them."""
        return self.settings.symmetries * (1 + len(scan.timing.times))

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        return torch.stack([self._slice(scan, measured, draws) for measured in y])[:, None]

    def _slice(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the frames (restored frame, *high) of one slice from its measurement (measured frame, *low)."""
        timing = scan.timing
        x = self._enlarged(scan, self.cleaned(scan, y, draws), draws)
        if timing.changed:
            x = flow_interpolated(x - AIR, timing.times, timing.at, period=timing.period) + AIR
        return x.clamp_min(AIR)

    @torch.inference_mode()
    def cleaned(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the measured frames `y` (frame, *low) of a slice without blur, noise and JPEG, as images."""
        crop = KSpaceCrop(scan.crop.low, scan.crop.low, real=True)
        inputs = [
            scan_input(crop, measurement_of(image_of(plane, scan.crop), crop), self.settings, signed=False)
            for plane in y
        ]
        low = torch.stack([each.image for each in inputs])
        unit, facts = of_slice([(each.unit, each.facts) for each in inputs])
        cyclic = scan.timing.period is not None
        still = torch.zeros(1, len(low))
        run = with_precision(
            lambda *inputs: self.network(*inputs, cyclic=cyclic), self.device, self.precision
        )

        def estimate(symmetry: Symmetry) -> Tensor:
            image = symmetry.image(low)[None]
            changed = symmetry.facts(facts).tensor()[None]
            inputs = (image, torch.zeros_like(image), still, torch.tensor([unit]), changed)
            output = run(*(part.to(self.device) for part in inputs))[0].cpu()
            draws.on_step(1)
            return output

        return mean_over_symmetries(estimate, self.settings.symmetries).clamp_min(AIR)

    def _enlarged(self, scan: Scan, clean: Tensor, draws: Draws) -> Tensor:
        """Return the frames `clean` (frame, *low) at the matrix `scan.crop.high`, by the core network."""
        settings = CoreOptions(symmetries=self.settings.symmetries, noise=0.0)
        planes = []
        for part in clean.split(draws.at_once):
            inputs = [
                scan_input(scan.crop, measurement_of(frame, scan.crop), settings, signed=False)
                for frame in part
            ]
            planes.append(
                core_mean(
                    self.network.core,
                    inputs,
                    symmetries=settings.symmetries,
                    side=draws.side,
                    device=self.device,
                    precision=self.precision,
                )
            )
            draws.on_step(settings.symmetries * len(part))
        return torch.cat(planes)


class PhotographicSharpMethod(SharpMethod):
    """Sharp images around the mean images of method cine-photographic: the scan of `SharpMethod` is the cleaned frames.

    Args:
        mean: cleans the frames.
        network, options, amount, device, precision: see `SharpMethod`.
    """

    frames_together = True

    def __init__(
        self,
        mean: PhotographicMethod,
        network: SharpNet,
        options: CoreOptions,
        *,
        amount: float,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(network, options, signed=False, amount=amount, device=device, precision=precision)
        self.mean = mean

    @torch.inference_mode()
    def around_frames(self, scan: Scan, y: Tensor, mean: Tensor, draws: Draws) -> Tensor:
        """Return the sharp images of a slice, see `SharpMethod.around_frames`."""
        silent = replace(draws, on_step=lambda count: None)
        clean = [measurement_of(frame, scan.crop) for frame in self.mean.cleaned(scan, y, silent)]
        return super().around_frames(replace(scan, signed=False), torch.stack(clean), mean, draws)
