"""The training task of method cine-regression, the first stage of the cine system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kfine.networks.cine_ldm import CineLDM
from kfine.training.cine_config import RegressionTrainingConfig
from kfine.training.cine_items import CineDataset, CineItem, flat
from kfine.training.cine_objectives import RegressionObjective
from kfine.training.cine_supply import CineSupply
from kfine.training.task import Descent, Group, Learner, Objectives, Turn


class CineRegressionTask:
    """Train the regressor, see `kfine.training.task.Task`.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
    """

    def __init__(self, config: RegressionTrainingConfig, data: Sequence[Path]) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Read the data and build the regressor."""
        config = self.config
        self.supply = CineSupply(
            self.data,
            data=config.data,
            optimiser=config.optimiser,
            report=config.report if reports else None,
        )
        self.network = CineLDM(regressor=config.network.model_dump())
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner, the regressor."""
        groups = (Group(list(self.network.parameters()), self.config.optimiser.learning_rate),)
        return {"network": Learner(self.network, RegressionObjective(self.network), groups)}

    def hot_parts(self) -> list[nn.Module]:
        """Return the regressor."""
        return [self.network.regressor]

    def dataset(self, length: int) -> CineDataset:
        """Return clips and stills."""
        return self.supply.dataset(length)

    def descents(self, batch: CineItem, objectives: Objectives, turn: Turn) -> Iterator[Descent]:
        """Yield the squared errors of the prediction, as it is and held to the scan, as one loss."""
        figures = objectives["network"](flat(batch))
        yield Descent("network", figures["loss"], figures)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the PSNRs of optical flow and of the prediction."""
        return self.supply.figures(network, device)

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write truth, optical flow and prediction of the validation slices."""
        self.supply.picture(network, path, device)

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return {
            "method": self.config.method,
            "network": {"regressor": self.config.network.model_dump(mode="json")},
            "training": self.config.model_dump(mode="json", exclude={"network", "method", "report"}),
        }
