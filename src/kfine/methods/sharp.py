"""Method sharp: one sharp image of a plane around the core network's estimate, consistent as that is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfine.diffusion.noise import SeededNoise
from kfine.methods.base import Draws
from kfine.methods.core import CoreOptions, conditions, consistent, lowered, scan_shown
from kfine.networks.sharp import NOISES, SharpNet
from kfine.operators.kspace import KSpaceCrop


class SharpMethod:
    """Restore planes with a trained `SharpNet`.

    Args:
        network: in evaluation mode, on `device`.
        options: how the mean image is made, and whether noise is removed.
        signed: whether real images have values of both signs, see `kfine.methods.core.CoreMethod`.
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "sharp"
    samples = evaluations = 1

    def __init__(
        self,
        network: SharpNet,
        options: CoreOptions,
        *,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.signed = network, options, signed
        self.device, self.precision = device, precision

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return self.settings.recorded

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the sharp image for each measurement, see `PlaneMethod.restore`."""
        shown = [scan_shown(operator, plane, self.settings, signed=self.signed) for plane in y]
        condition = conditions(
            self.network.core,
            shown,
            draws,
            symmetries=self.settings.symmetries,
            device=self.device,
            precision=self.precision,
        )
        run = lowered(self.network, self.device, self.precision)
        strength = 0.0 if self.settings.denoise else self.settings.strength
        names, drawn = draws.seeds(1), []
        for first in range(0, len(y), draws.at_once):
            index = range(first, min(first + draws.at_once, len(y)))
            part = condition.of(index, self.device)
            noise = SeededNoise([names[i] for i in index])(part.mean[:, None].expand(-1, NOISES, -1, -1))
            planes = run(part.image, part.unit, part.facts, part.mean, noise).cpu()
            draws.on_step(len(index))
            drawn += [
                consistent(operator, y[i], shown[i].phase, x, signed=self.signed, strength=strength)
                for i, x in zip(index, planes, strict=True)
            ]
        return torch.stack(drawn).reshape(len(y), -1, *operator.high)
