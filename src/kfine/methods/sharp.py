"""Method sharp: samples of one evaluation around the core network's estimate, consistent as that is."""

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
    """Restore planes with samples of a trained `SharpNet`.

    Args:
        network: in evaluation mode, on `device`.
        options: how the mean image is made, and whether noise is removed.
        samples: samples a plane.
        signed: whether real images have values of both signs, see `kfine.methods.core.CoreMethod`.
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "sharp"
    evaluations = 1

    def __init__(
        self,
        network: SharpNet,
        options: CoreOptions,
        *,
        samples: int,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.samples, self.signed = network, options, samples, signed
        self.device, self.precision = device, precision

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return {
            "samples": self.samples,
            "symmetries": self.settings.symmetries,
            "strength": self.settings.strength,
            "denoise": self.settings.denoise,
            **({} if self.settings.noise is None else {"noise": self.settings.noise / 2}),
        }

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return samples for each measurement, see `PlaneMethod.restore`."""
        shown = [scan_shown(operator, plane, self.settings, signed=self.signed) for plane in y]
        condition = conditions(
            self.network.core,
            shown,
            at_once=draws.at_once,
            symmetries=self.settings.symmetries,
            device=self.device,
            precision=self.precision,
        )
        run = lowered(self.network, self.device, self.precision)
        strength = 0.0 if self.settings.denoise else self.settings.strength
        rows = list(enumerate(draws.seeds(self.samples)))
        drawn = []
        for first in range(0, len(rows), draws.at_once):
            numbers, names = zip(*rows[first : first + draws.at_once], strict=True)
            index = [number // self.samples for number in numbers]
            given = condition.of(index, self.device)
            noise = SeededNoise(names, pairs=True)(given.mean[:, None].expand(-1, NOISES, -1, -1))
            planes = run(given.image, given.unit, given.facts, given.mean, noise).cpu()
            draws.on_step(len(names))
            drawn += [
                consistent(operator, y[i], shown[i].phase, x, signed=self.signed, strength=strength)
                for i, x in zip(index, planes, strict=True)
            ]
        return torch.stack(drawn).reshape(len(y), -1, *operator.high)
