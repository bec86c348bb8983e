"""Training task of method sharp: sharp images in one evaluation, around the core network's estimate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.errors import ModelError
from kfine.networks.core import NOISES, SharpNet
from kfine.networks.perceptual import SMALLEST, SqueezeNetFeatures
from kfine.training.config import SharpTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.losses.sharp import CORNERS, FILTERS, SharpObjective
from kfine.training.tasks.base import Learner, LossStep, Objectives, Turn, groups_of
from kfine.training.tasks.scans import ScanTask, core_model, reference, start_from


class SharpTask(ScanTask[SharpTrainingConfig]):
    """Train sharp images of one evaluation on scans of any contrast, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
        features: SqueezeNet's arrays, see `SqueezeNetFeatures.load`; None: no feature distance.
    """

    def __init__(self, config: SharpTrainingConfig, data: Path, *, features: Path | None = None) -> None:
        self.config, self.data, self.features = config, data, features

    def open(self, *, resumed: bool, reports: bool) -> SharpNet:
        """Read the data, load the core network and build the network around it."""
        self.core = core = core_model(self.config.core)
        self.load(reports=reports)
        self.distance = SqueezeNetFeatures.load(self.features) if self.features else None
        self.network = SharpNet(core=core.config["network"], **self.config.network.model_dump())
        self.network.core.load_state_dict(core.network.state_dict())
        if self.config.initial and not resumed:
            start_from(self.network, self.config.initial, method="sharp")
        elif not resumed:
            try:
                self.network.start_from_core()
            except RuntimeError:
                raise ModelError(
                    f"model {core.name}: expected the config's widths and blocks, got {core.config['network']}; "
                    "correct core or network"
                ) from None
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner: all but the core network."""
        network = self.network
        groups = groups_of(
            [network.unet, network.embedding],
            self.config.optimiser,
            ends=[network.unet.stem, network.unet.head],
        )
        objective = SharpObjective(
            network,
            energy=self.config.energy,
            texture=self.config.texture,
            features=self.distance,
            perceptual=self.config.perceptual,
        )
        return {"network": Learner(network, objective, groups)}

    def fixed(self) -> dict[str, nn.Module]:
        """Return the features of the distance, if there are any."""
        return super().fixed() | ({"features": self.distance} if self.distance is not None else {})

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Nets."""
        return [self.network.unet, self.network.core.unet]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the one loss."""
        shape = (len(batch.target), NOISES, *batch.target.shape[1:])
        noise = turn.to_device(torch.randn(shape, generator=turn.generator))
        combinations = turn.to_device(torch.randn((FILTERS, 64), generator=turn.generator))
        corners = max(1, min(CORNERS, min(batch.target.shape[-2:]) - SMALLEST + 1))
        row, column = torch.randint(corners, (2,), generator=turn.generator).tolist()
        figures = objectives["network"](batch, noise, combinations, (row, column))
        yield LossStep("network", figures["loss"], figures)

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the core's estimate, "mean", and the sharp image."""
        assert isinstance(network, SharpNet)
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn((1, NOISES, *sample.image.shape[1:]), generator=generator).to(sample.image)
        scan = (sample.image, sample.unit, sample.facts)
        mean = network.mean(*scan)
        return {"mean": mean[0], "sharp": network(*scan, mean, noise)[0]}

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(
            {**self.config.network.model_dump(mode="json"), "core": self.core.config["network"]},
            core=reference(self.core),
            earlier=self.core.config.get("training", {}),
            feature_distance=self.distance is not None,
        )
