"""Method cine-photographic: cines with blur, noise and JPEG, cleaned at their own matrix, then enlarged."""

from __future__ import annotations

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.intensity import AIR
from kfine.methods.base import Draws
from kfine.methods.core import (
    MOST_NOISE,
    CoreBased,
    CoreOptions,
    Symmetry,
    core_mean,
    mean_over_symmetries,
    scan_input,
    with_precision,
)
from kfine.methods.time_interpolation import flow_interpolated
from kfine.networks.core import (
    Facts,
    PhotographicNet,
    detail_unit,
    histogram_shape,
    noise_level,
    of_slice,
    spectrum_shape,
)
from kfine.operators.kspace import image_of, measurement_of


class PhotographicMethod(CoreBased[PhotographicNet]):
    """Restore slices of real images that were degraded like photographs: blur, noise and JPEG of unknown strength.

    Most of the error of such images lies within their matrix.  So one network removes it there, from all measured
    frames of a slice.  The core network then enlarges each cleaned frame as a scan without noise, and frames at other
    times are interpolated along the optical flow.

    Args:
        network: both networks, in evaluation mode, on `device`.
        options: settings; strength and slice profiles are not used.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-photographic"
    samples = 1

    def __init__(
        self,
        network: PhotographicNet,
        options: CoreOptions,
        *,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(network, options, signed=False, device=device, precision=precision)

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
        low = torch.stack([image_of(plane, scan.crop) for plane in y])
        clean = self._cleaned(low, draws, cyclic=timing.period is not None)
        x = self._enlarged(scan, clean, draws)
        if timing.changed:
            x = flow_interpolated(x - AIR, timing.times, timing.at, period=timing.period) + AIR
        return x.clamp_min(AIR)

    def _cleaned(self, low: Tensor, draws: Draws, *, cyclic: bool) -> Tensor:
        """Return the frames `low` (frame, row, column), model units, without noise and JPEG, at the same matrix."""
        unit, facts = description(low, noise=self.settings.noise)
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


def description(low: Tensor, *, noise: float | None) -> tuple[float, Facts]:
    """Return unit of detail and facts of a slice that is cleaned at its own matrix.

    Args:
        low: its frames (frame, row, column), model units.
        noise: standard deviation of the noise in a voxel, model units; None: estimated frame by frame.
    """
    each = []
    for frame in low:
        facts = Facts((1.0, 1.0))
        unit = detail_unit(frame, facts.measured)
        level = noise_level(frame) if noise is None else noise
        facts = facts._replace(
            noise=min(level / unit, MOST_NOISE),
            denoise=1.0,
            spectrum=spectrum_shape(frame),
            histogram=histogram_shape(frame),
        )
        each.append((unit, facts))
    return of_slice(each)
