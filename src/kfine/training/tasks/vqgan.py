"""The training task of the autoencoder of cines, the second stage of their latent diffusion model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.training.data.patches import Item, flat
from kfine.training.losses.adversarial import AutoencoderObjective
from kfine.training.stage_config import VQGANTrainingConfig
from kfine.training.tasks.adversarial import AdversarialTask
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import STAGES, SuppliedTask, frozen, stage_before, supply_of


class VQGANTask(AdversarialTask, SuppliedTask):
    """Train the autoencoder and its discriminator, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        regression: model folder of the first stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None leaves the feature distance out.
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
        self.earlier, before = stage_before(
            self.regression,
            option="regression",
            part="regressor",
            command=STAGES["regressor"],
            network=CineLDM,
            validation=config.data.validation,
        )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.supply = supply_of(self.data, config, reports=reports)
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
        """Yield the autoencoder's loss, then, once the adversary has begun, the discriminator's."""
        item = flat(batch)
        frames = item.x.shape[0] * item.x.shape[1]
        order = torch.randperm(frames, generator=turn.generator)[: self.config.adversary.images]
        begun = turn.step > self.config.adversary.after
        yield from self.duel(objectives, item, turn.to_device(order), begun=begun)

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return self.described(self.config, self._described(), earlier=self.earlier, **self.content_loss())

    def _described(self) -> dict[str, Any]:
        return {
            "regressor": self.earlier.config["network"]["regressor"],
            "autoencoder": self.config.network.model_dump(mode="json"),
        }
