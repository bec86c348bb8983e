"""The training task of the decoder of method cine-ldm, the last stage of its latent diffusion model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kfine.methods.ldm import LDMOptions
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.networks.perceptual import SqueezeNetFeatures
from kfine.networks.vqgan import VQGAN
from kfine.training.data.patches import Item, flat
from kfine.training.losses.decoder import DecoderObjective
from kfine.training.stage_config import CineDecoderTrainingConfig
from kfine.training.tasks.adversarial import AdversarialTask
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import STAGES, SuppliedTask, stage_before, supply_of


class DecoderTask(AdversarialTask, SuppliedTask):
    """Train the decoder on the latents that the denoiser draws, see `kfine.training.tasks.base.Task`.

    The autoencoder's own training smooths: what a latent does not say for certain is averaged (decision 12).  Here
    encoder, codebook and denoiser, and with them the latents, stay as they are.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
        ldm: model folder of the third stage.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None leaves the feature distance out.
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
        self.earlier, self.network = stage_before(
            self.ldm,
            option="ldm",
            part="denoiser",
            command=STAGES["denoiser"],
            network=CineLDM,
            validation=config.data.validation,
        )
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.supply = supply_of(self.data, config, reports=reports)
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
        yield from self.duel(objectives, item, turn.to_device(noise), turn.to_device(chosen))

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
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
