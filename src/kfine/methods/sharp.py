"""Method sharp: one sharp image of a plane around the estimate of the core network, as consistent as that."""

from __future__ import annotations

import torch
from torch import Tensor

from kfine.diffusion.samplers import SeededNoise
from kfine.methods.base import Draws
from kfine.methods.core import CoreBased, conditions, consistent, scan_input, with_precision
from kfine.networks.core import NOISES, SharpNet
from kfine.operators.kspace import KSpaceCrop


class SharpMethod(CoreBased[SharpNet]):
    """Restore planes with a trained `SharpNet`.

    Args:
        network: in evaluation mode, on `device`.
        options: settings of the mean image, and whether noise is removed.
        signed: whether real images have values of both signs, see `kfine.methods.core.CoreMethod`.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "sharp"
    samples = evaluations = 1

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the sharp image for each measurement, see `PlaneMethod.restore`."""
        inputs = [scan_input(operator, plane, self.settings, signed=self.signed) for plane in y]
        condition = conditions(
            self.network.core,
            inputs,
            draws,
            symmetries=self.settings.symmetries,
            device=self.device,
            precision=self.precision,
        )
        run = with_precision(self.network, self.device, self.precision)
        strength = 0.0 if self.settings.denoise else self.settings.strength
        drawn = []
        for index, names in draws.batches(1):
            part = condition.of(index, self.device)
            noise = SeededNoise(names)(part.mean[:, None].expand(-1, NOISES, -1, -1))
            planes = run(part.image, part.unit, part.facts, part.mean, noise).cpu()
            draws.on_step(len(index))
            drawn += [
                consistent(operator, y[i], inputs[i].phase, x, signed=self.signed, strength=strength)
                for i, x in zip(index, planes, strict=True)
            ]
        return torch.stack(drawn).reshape(len(y), -1, *operator.high)
