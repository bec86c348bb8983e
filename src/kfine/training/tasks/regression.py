"""The training task of the regression of cines, the first stage of their latent diffusion model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from kfine.networks.ldm import CineLDM
from kfine.training.data.patches import Item, flat
from kfine.training.losses.ldm import RegressionObjective
from kfine.training.stage_config import RegressionTrainingConfig
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.tasks.stage import SuppliedTask, supply_of


class RegressionTask(SuppliedTask):
    """Train the regressor, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folders of DICOM series, NIfTI files or PNG pictures.
    """

    def __init__(self, config: RegressionTrainingConfig, data: Sequence[Path]) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> CineLDM:
        """Read the data and build the regressor."""
        self.supply = supply_of(self.data, self.config, reports=reports)
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
        """Yield the squared errors of the prediction, as it is and held to the scan, as one loss."""
        figures = objectives["network"](flat(batch))
        yield LossStep("network", figures["loss"], figures)

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return self.described(self.config, self._described())

    def _described(self) -> dict[str, Any]:
        return {"regressor": self.config.network.model_dump(mode="json")}
