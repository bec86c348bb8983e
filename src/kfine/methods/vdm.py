"""Method vdm: samples of a learned prior of high-resolution images, consistent with the measured k-space.

Jiang, Gao and Sun, ISMRM 2023, 0163.  One unconditional model serves every low resolution.

Late start: the noise of the start must cover the difference between the zero-filled image and the true one, and no
more: less keeps blur, more discards what is known (Chung et al., Come-Closer-Diffuse-Faster, CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kfine.diffusion.guidance import consistent, measured_state, noise_aware
from kfine.diffusion.noise import SeededNoise
from kfine.diffusion.samplers import SAMPLERS, Denoiser, learned, uniform_in_gamma
from kfine.methods.base import Draws
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop

SMALLEST, LARGEST = 0.02, 1.0


def start_sigma(power: Tensor, high: tuple[int, int], factor: float) -> float:
    """Return `factor` times the root mean square of the unmeasured signal, between `SMALLEST` and `LARGEST`.

    That signal is extrapolated: MR spectra fall as a power of the spatial frequency, so log power against log
    frequency is fitted by a straight line over the outer part of the measured block and summed over the rest of
    the fine grid.

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
    block[power > 0] = torch.inf  # where nothing is, nothing was measured
    # exp of a mean of logarithms is below the mean: by exp(-0.5772) for one plane's exponential |k|^2, less for many.
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
    """How samples are drawn and held to the measurement.

    Attributes:
        sampler: a name of `kfine.diffusion.samplers.SAMPLERS`.
        strength: lambda of the abstract, 0 (the measurement only chooses the start) to 1 (never contradicted).
        noise: standard deviation of the measurement's noise in model units; 0 for exact agreement.
        prior_std: standard deviation of a pixel of the prior in model units, for `noise` > 0.
        state: whether the measurement replaces the state (the abstract's rule) also at strength 1.
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
    sigmas: Tensor,
    guidance: Guidance,
    seeds: Sequence[Sequence[int]],
    from_noise: bool = False,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Draw one sample of x given y for each plane of the batch.

    Args:
        denoiser: (x_sigma, sigma) -> x for x (batch, *operator.high) in model units.
        operator: A.
        y: measurements (batch, *operator.low), complex, in model units.
        sigmas: the schedule; its first value is where sampling starts.
        guidance: sampler, strength and noise.
        seeds: the integers that name each plane's noise, one sequence a plane; the last one is the sample's number
            (see `SeededNoise`, with pairs).
        from_noise: start from pure noise instead of the zero-filled image plus noise.
        on_step: called after every evaluation of the denoiser.

    Returns:
        (batch, *operator.high), real when the operator's domain is.  At strength 1 without noise each sample
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
    zero_filled = operator.pseudo_inverse(y)
    origin = torch.zeros_like(zero_filled) if from_noise else zero_filled
    start = origin + sigmas[0] * noise(origin)
    x = SAMPLERS[guidance.sampler](guided, start, sigmas, noise=noise, correct=correct)
    return operator.project_in_double(x, y) if exact else x


# Mirroring too would double the time for a seventh of the gain.
TURNS = (0, 1, 2, 3)


def predict(
    network: VDM,
    scan: Tensor,
    *,
    turned: bool,
    at_once: int,
    run: Callable[[Callable[..., Tensor]], Callable[..., Tensor]],
) -> Tensor:
    """Return the condition that diffusion starts from, of the shape of `scan` (plane, 1, row, column), model units.

    A turned scan is as likely as the scan itself, but the network does not answer it exactly alike: the mean of the
    answers, turned back, is nearer to the truth (Timofte, Rothe and Van Gool, Seven Ways to
    Improve Example-Based Single Image Super Resolution, CVPR 2016).

    Args:
        network: in evaluation mode.
        scan: zero-filled images.
        turned: whether to average over the four quarter turns; else one evaluation.
        at_once: greatest number of planes the network sees in one call.
        run: gives the network its precision.
    """
    if network.predictor is None:
        return scan
    estimate = run(network.condition)
    turns = TURNS if turned else TURNS[:1]
    planes = []
    for part in scan.split(at_once):
        answers = [torch.rot90(estimate(torch.rot90(part, n, (-2, -1))), -n, (-2, -1)) for n in turns]
        planes.append(torch.stack(answers).mean(0))
    return torch.cat(planes)


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
