"""Method cine-regression: the mean image by least squares, projected onto the measured k-space; no samples.

The first half of method cine-ldm.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.methods.base import Draws
from kfine.methods.ldm_prediction import Projection, predict
from kfine.networks.ldm import CineLDM


class CineRegression:
    """Restore slices with the regressor of a `CineLDM`.

    Args:
        network: in evaluation mode, on `device`.
        strength: see `Projection`.
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-regression"
    samples = 1

    def __init__(
        self,
        network: CineLDM,
        *,
        strength: float,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.device, self.precision = network, device, precision
        self.strength = strength

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return {"strength": self.strength}

    def evaluations(self, scan: Scan) -> int:
        """Return one."""
        return 1

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        slices = []
        for measured in y:
            projection = Projection(scan, measured, self.strength)
            predicted = predict(self.network, projection, device=self.device, precision=self.precision)
            slices.append(projection.of_magnitudes(predicted.raw))
            draws.on_step(1)
        return torch.stack(slices)[:, None]
