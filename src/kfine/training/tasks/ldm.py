"""The training task of method cine-ldm, the third stage of its latent diffusion model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from kfine.diffusion.losses import antithetic_times
from kfine.networks.ldm import CineLDM
from kfine.training.data.patches import Item, flat
from kfine.training.losses.ldm import DenoiserObjective, shown
from kfine.training.stage_config import CineLDMTrainingConfig, DiffusionConfig
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import STAGES, SuppliedTask, frozen, stage_before, supply_of

_INSIDE = 1e-4, 1 - 1e-4  # quantiles whose levels are finite


class LDMTask(SuppliedTask):
    """Train the denoiser of latents, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
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
        """Load the stages before, read the data, measure the latents and build the denoiser."""
        self.earlier, before = stage_before(
            self.autoencoder,
            option="autoencoder",
            part="autoencoder",
            command=STAGES["autoencoder"],
            network=CineLDM,
            validation=self.config.data.validation,
        )
        assert before.autoencoder is not None
        self.supply = supply_of(self.data, self.config, reports=reports)
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
        """Return the three networks, of the autoencoder what encodes."""
        network = self.network
        assert network.autoencoder is not None
        assert network.denoiser is not None
        return [network.regressor, network.autoencoder.encoder, network.denoiser]

    def descents(self, batch: Item, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the weighted denoising loss, some levels of noise for each clip."""
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
        """Return how the model was made."""
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
    """Return noise levels (image * level,), levels counting fastest: log-normal, evenly spread, those of an image too.

    As Kingma et al. 2021 spread their times.
    """
    quantiles = antithetic_times(images * options.levels, generator).clamp(*_INSIDE)
    quantiles = quantiles.view(options.levels, images).t().flatten()
    return torch.exp(options.mean + options.std * torch.special.ndtri(quantiles))


@torch.no_grad()
def measure_latents(network: CineLDM, items: Dataset[Item], *, count: int) -> None:
    """Give `network` the mean and standard deviation of the latents of `items`, a channel each.

    The codes are few and lie where the latents do, so those of the latents before quantisation serve both.
    """
    latents: list[Tensor] = []
    for g in range(count):
        item = flat(default_collate([items[g]]))
        latents.append(network.encode(item.x, shown(network, item)).transpose(0, 1).flatten(1))
    z = torch.cat(latents, dim=1).double()
    network.set_latent_statistics(z.mean(1).float(), z.std(1).clamp_min(1e-6).float())
