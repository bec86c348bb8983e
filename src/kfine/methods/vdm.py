"""Method vdm: samples of a learned prior of high-resolution images that never contradict the measured k-space.

Jiang, Gao and Sun, ISMRM 2023, 0163.  One unconditional model serves every low resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kfine.diffusion.samplers import Denoiser
from kfine.diffusion.schedules import learned, uniform_in_gamma
from kfine.methods.base import Draws
from kfine.methods.prediction import predict
from kfine.methods.sampling import Guidance, sample_planes
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class VDMOptions:
    """How `VDMMethod` samples.

    Attributes:
        steps: network evaluations a sample.
        samples: samples a plane.
        guidance: sampler, strength and noise.
        conditioned: whether the network sees the scan; if not, the measurement acts through the guidance alone,
            as in the abstract.
        turned: whether the prediction is averaged over quarter turns (`predict`).
        start: noise level (model units) at which sampling starts from the zero-filled image; None starts from
            pure noise, along the learned schedule.
        last: noise level of the last evaluation, in model units, where there is a `start`; the learned schedule has
            its own.
    """

    steps: int = 6
    samples: int = 8
    guidance: Guidance = field(default_factory=Guidance)
    conditioned: bool = False
    turned: bool = False
    start: float | None = 0.3
    last: float = 0.03


class VDMMethod:
    """Restore planes with a trained VDM.

    Args:
        network: in evaluation mode, on `device`.
        options: how to sample.
        device: where the network runs.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "vdm"

    def __init__(
        self,
        network: VDM,
        settings: VDMOptions,
        *,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.device, self.precision = network, settings, device, precision
        self.samples, self.evaluations = settings.samples, settings.steps

    @property
    def options(self) -> dict[str, Any]:
        """The sampling settings, JSON-ready."""
        return asdict(self.settings)

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return samples for each measurement, see `PlaneMethod.restore`."""
        y = y.to(self.device)
        reference = operator.pseudo_inverse(y)
        condition = None
        if self.settings.conditioned:
            condition = predict(
                self.network,
                real_scan(reference)[:, None],
                turned=self.settings.turned,
                at_once=draws.at_once,
                run=self._lowered,
            )
        rows = list(enumerate(draws.seeds(self.samples)))
        drawn = []
        for first in range(0, len(rows), draws.at_once):
            numbers, names = zip(*rows[first : first + draws.at_once], strict=True)
            index = torch.tensor(numbers, device=self.device) // self.samples
            known = None if condition is None else condition[index]
            denoiser = self._lowered(denoiser_of(self.network, known))
            if not operator.real:
                denoiser = with_phase(denoiser, reference[index])
            sample = sample_planes(
                denoiser,
                operator,
                y[index],
                sigmas=self._sigmas(),
                guidance=self.settings.guidance,
                seeds=names,
                from_noise=self.settings.start is None,
                on_step=partial(draws.on_step, len(names)),
            )
            drawn.append(sample.cpu())
        return torch.cat(drawn).reshape(len(y), -1, *operator.high)

    def _lowered(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lowered(network, self.device, self.precision)

    def _sigmas(self) -> Tensor:
        settings = self.settings
        if settings.start is None:
            gamma = self.network.gamma
            return learned(lambda t: gamma(t.to(self.device)), settings.steps).to(self.device)
        first = max(settings.start, settings.last)
        return uniform_in_gamma(first, settings.last, settings.steps).to(self.device, torch.float32)


def lowered(
    network: Callable[..., Tensor], device: torch.device, precision: torch.dtype
) -> Callable[..., Tensor]:
    """Return `network` run by autocast in `precision`, giving float32."""
    if precision == torch.float32:
        return network

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, precision):
            return network(*inputs).float()

    return run


def real_scan(zero_filled: Tensor) -> Tensor:
    """Return the zero-filled image as networks know it: real, air at -1 (complex images come without the offset)."""
    return zero_filled.abs() - 1 if zero_filled.is_complex() else zero_filled


def denoiser_of(network: VDM, condition: Tensor | None = None) -> Denoiser:
    """Return (x_sigma, sigma) -> estimate of x, for real x_sigma (batch, row, column) in model units.

    z = alpha x_sigma with alpha = (1 + sigma^2)^(-1/2), and x = x_sigma - sigma n_hat(z).  `condition`
    (batch, 1, row, column) is what `network.condition` made of the scan; None for the unconditional prior.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.to(device=x.device, dtype=x.dtype)
        z = (x / (1 + sigma**2).sqrt())[:, None]
        gamma = (2 * torch.log(sigma)).expand(len(x))
        return x - sigma * network(z, gamma, condition)[:, 0]

    return denoise


def with_phase(denoiser: Denoiser, reference: Tensor) -> Denoiser:
    """Return a denoiser of complex images that have the phase of `reference` (batch, row, column), complex.

    The phase of an MR image is smooth: the low-resolution image knows it.  What is left after removing it is
    real up to noise, and the prior knows magnitudes; what is imaginary is taken for noise.  Complex images come
    without the offset that puts air at -1, so that it is added for the prior and taken off again.
    """
    phase = torch.polar(torch.ones_like(reference.abs()), reference.angle())

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        real = (x * phase.conj()).real
        return (denoiser(real - 1, sigma) + 1) * phase

    return denoise
