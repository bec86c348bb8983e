"""Regressions: one network evaluation a plane or slice, projected onto the measured k-space; no samples.

"cine-regression" and, for stills, "srresnet", "small-unet" and
"regression" estimate the mean image by least squares: the first half of the latent diffusion methods.  "srgan" is the
same network trained against a discriminator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.methods.base import Draws
from kfine.methods.ldm_prediction import Projection, predict
from kfine.networks.ldm import ResidualLDM


class LDMRegression:
    """Restore slices with the regressor of a `ResidualLDM`.

    Args:
        name: of the method, as in `kfine.methods.base.Method`.
        network: in evaluation mode, on `device`.
        strength: see `Projection`.
        turned: see `predict`.
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    samples = 1

    def __init__(
        self,
        name: str,
        network: ResidualLDM,
        *,
        strength: float,
        turned: bool = False,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.network, self.device, self.precision = name, network, device, precision
        self.strength, self.turned = strength, turned

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        return {"strength": self.strength, "turned": self.turned}

    def evaluations(self, scan: Scan) -> int:
        """Return one."""
        return 1

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the estimate for each slice, see `Method.restore`."""
        slices = []
        for measured in y:
            projection = Projection(scan, measured, self.strength)
            predicted = predict(
                self.network, projection, turned=self.turned, device=self.device, precision=self.precision
            )
            slices.append(projection.of_magnitudes(predicted.raw))
            draws.on_step(1)
        return torch.stack(slices)[:, None]
