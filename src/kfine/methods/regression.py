"""Method regression: the model's least-squares estimate alone, held to the measured k-space.

The first half of method vdm: a few network evaluations a plane instead of many, no samples and no uncertainty.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfine.methods.base import Draws
from kfine.methods.prediction import predict
from kfine.methods.vdm import lowered, real_scan
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop


class Regression:
    """Restore planes with the predictor of a VDM.

    Args:
        network: in evaluation mode, on `device`, with a predictor.
        strength: 1 to replace the estimate's measured frequencies by the measurement, 0 to leave it alone;
            between them, the weight of the measurement.
        turned: whether the estimate is averaged over quarter turns (`predict`).
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "regression"
    samples = evaluations = 1

    def __init__(
        self,
        network: VDM,
        *,
        strength: float,
        turned: bool = False,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.device, self.precision = network, device, precision
        self.strength, self.turned = strength, turned

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return {"strength": self.strength, "turned": self.turned}

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each measurement, see `PlaneMethod.restore`."""
        planes = []
        for part in y.to(self.device).split(draws.at_once):
            zero_filled = operator.pseudo_inverse(part)
            x = predict(
                self.network,
                real_scan(zero_filled)[:, None],
                turned=self.turned,
                at_once=draws.at_once,
                run=lambda network: lowered(network, self.device, self.precision),
            )[:, 0]
            if not operator.real:
                x = (x + 1) * torch.polar(torch.ones_like(x), zero_filled.angle())
            held = operator.project_in_double(x, part)
            planes.append(torch.lerp(x, held, self.strength).cpu())
            draws.on_step(len(part))
        return torch.cat(planes)[:, None]
