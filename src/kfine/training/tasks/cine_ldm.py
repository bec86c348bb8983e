"""Training tasks of method cine-ldm, in the order of the stages: regression, autoencoder, denoiser, decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from kfine.diffusion.losses import antithetic_times
from kfine.methods.ldm import LDMOptions
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.vqgan import VQGAN
from kfine.training.data.patches import Item, flat
from kfine.training.ldm_config import (
    CineDecoderTrainingConfig,
    CineLDMTrainingConfig,
    DiffusionConfig,
    RegressionTrainingConfig,
    VQGANTrainingConfig,
)
from kfine.training.losses.adversarial import AutoencoderObjective
from kfine.training.losses.decoder import DecoderObjective
from kfine.training.losses.ldm import DenoiserObjective, RegressionObjective, conditioning
from kfine.training.tasks.adversarial import AdversarialTask
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import STAGES, CineTask, frozen, load_cine_data, load_earlier_stage

_INSIDE = 1e-4, 1 - 1e-4  # quantiles whose levels are finite


class RegressionTask(CineTask):
    """Train the regressor, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
    """

    def __init__(self, config: RegressionTrainingConfig, data: Sequence[Path]) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Read the data and build the regressor."""
        self.cine_data = load_cine_data(self.data, self.config, reports=reports)
        self.network = CineLDM(**self._described())
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner, the regressor."""
        groups = (Group(list(self.network.parameters()), self.config.optimiser.learning_rate),)
        return {"network": Learner(self.network, RegressionObjective(self.network), groups)}

    def hot_parts(self) -> list[nn.Module]:
        """Return the regressor."""
        return [self.network.regressor]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the squared errors of the prediction, before and after the projection, as one loss."""
        figures = objectives["network"](flat(batch))
        yield LossStep("network", figures["loss"], figures)

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(self.config, self._described())

    def _described(self) -> dict[str, Any]:
        return {"regressor": self.config.network.model_dump(mode="json")}


class VQGANTask(AdversarialTask, CineTask):
    """Train the autoencoder and its discriminator, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        regression: model folder of the first stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    def __init__(
        self,
        config: VQGANTrainingConfig,
        data: Sequence[Path],
        *,
        regression: Path,
        features: Path | None = None,
    ) -> None:
        self.config, self.data, self.regression, self.features = config, data, regression, features

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Load the regressor, read the data and build the autoencoder and the discriminator."""
        config = self.config
        self.earlier, before = load_earlier_stage(
            self.regression,
            option="regression",
            part="regressor",
            command=STAGES["regressor"],
            network=CineLDM,
            validation=config.data.validation,
        )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.cine_data = load_cine_data(self.data, config, reports=reports)
        self.network = CineLDM(**self._described())
        frozen(self.network.regressor, before.regressor)
        adversary = config.adversary
        self.discriminator = PatchDiscriminator(widths=adversary.widths, sees=adversary.sees)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the autoencoder and the discriminator."""
        config, network = self.config, self.network
        assert network.autoencoder is not None
        autoencoder = Group(list(network.autoencoder.parameters()), config.optimiser.learning_rate)
        objective = AutoencoderObjective(network, self.distance, config.adversary)
        return self.two_learners(
            network, objective, autoencoder, discriminator_rate=config.adversary.learning_rate
        )

    def hot_parts(self) -> list[nn.Module]:
        """Return the regressor, the encoder and the decoder."""
        assert self.network.autoencoder is not None
        return [self.network.regressor, self.network.autoencoder.encoder, self.network.autoencoder.decoder]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the autoencoder's loss, then, after the first updates, the discriminator's."""
        item = flat(batch)
        frames = item.x.shape[0] * item.x.shape[1]
        order = torch.randperm(frames, generator=turn.generator)[: self.config.adversary.images]
        begun = turn.step > self.config.adversary.after
        yield from self.adversarial_steps(objectives, item, turn.to_device(order), begun=begun)

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(self.config, self._described(), earlier=self.earlier, **self.content_loss())

    def _described(self) -> dict[str, Any]:
        return {
            "regressor": self.earlier.config["network"]["regressor"],
            "autoencoder": self.config.network.model_dump(mode="json"),
        }


class LDMTask(CineTask):
    """Train the denoiser of latents, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        autoencoder: model folder of the second stage.
    """

    def __init__(
        self,
        config: CineLDMTrainingConfig,
        data: Sequence[Path],
        *,
        autoencoder: Path,
    ) -> None:
        self.config, self.data, self.autoencoder = config, data, autoencoder

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Load the earlier stages, read the data, build the denoiser and set the statistics of the latents."""
        self.earlier, before = load_earlier_stage(
            self.autoencoder,
            option="autoencoder",
            part="autoencoder",
            command=STAGES["autoencoder"],
            network=CineLDM,
            validation=self.config.data.validation,
        )
        assert before.autoencoder is not None
        self.cine_data = load_cine_data(self.data, self.config, reports=reports)
        self.network = CineLDM(**self._described())
        assert self.network.autoencoder is not None
        frozen(self.network.regressor, before.regressor)
        frozen(self.network.autoencoder, before.autoencoder)
        if not resumed:
            measure_latents(self.network, self.dataset(count := self.config.diffusion.measured), count=count)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner, the denoiser."""
        assert self.network.denoiser is not None
        groups = (Group(list(self.network.denoiser.parameters()), self.config.optimiser.learning_rate),)
        return {"network": Learner(self.network, DenoiserObjective(self.network), groups)}

    def hot_parts(self) -> list[nn.Module]:
        """Return the regressor, the encoder and the denoiser."""
        network = self.network
        assert network.autoencoder is not None
        assert network.denoiser is not None
        return [network.regressor, network.autoencoder.encoder, network.denoiser]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the weighted denoising loss, for several noise levels of each clip."""
        item, options = flat(batch), self.config.diffusion
        images, frames = item.x.shape[:2]
        grid = [-(-n // self._factor) for n in item.x.shape[2:]]
        sigma = drawn_levels(options, images, turn.generator)
        noise = torch.randn(
            len(sigma), len(self.network.latent_mean), frames, *grid, generator=turn.generator
        )
        loss = objectives["network"](item, turn.to_device(sigma), turn.to_device(noise))
        yield LossStep("network", loss, {"loss": loss})

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(self.config, self._described(), earlier=self.earlier)

    @property
    def _factor(self) -> int:
        assert self.network.autoencoder is not None
        return self.network.autoencoder.factor

    def _described(self) -> dict[str, Any]:
        parts = self.earlier.config["network"]
        return {
            "regressor": parts["regressor"],
            "autoencoder": parts["autoencoder"],
            "denoiser": self.config.network.model_dump(mode="json"),
        }


def drawn_levels(options: DiffusionConfig, images: int, generator: torch.Generator) -> Tensor:
    """Return log-normal noise levels (image * level,), levels varying fastest, evenly spread over all and per image.

    The quantiles are spread like the times of Kingma et al. 2021.
    """
    quantiles = antithetic_times(images * options.levels, generator).clamp(*_INSIDE)
    quantiles = quantiles.view(options.levels, images).t().flatten()
    return torch.exp(options.mean + options.std * torch.special.ndtri(quantiles))


@torch.no_grad()
def measure_latents(network: CineLDM, items: Dataset[Item], *, count: int) -> None:
    """Set the mean and standard deviation of each latent channel of `network` from `items`.

    They are those of the latents before quantisation, and are used for the codes too.
    """
    latents: list[Tensor] = []
    for g in range(count):
        item = flat(default_collate([items[g]]))
        latents.append(network.encode(item.x, conditioning(network, item)).transpose(0, 1).flatten(1))
    z = torch.cat(latents, dim=1).double()
    network.set_latent_statistics(z.mean(1).float(), z.std(1).clamp_min(1e-6).float())


class DecoderTask(AdversarialTask, CineTask):
    """Train the decoder on the latents that the denoiser draws, see `kfine.training.tasks.base.Task`.

    The training of the autoencoder smooths: details that a latent does not determine are averaged (decision 12).  Here
    encoder, codebook and denoiser are frozen, so the latents do not change.

    Args:
        config: the validated configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        ldm: model folder of the third stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    def __init__(
        self,
        config: CineDecoderTrainingConfig,
        data: Sequence[Path],
        *,
        ldm: Path,
        features: Path | None = None,
    ) -> None:
        self.config, self.data, self.ldm, self.features = config, data, ldm, features

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Load the model, read the data and build the discriminator."""
        config = self.config
        self.earlier, self.network = load_earlier_stage(
            self.ldm,
            option="ldm",
            part="denoiser",
            command=STAGES["denoiser"],
            network=CineLDM,
            validation=config.data.validation,
        )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.cine_data = load_cine_data(self.data, config, reports=reports)
        self.network.requires_grad_(False).eval()
        for part in self._learning():
            part.requires_grad_(True).train()
        self.discriminator = PatchDiscriminator(widths=config.adversary.widths, sees=config.adversary.sees)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the decoder and the discriminator."""
        config = self.config
        weights = [weight for part in self._learning() for weight in part.parameters()]
        drawing = LDMOptions(steps=config.drawing.steps, start=config.drawing.start)
        objective = DecoderObjective(self.network, self.distance, config.adversary, drawing)
        group = Group(weights, config.optimiser.learning_rate)
        return self.two_learners(
            self.network, objective, group, discriminator_rate=config.adversary.learning_rate
        )

    def hot_parts(self) -> list[nn.Module]:
        """Return the regressor, the denoiser, and the encoder and the decoder."""
        network = self.network
        assert network.denoiser is not None
        return [network.regressor, network.denoiser, self._autoencoder.encoder, self._autoencoder.decoder]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the decoder's loss, then the discriminator's."""
        item = flat(batch)
        images, frames = item.x.shape[:2]
        grid = [-(-n // self._autoencoder.factor) for n in item.x.shape[2:]]
        draws = 2 if self.config.adversary.mean else 1
        shape = (draws, images, len(self.network.latent_mean), frames, *grid)
        noise = torch.randn(shape, generator=turn.generator)
        wanted, pair = self.config.adversary.images, min(2, frames)
        clips = torch.randperm(images, generator=turn.generator)[: max(1, wanted // pair), None]
        run = min(frames, max(pair, wanted // len(clips)))
        first = torch.randint(frames - run + 1, clips.shape, generator=turn.generator)
        chosen = clips * frames + first + torch.arange(run)
        yield from self.adversarial_steps(objectives, item, turn.to_device(noise), turn.to_device(chosen))

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        network = self.earlier.config["network"]
        return self.described(self.config, network, earlier=self.earlier, **self.content_loss())

    @property
    def _autoencoder(self) -> VQGAN:
        assert self.network.autoencoder is not None
        return self.network.autoencoder

    def _learning(self) -> list[nn.Module]:
        autoencoder = self._autoencoder
        parts = [autoencoder.from_latent, autoencoder.look, autoencoder.decoder]
        return [part for part in parts if part is not None]
