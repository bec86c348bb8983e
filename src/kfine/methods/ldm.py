"""Methods cine-ldm and ldm: samples of latent diffusion models.

After arXiv 2410.23898 (2024): restoration as denoising in the latent space of a VQGAN.  There, sampling starts from the
latent of the low-resolution image, here from that of the mean image, which the latents complete.  Cines are restored by
whole slices, stills by planes, around the mean image of the core network (decision 30).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.diffusion.samplers import SAMPLERS, Denoiser, Noise, SeededNoise, uniform_in_gamma
from kfine.methods.base import Draws
from kfine.methods.core import CoreOptions, conditions, consistent, scan_input, with_precision
from kfine.methods.regression import Projection, predict
from kfine.networks.core import Condition
from kfine.networks.ldm import CineLDM, StillLDM
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class LDMOptions:
    """Settings of sampling.

    Attributes:
        steps: evaluations of the denoiser a sample.
        samples: samples a slice.
        sampler: a name of `kfine.diffusion.samplers.SAMPLERS`.
        strength: weight of the measured k-space in the result: see `Projection` for cines, `CoreOptions` for stills.
        start: noise level, in standard deviations of the latents, at which sampling starts from the latent of the
            prediction; None starts from pure noise at `highest`.
        last: noise level of the last evaluation.
        highest: noise level at which a latent is pure noise.
    """

    steps: int = 15
    samples: int = 8
    sampler: str = "dpm-solver-2m"
    strength: float = 1.0
    start: float | None = 10.0
    last: float = 0.03
    highest: float = 80.0

    def sigmas(self) -> Tensor:
        """Return the schedule."""
        first = self.highest if self.start is None else max(self.start, self.last)
        return uniform_in_gamma(first, self.last, self.steps)


def drawn_latents(
    denoiser: Denoiser, origin: Tensor, first: Tensor, settings: LDMOptions, *, noise: Noise
) -> Tensor:
    """Return sampled latents, of the shape of `origin`, the latents of the prediction.

    first: standard normal noise of the start; `noise` draws the noise of later steps.
    """
    sigmas = settings.sigmas().to(first)
    middle = torch.zeros_like(first) if settings.start is None else origin
    return SAMPLERS[settings.sampler](denoiser, middle + sigmas[0] * first, sigmas, noise=noise)


class CineLDMMethod:
    """Restore slices of cines with a trained `CineLDM`.

    Args:
        network: in evaluation mode, on `device`, with an autoencoder and a denoiser.
        settings: settings of sampling.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "cine-ldm"

    def __init__(
        self,
        network: CineLDM,
        settings: LDMOptions,
        *,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings = network, settings
        self.device, self.precision = device, precision
        self.samples = settings.samples

    @property
    def options(self) -> dict[str, Any]:
        """Settings of sampling, JSON-ready."""
        return asdict(self.settings)

    def evaluations(self, scan: Scan) -> int:
        """Return the evaluations of the denoiser, of whole slices."""
        return self.settings.samples * self.settings.steps

    @torch.inference_mode()
    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return samples for each slice, see `Method.restore`."""
        return torch.stack(
            [
                self._slice(scan, measured, draws.named([name]))
                for measured, name in zip(y, draws.names, strict=True)
            ]
        )

    def _slice(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the samples of one slice (sample, frame, *high)."""
        settings, network = self.settings, self.network
        project = Projection(scan, y, settings.strength)
        predicted = predict(network, project, device=self.device, precision=self.precision)
        prediction = predicted.projected[None]
        condition = network.condition(prediction, predicted.guided[None])
        # The autoencoder works on the fine grid, where frames need most memory, and on each frame alone.
        planes = prediction.split(draws.at_once, dim=1)
        encode, decode = self._with_precision(network.encode), self._with_precision(network.decode)
        origin = torch.cat([encode(part, part) for part in planes], dim=2)
        seeds = draws.seeds(settings.samples)
        at_once = max(1, draws.at_once // prediction.shape[1])
        drawn = []
        for first in range(0, len(seeds), at_once):
            z = self._latents(scan, origin, condition, seeds[first : first + at_once], draws.on_step)
            for one in z.split(1):
                pairs = zip(one.split(draws.at_once, dim=2), planes, strict=True)
                drawn.append(project.of_magnitudes(torch.cat([decode(*pair) for pair in pairs], dim=1)[0]))
        return torch.stack(drawn)

    def _latents(
        self,
        scan: Scan,
        origin: Tensor,
        condition: Tensor,
        seeds: list[tuple[int, ...]],
        on_step: Callable[[int], None],
    ) -> Tensor:
        """Return one latent for each seed (batch, channel, frame, row, column), from `origin` and noise."""
        count = len(seeds)
        expanded = condition.expand(count, *condition.shape[1:])
        cyclic = scan.timing.period is not None
        denoise = self._with_precision(
            lambda z, sigma: self.network.denoise(z, sigma, expanded, cyclic=cyclic)
        )

        def counted(z: Tensor, sigma: Tensor) -> Tensor:
            denoised = denoise(z, sigma)
            on_step(count)
            return denoised

        noise, origin = SeededNoise(seeds, pairs=True), origin.expand(count, *origin.shape[1:])
        return drawn_latents(counted, origin, noise(origin), self.settings, noise=noise)

    def _with_precision(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return with_precision(network, self.device, self.precision)


class StillLDMMethod:
    """Restore planes with a trained `StillLDM`: samples around the estimate of the core network, as consistent.

    Args:
        network: in evaluation mode, on `device`, with a denoiser.
        settings: settings of sampling.
        core: settings of the mean image; `strength` is not used.
        signed: whether real images have values of both signs, see `CoreMethod`.
        device: device of the network.
        precision: autocast type of the network; everything else stays float32.
    """

    name = "ldm"

    def __init__(
        self,
        network: StillLDM,
        settings: LDMOptions,
        core: CoreOptions,
        *,
        signed: bool,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.core, self.signed = network, settings, core, signed
        self.device, self.precision = device, precision
        self.samples, self.evaluations = settings.samples, settings.steps

    @property
    def options(self) -> dict[str, Any]:
        """Settings of sampling and of the mean image, JSON-ready."""
        return self.core.recorded | asdict(self.settings)

    @torch.inference_mode()
    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return samples for each measurement, see `PlaneMethod.restore`."""
        inputs = [scan_input(operator, plane, self.core, signed=self.signed) for plane in y]
        condition = conditions(
            self.network.core,
            inputs,
            draws,
            symmetries=self.core.symmetries,
            device=self.device,
            precision=self.precision,
        )
        strength = 0.0 if self.core.denoise else self.settings.strength
        drawn = []
        for index, names in draws.batches(self.samples):
            planes = self._drawn(condition.of(index, self.device), names, draws.on_step).cpu()
            drawn += [
                consistent(operator, y[i], inputs[i].phase, x, signed=self.signed, strength=strength)
                for i, x in zip(index, planes, strict=True)
            ]
        return torch.stack(drawn).reshape(len(y), -1, *operator.high)

    def _drawn(
        self, condition: Condition, names: Sequence[Sequence[int]], on_step: Callable[[int], None]
    ) -> Tensor:
        """Return a sample for each of `names`, in model units, before the projection."""
        network = self.network

        def at_precision(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
            return with_precision(run, self.device, self.precision)

        denoise = at_precision(lambda z, sigma: network.denoise(z, sigma, condition))

        def counted(z: Tensor, sigma: Tensor) -> Tensor:
            denoised = denoise(z, sigma)
            on_step(len(names))
            return denoised

        noise = SeededNoise(names, pairs=True)
        origin = at_precision(lambda x: network.encode(x, condition))(condition.mean)
        z = drawn_latents(counted, origin, noise(origin), self.settings, noise=noise)
        return at_precision(lambda z: network.decode(z, condition))(z)
