"""Regressions: one network evaluation a plane or slice, projected onto the measured k-space; no samples.

"regression" of a VDM is the first half of method vdm.  "cine-regression" and, for stills, "srresnet", "small-unet" and
"regression" estimate the mean image by least squares: the first half of the latent diffusion methods.  "srgan" is the
same network trained against a discriminator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.methods.base import Draws
from kfine.methods.ldm_prediction import Projection
from kfine.methods.ldm_prediction import predict as predict_slice
from kfine.methods.vdm import lowered, predict, real_scan
from kfine.networks.ldm import ResidualLDM
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
            predicted = predict_slice(
                self.network, projection, turned=self.turned, device=self.device, precision=self.precision
            )
            slices.append(projection.of_magnitudes(predicted.raw))
            draws.on_step(1)
        return torch.stack(slices)[:, None]
