"""Training tasks of method ldm: autoencoder, denoiser and decoder around the core network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from kfine.diffusion.samplers import SeededNoise
from kfine.methods.ldm import LDMOptions, drawn_latents
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import StillLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.core_patches import Sample
from kfine.training.ldm_config import AutoencoderTrainingConfig, DecoderTrainingConfig, LDMTrainingConfig
from kfine.training.losses.stills import (
    StillAutoencoderObjective,
    StillDecoderObjective,
    StillDenoiserObjective,
    condition_of,
)
from kfine.training.tasks.adversarial import AdversarialTask
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.cine_ldm import drawn_levels
from kfine.training.tasks.scans import Config, ScanTask, core_model, reference
from kfine.training.tasks.stage import frozen, history, load_earlier_stage

SAMPLING = LDMOptions(steps=10)  # of the validation's samples


class StillLDMStage(ScanTask[Config]):
    """Base of the stages: restoration of a validation plane by the parts of the network."""

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the core's estimate, "mean", the decoded true latents, "latents", and one sample."""
        assert isinstance(network, StillLDM)
        condition = condition_of(network, sample)
        images = {"mean": condition.mean[0]}
        images["latents"] = network.decode(network.encode(sample.target, condition), condition)[0]
        if network.denoiser is not None:
            noise, origin = SeededNoise([(number, 0)]), network.encode(condition.mean, condition)

            def denoise(z: Tensor, sigma: Tensor) -> Tensor:
                return network.denoise(z, sigma, condition)

            z = drawn_latents(denoise, origin, noise(origin), SAMPLING, noise=noise)
            images["sample"] = network.decode(z, condition)[0]
        return images


class AutoencoderTask(AdversarialTask, StillLDMStage[AutoencoderTrainingConfig]):
    """Train the autoencoder and its discriminator, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    def __init__(
        self, config: AutoencoderTrainingConfig, data: Path, *, features: Path | None = None
    ) -> None:
        self.config, self.data, self.features = config, data, features

    def open(self, *, resumed: bool, reports: bool) -> StillLDM:
        """Load the core network, read the data and build the autoencoder and the discriminator."""
        self.core = core_model(self.config.core)
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.load(reports=reports)
        self.network = StillLDM(**self._described())
        frozen(self.network.core, self.core.network)
        adversary = self.config.adversary
        self.discriminator = PatchDiscriminator(widths=adversary.widths, sees=adversary.sees)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the autoencoder and the discriminator."""
        config, network = self.config, self.network
        autoencoder = Group(list(network.coder.parameters()), config.optimiser.learning_rate)
        objective = StillAutoencoderObjective(network, self.distance, config.adversary)
        return self.two_learners(
            network, objective, autoencoder, discriminator_rate=config.adversary.learning_rate
        )

    def hot_parts(self) -> list[nn.Module]:
        """Return the core, the encoder and the decoder."""
        return [self.network.core.unet, self.network.coder.encoder, self.network.coder.decoder]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the autoencoder's loss, then, after the first updates, the discriminator's."""
        yield from self.adversarial_steps(objectives, batch, begun=turn.step > self.config.adversary.after)

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        content = self.described(self._described(), core=reference(self.core))
        return content | {"training": content["training"] | self.content_loss()}

    def _described(self) -> dict[str, Any]:
        return {
            "core": self.core.config["network"],
            "autoencoder": self.config.network.model_dump(mode="json"),
            "detail": self.config.detail,
        }


class StillLDMTask(StillLDMStage[LDMTrainingConfig]):
    """Train the denoiser of latents, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
        autoencoder: model folder of the first stage.
    """

    def __init__(self, config: LDMTrainingConfig, data: Path, *, autoencoder: Path) -> None:
        self.config, self.data, self.autoencoder = config, data, autoencoder

    def open(self, *, resumed: bool, reports: bool) -> StillLDM:
        """Load the earlier stage, read the data, build the denoiser and set the statistics of the latents."""
        self.earlier, before = load_earlier_stage(
            self.autoencoder,
            option="autoencoder",
            part="autoencoder",
            command="autoencoder",
            network=StillLDM,
            validation=self.config.data.validation,
        )
        self.load(reports=reports)
        denoiser = self.config.network.model_dump(mode="json")
        self.arguments = self.earlier.network_config | {"denoiser": denoiser}
        self.network = StillLDM(**self.arguments)
        frozen(self.network.core, before.core)
        frozen(self.network.coder, before.coder)
        if not resumed:
            measure_latents(self.network, self.dataset(count := self.config.diffusion.measured), count=count)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner, the denoiser."""
        network = self.network
        assert network.denoiser is not None
        assert network.embedding is not None
        weights = [*network.denoiser.parameters(), *network.embedding.parameters()]
        group = Group(weights, self.config.optimiser.learning_rate)
        return {"network": Learner(network, StillDenoiserObjective(network), (group,))}

    def hot_parts(self) -> list[nn.Module]:
        """Return the core, the encoder and the denoiser."""
        assert self.network.denoiser is not None
        return [self.network.core.unet, self.network.coder.encoder, self.network.denoiser]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the weighted denoising loss, for several noise levels of each piece."""
        sigma = drawn_levels(self.config.diffusion, len(batch.target), turn.generator)
        grid = [-(-n // self.network.coder.factor) for n in batch.target.shape[1:]]
        noise = torch.randn(len(sigma), len(self.network.latent_mean), *grid, generator=turn.generator)
        loss = objectives["network"](batch, turn.to_device(sigma), turn.to_device(noise))
        yield LossStep("network", loss, {"loss": loss})

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        core = {"core": self.earlier.config["core"]} if "core" in self.earlier.config else {}
        return self.described(self.arguments, earlier=history(self.earlier), **core)


class StillDecoderTask(AdversarialTask, StillLDMStage[DecoderTrainingConfig]):
    """Train the decoder on the latents that the denoiser draws, see `kfine.training.tasks.base.Task`.

    The training of the autoencoder smooths: details that a latent does not determine are averaged (decision 12).  Here
    encoder, codebook and denoiser are frozen, so the latents do not change.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
        ldm: model folder of the second stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    def __init__(
        self, config: DecoderTrainingConfig, data: Path, *, ldm: Path, features: Path | None = None
    ) -> None:
        self.config, self.data, self.ldm, self.features = config, data, ldm, features

    def open(self, *, resumed: bool, reports: bool) -> StillLDM:
        """Load the model, read the data and build the discriminator."""
        config = self.config
        self.earlier, self.network = load_earlier_stage(
            self.ldm,
            option="ldm",
            part="denoiser",
            command="ldm",
            network=StillLDM,
            validation=config.data.validation,
        )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.load(reports=reports)
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
        objective = StillDecoderObjective(self.network, self.distance, config.adversary, drawing)
        group = Group(weights, config.optimiser.learning_rate)
        return self.two_learners(
            self.network, objective, group, discriminator_rate=config.adversary.learning_rate
        )

    def hot_parts(self) -> list[nn.Module]:
        """Return the core, the denoiser, and the encoder and the decoder."""
        network = self.network
        assert network.denoiser is not None
        return [network.core.unet, network.denoiser, network.coder.encoder, network.coder.decoder]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the decoder's loss, then the discriminator's."""
        grid = [-(-n // self.network.coder.factor) for n in batch.target.shape[1:]]
        draws = 2 if self.config.adversary.mean else 1
        shape = (draws, len(batch.target), len(self.network.latent_mean), *grid)
        noise = torch.randn(shape, generator=turn.generator)
        yield from self.adversarial_steps(objectives, batch, turn.to_device(noise))

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        core = {"core": self.earlier.config["core"]} if "core" in self.earlier.config else {}
        network = self.earlier.network_config
        content = self.described(network, earlier=history(self.earlier), **core)
        return content | {"training": content["training"] | self.content_loss()}

    def _learning(self) -> list[nn.Module]:
        coder = self.network.coder
        learning = [coder.from_latent, coder.look, coder.decoder]
        return [part for part in learning if part is not None]


@torch.no_grad()
def measure_latents(network: StillLDM, samples: Dataset[Sample], *, count: int) -> None:
    """Set the mean and standard deviation of each latent channel of `network` from `samples`."""
    latents: list[Tensor] = []
    for g in range(count):
        sample = default_collate([samples[g]])
        z = network.encode(sample.target, condition_of(network, sample))
        latents.append(z.transpose(0, 1).flatten(1))
    z = torch.cat(latents, dim=1).double()
    network.set_latent_statistics(z.mean(1).float(), z.std(1).clamp_min(1e-6).float())
