"""Method vdm: samples of a learned prior of high-resolution images, consistent with the measured k-space.

Jiang, Gao and Sun, ISMRM 2023, 0163.  One unconditional model serves every low resolution.

Late start: the noise of the start must cover the difference between the zero-filled image and the true one.  Less noise
leaves blur, more noise discards known signal (Chung et al., Come-Closer-Diffuse-Faster, CVPR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kfine.diffusion.guidance import consistent, measured_state, noise_aware
from kfine.diffusion.samplers import SAMPLERS, Denoiser, SeededNoise, learned, uniform_in_gamma
from kfine.methods.base import Draws
from kfine.methods.core import CoreOptions, ScanInput, conditions, scan_input, with_precision
from kfine.networks.core import Condition
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop

SMALLEST, LARGEST = 0.02, 1.0


def start_sigma(power: Tensor, high: tuple[int, int], factor: float) -> float:
    """Return `factor` times the root mean square of the unmeasured signal, between `SMALLEST` and `LARGEST`.

    The signal is extrapolated: MR spectra fall as a power of the spatial frequency, so a straight line is fitted to log
    power against log frequency over the outer part of the measured block, and summed over the rest of the fine grid.

    Args:
        power: mean of |y|^2 over the planes, (rows, columns) of the measured block, in squared model units.
        high: (rows, columns) of the fine grid.
        factor: dimensionless.
    """
    low, power = power.shape, power.double()
    frequency = _radius((low[0], low[1]))
    outer = (frequency > 0.3 * frequency.max()) & (power > 0)
    if int(outer.sum()) < 8:
        return LARGEST
    slope, level = _line(frequency[outer].log(), power[outer].log())
    everywhere = _radius(high)
    (row, rows), (column, columns) = ((big // 2 - n // 2, n) for big, n in zip(high, low, strict=True))
    block = everywhere[row : row + rows, column : column + columns]
    block[power > 0] = torch.inf  # samples of 0 were not measured
    # exp of a mean of logarithms is below the mean: by exp(-0.5772) for the exponential |k|^2 of one plane, less for
    # many.
    missing = torch.exp(level + slope.clamp_max(-1) * everywhere.log()).sum()
    return min(max(factor * float((missing / everywhere.numel()).sqrt()), SMALLEST), LARGEST)


def _radius(matrix: tuple[int, int]) -> Tensor:
    rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 for n in matrix)
    return torch.hypot(rows[:, None], columns[None, :]).clamp_min(0.5)


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    centred = x - x.mean()
    slope = (centred * y).sum() / centred.square().sum().clamp_min(1e-12)
    return slope, y.mean() - slope * x.mean()


@dataclass(frozen=True)
class Guidance:
    """Sampler, and guidance by the measurement.

    Attributes:
        sampler: a name of `kfine.diffusion.samplers.SAMPLERS`.
        strength: lambda of the abstract, from 0 (the measurement affects only the start) to 1 (exact agreement).
        noise: standard deviation of the noise of the measurement in model units; 0 for exact agreement.
        prior_std: standard deviation of a pixel of the prior in model units, for `noise` > 0.
        state: whether the measurement replaces the state (the rule of the abstract) also at strength 1.
    """

    sampler: str = "dpm-solver-2m"
    strength: float = 1.0
    noise: float = 0.0
    prior_std: float = 0.5
    state: bool = False


def sample_planes(
    denoiser: Denoiser,
    operator: KSpaceCrop,
    y: Tensor,
    *,
    origin: Tensor,
    sigmas: Tensor,
    guidance: Guidance,
    seeds: Sequence[Sequence[int]],
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Draw one sample of x given y for each plane of the batch.

    Args:
        denoiser: (x_sigma, sigma) -> x for x (batch, *operator.high) in model units.
        operator: A.
        y: measurements (batch, *operator.low), complex, in model units.
        origin: (batch, *operator.high), the image to which the first noise is added: an estimate of x, or zeros to
            start from pure noise.
        sigmas: the schedule, (step,) or (step, batch, 1, 1), from the noise level of the start.
        guidance: sampler, strength and noise.
        seeds: integers that seed the noise of each plane, one sequence a plane; the last one is the number of the
            sample (see `SeededNoise`, with pairs).
        on_step: called after every evaluation of the denoiser.

    Returns:
        (batch, *operator.high), real if the domain of the operator is.  At strength 1 without noise each sample
        reproduces its y to floating-point accuracy.
    """
    noise = SeededNoise(seeds, pairs=True)

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoiser(x, sigma)
        on_step()
        return denoised

    exact = guidance.strength == 1 and guidance.noise == 0
    guided: Denoiser = counted
    if exact:
        guided = consistent(counted, operator, y)
    elif guidance.strength == 1:
        guided = noise_aware(counted, operator, y, noise_std=guidance.noise, prior_std=guidance.prior_std)
    correct = None
    if guidance.strength > 0 and (guidance.state or guidance.strength < 1):
        correct = measured_state(operator, y, weight=guidance.strength, noise=noise)
    start = origin + sigmas[0] * noise(origin)
    x = SAMPLERS[guidance.sampler](guided, start, sigmas, noise=noise, correct=correct)
    return operator.project_in_double(x, y) if exact else x


@dataclass(frozen=True)
class VDMOptions:
    """Settings of `VDMMethod`.

    Attributes:
        steps: network evaluations a sample.
        samples: samples a plane.
        guidance: sampler, strength and noise.
        conditioned: whether the network is conditioned on the scan; otherwise the measurement acts through the guidance
            alone, as in the abstract.
        symmetries: number of evaluations of the core network for the mean image, see `CoreOptions`.
        start: noise level at which sampling starts.  If conditioned, sampling starts from the mean image, and the unit
            is the standard deviation of its error (`VDM.spread`); otherwise from the zero-filled image, in model units.
            None starts from pure noise, along the learned schedule.
        last: noise level of the last evaluation, in the unit of `start`; the learned schedule has its own.
    """

    steps: int = 6
    samples: int = 8
    guidance: Guidance = field(default_factory=Guidance)
    conditioned: bool = False
    symmetries: int = 1
    start: float | None = 0.3
    last: float = 0.03


class VDMMethod:
    """Restore planes with a trained VDM.

    If conditioned, samples are projected onto complex and signed scans at every step, but not onto magnitudes, which
    are no linear measurement (decision 19).

    Args:
        network: in evaluation mode, on `device`.
        settings: settings of sampling.
        signed: whether real images have values of both signs; otherwise they are magnitudes, and the result has no
            values below air.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "vdm"

    def __init__(
        self,
        network: VDM,
        settings: VDMOptions,
        *,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.device, self.precision = network, settings, device, precision
        self.signed = signed
        self.samples, self.evaluations = settings.samples, settings.steps

    @property
    def options(self) -> dict[str, Any]:
        """Settings of sampling, JSON-ready."""
        return asdict(self.settings)

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return samples for each measurement, see `PlaneMethod.restore`."""
        inputs, condition = [], None
        if self.settings.conditioned:
            inputs = [self._scan_input(operator, plane) for plane in y]
            condition = conditions(
                self.network.core,
                inputs,
                draws,
                symmetries=self.settings.symmetries,
                device=self.device,
                precision=self.precision,
            )
        drawn = []
        for index, names in draws.batches(self.samples):
            part = y[index].to(self.device)
            if condition is not None:
                phases = [phase for i in index if (phase := inputs[i].phase) is not None]
                own = condition.of(index, self.device)
                sample = self._conditional(operator, part, own, phases, names, draws)
            else:
                sample = self._unconditional(operator, part, names, draws)
            drawn.append(sample.cpu())
        return torch.cat(drawn).reshape(len(y), -1, *operator.high)

    def _scan_input(self, operator: KSpaceCrop, y: Tensor) -> ScanInput:
        # The noise of the guidance is that of the fine voxels; the voxels of the scan are larger.
        share = math.sqrt(math.prod(operator.low) / math.prod(operator.high))
        options = CoreOptions(noise=self.settings.guidance.noise * share or None)
        return scan_input(operator, y, options, signed=self.signed)

    def _conditional(
        self,
        operator: KSpaceCrop,
        y: Tensor,
        condition: Condition,
        phases: Sequence[Tensor],
        names: Sequence[Sequence[int]],
        draws: Draws,
    ) -> Tensor:
        denoiser = with_precision(denoiser_of(self.network, condition), self.device, self.precision)
        origin, guidance = condition.mean, self.settings.guidance
        magnitudes = operator.real and not self.signed
        if magnitudes:
            guidance = replace(guidance, strength=0.0)
        if phases:
            phase = torch.stack(list(phases)).to(self.device)
            denoiser, origin = with_phase(denoiser, phase), (origin + 1) * phase
        if self.settings.start is None:
            sigmas, origin = self._sigmas(), torch.zeros_like(origin)
        else:
            sigmas = self._sigmas() * self.network.spread(condition)[:, 0]
        drawn = sample_planes(
            denoiser,
            operator,
            y,
            origin=origin,
            sigmas=sigmas,
            guidance=guidance,
            seeds=names,
            on_step=partial(draws.on_step, len(names)),
        )
        return drawn.clamp_min(-1) if magnitudes else drawn

    def _unconditional(
        self, operator: KSpaceCrop, y: Tensor, names: Sequence[Sequence[int]], draws: Draws
    ) -> Tensor:
        zero_filled = operator.pseudo_inverse(y)
        denoiser = with_precision(denoiser_of(self.network), self.device, self.precision)
        if not operator.real:
            phase = torch.polar(torch.ones_like(zero_filled.abs()), zero_filled.angle())
            denoiser = with_phase(denoiser, phase)
        return sample_planes(
            denoiser,
            operator,
            y,
            origin=torch.zeros_like(zero_filled) if self.settings.start is None else zero_filled,
            sigmas=self._sigmas(),
            guidance=self.settings.guidance,
            seeds=names,
            on_step=partial(draws.on_step, len(names)),
        )

    def _sigmas(self) -> Tensor:
        """Return the schedule (step, 1, 1, 1)."""
        settings = self.settings
        if settings.start is None:
            gamma = self.network.gamma
            sigmas = learned(lambda t: gamma(t.to(self.device)), settings.steps).to(self.device)
        else:
            first = max(settings.start, settings.last)
            sigmas = uniform_in_gamma(first, settings.last, settings.steps).to(self.device, torch.float32)
        return sigmas[:, None, None, None]


def denoiser_of(network: VDM, condition: Condition | None = None) -> Denoiser:
    """Return (x_sigma, sigma) -> estimate of x, for real x_sigma (batch, row, column) in model units.

    z = alpha x_sigma with alpha = (1 + sigma^2)^(-1/2), and x = x_sigma - sigma n_hat(z).  `sigma` is a scalar, or
    (batch, 1, 1).  `condition` is that of the scan by `network.condition`; None for the unconditional prior.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = sigma.to(device=x.device, dtype=x.dtype)
        z = (x / (1 + sigma**2).sqrt())[:, None]
        gamma = (2 * torch.log(sigma)).reshape(-1).expand(len(x))
        return x - sigma * network(z, gamma, condition)[:, 0]

    return denoise


def with_phase(denoiser: Denoiser, phase: Tensor) -> Denoiser:
    """Return a denoiser of complex images with the phase factor `phase` (batch, row, column), complex.

    The phase of an MR image is smooth, so that of the low-resolution image is close.  An image without its phase is
    real up to noise, and the prior is one of real images; the imaginary part counts as noise.  Complex images have no
    offset that puts air at -1, so it is added for the prior and subtracted again.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        real = (x * phase.conj()).real
        return (denoiser(real - 1, sigma) + 1) * phase

    return denoise
