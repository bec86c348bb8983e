"""The training task of a latent diffusion model's decoder: its last stage, on samples of its own denoiser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.residual_ldm import ResidualLDM
from kfine.training.adversarial_objectives import DecoderObjective, DiscriminatorObjective
from kfine.training.cine_config import CineDecoderTrainingConfig
from kfine.training.items import Item, flat
from kfine.training.supplied import SuppliedTask
from kfine.training.supply import frozen, kind_of, stage_before, supply_of
from kfine.training.task import Descent, Group, Learner, Objectives, Turn


class DecoderTask(SuppliedTask):
    """Train the decoder on sampled latents, see `kfine.training.task.Task` and `DecoderObjective`.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        denoiser: model folder of the third stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None leaves the feature distance out.
    """

    def __init__(
        self,
        config: CineDecoderTrainingConfig,
        data: Sequence[Path],
        *,
        denoiser: Path,
        features: Path | None = None,
    ) -> None:
        self.config, self.data, self.denoiser, self.features = config, data, denoiser, features

    def open(self, *, resumed: bool, reports: bool) -> ResidualLDM:
        """Load the stages before, read the data and build the discriminator."""
        config = self.config
        kind = kind_of(config)
        self.earlier, before = stage_before(self.denoiser, kind, option="--denoiser", part="denoiser")
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.supply = supply_of(self.data, config, reports=reports)
        self.network = kind.network(**self._described())
        frozen(self.network, before)
        for part in self._learning():
            part.requires_grad_(True)
        adversary = config.adversary
        self.judge = PatchDiscriminator(widths=adversary.widths, sees=adversary.sees)
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the decoder and the discriminator."""
        config = self.config
        weights = [weight for part in self._learning() for weight in part.parameters()]
        decoder = Group(weights, config.optimiser.learning_rate)
        judge = Group(list(self.judge.parameters()), config.adversary.learning_rate)
        objective = DecoderObjective(self.network, self.distance, config.adversary, config.sampling)
        return {
            "network": Learner(self.network, objective, (decoder,)),
            "discriminator": Learner(
                self.judge, DiscriminatorObjective(self.judge), (judge,), betas=(0.5, 0.9)
            ),
        }

    def hot_parts(self) -> list[nn.Module]:
        """Return the networks that every update runs through."""
        network = self.network
        assert network.autoencoder is not None
        assert network.denoiser is not None
        return [network.regressor, network.denoiser, network.autoencoder.decoder]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[Descent]:
        """Yield the decoder's loss, then the discriminator's."""
        item = flat(batch)
        images, frames = item.x.shape[:2]
        assert self.network.autoencoder is not None
        grid = [-(-n // self.network.autoencoder.factor) for n in item.x.shape[2:]]
        low, high = (math.log(level) for level in self.config.sampling.start)
        start = math.exp(low + (high - low) * float(torch.rand((), generator=turn.generator)))
        shape = (2, images, len(self.network.latent_mean), frames, *grid)
        noise = turn.to_device(torch.randn(shape, generator=turn.generator))
        # The discriminator learns in its own turn alone.
        self.judge.requires_grad_(False)
        result = objectives["network"](item, start, noise, self.judge)
        yield Descent("network", result.loss, result.figures)
        self.judge.requires_grad_(True)
        loss = objectives["discriminator"](result.x, result.decoded, result.seen)
        yield Descent("discriminator", loss, {"discriminator": loss})

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return self.described(
            self.config, self._described(), earlier=self.earlier, feature_distance=self.distance is not None
        )

    def _learning(self) -> list[nn.Module]:
        autoencoder = self.network.autoencoder
        assert autoencoder is not None
        parts = (autoencoder.from_latent, autoencoder.look, autoencoder.decoder)
        return [part for part in parts if part is not None]

    def _described(self) -> dict[str, Any]:
        network = self.earlier.config["network"]
        return {name: network[name] for name in ("regressor", "autoencoder", "denoiser")}
