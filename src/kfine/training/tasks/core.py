"""Training task of the core network and of SRResNet, the regression network that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kfine.models.checkpoint import build_network
from kfine.networks.core import DARK, CoreNet
from kfine.networks.srresnet import SRResNet
from kfine.training.config import CoreTrainingConfig, SRResNetTrainingConfig
from kfine.training.data.core_patches import Sample
from kfine.training.tasks.base import Learner, LossStep, Objectives, Turn, groups_of
from kfine.training.tasks.scans import ScanTask, start_from

AIR_WEIGHT = 10.0  # of squared errors of the core network where the scan is dark
FLOOR = 4e-6  # mean squared error in model units, 60 dB: smaller errors are noise


class CoreObjective(nn.Module):
    """Least squares; the error of each image is relative to that of its zero-filled scan, like a gain in dB.

    Args:
        network: to be trained.
        air: weight of squared errors where the scan is dark, relative to those elsewhere: the ringing in air is faint,
            and visible.  Weights that depend only on the scan do not change the best estimate, E[x | scan].
    """

    def __init__(self, network: CoreNet | SRResNet, *, air: float = 1.0) -> None:
        super().__init__()
        self.network, self.air = network, air

    def forward(self, sample: Sample) -> dict[str, Tensor]:
        """Return the loss, and the mean squared error relative to zero filling's on the same pieces."""
        predicted = self.network(sample.image, sample.unit, sample.facts)
        squared = (predicted - sample.target).square()
        weight = torch.where(sample.image + 1 > 2 * DARK, 1.0, self.air)
        loss = ((weight * squared).mean((1, 2)) / (sample.error + FLOOR)).mean()
        mse, filled = squared.mean((1, 2)), (sample.image - sample.target).square().mean((1, 2))
        return {"loss": loss, "relative": mse.sum() / filled.sum().clamp_min(1e-12)}


class CoreTask(ScanTask[CoreTrainingConfig | SRResNetTrainingConfig]):
    """Train the network of the configuration, see `kfine.training.tasks.base.Task`.

    Args:
        config: the validated configuration.
        data: folder with the sources below it.
    """

    BY_SOURCE: ClassVar[bool] = True

    def __init__(self, config: CoreTrainingConfig | SRResNetTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> nn.Module:
        """Read the data and build the network."""
        config = self.config
        self.load(reports=reports)
        network = build_network({"method": config.method, "network": config.network.model_dump()})
        assert isinstance(network, CoreNet | SRResNet)
        self.network = network
        if config.initial and not resumed:
            start_from(network, config.initial, method=config.method)
        return network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner."""
        groups = groups_of([self.network], self.config.optimiser, ends=self._ends())
        air = AIR_WEIGHT if isinstance(self.network, CoreNet) else 1.0
        return {"network": Learner(self.network, CoreObjective(self.network, air=air), groups)}

    def hot_parts(self) -> list[nn.Module]:
        """Return the convolutional network."""
        return [self.network.unet if isinstance(self.network, CoreNet) else self.network]

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the one loss."""
        figures = objectives["network"](batch)
        yield LossStep("network", figures["loss"], figures)

    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the estimate."""
        return {"estimate": network(sample.image, sample.unit, sample.facts)[0]}

    def description(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.described(self.config.network.model_dump(mode="json"))

    def _ends(self) -> list[nn.Module]:
        """Return the first and the last layer, which do not count as filters."""
        network = self.network
        if isinstance(network, CoreNet):
            return [network.unet.stem, network.unet.head]
        return [network.stem, network.last]
