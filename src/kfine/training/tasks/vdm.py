"""The training task of method vdm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.diffusion.losses import antithetic_times
from kfine.models.domain import trained_ranges
from kfine.networks.vdm import VDM
from kfine.training.config import TrainingConfig
from kfine.training.data.volumes import PatchDataset, split_volumes
from kfine.training.losses.vdm import Objective
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.validation import Validation, sample_sheet


class VDMTask:
    """Train a variational diffusion model and its predictor, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folder of NIfTI files or DICOM series.
    """

    def __init__(self, config: TrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> VDM:
        """Split the volumes, read the validation slices and build the network."""
        self.paths, held = split_volumes(self.data, self.config.data.validation)
        self.validation = (
            Validation(held, self.config.report, memory_gib=self.config.data.memory_gib)
            if held and reports
            else None
        )
        self.network = VDM(**self.config.network.model_dump())
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner: U-Net, noise schedule and predictor, each at its own rate."""
        options, network = self.config.optimiser, self.network
        groups = [
            Group(list(network.unet.parameters()), options.learning_rate),
            Group(list(network.gamma.parameters()), options.gamma_learning_rate),
        ]
        if network.predictor:
            groups.append(Group(list(network.predictor.parameters()), options.predictor_learning_rate))
        objective = Objective(network, centre=options.weight_centre)
        return {"network": Learner(network, objective, tuple(groups))}

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: all is in the network."""
        return {}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Nets."""
        return [part for part in (self.network.unet, self.network.predictor) if part]

    def dataset(self, length: int) -> Dataset[Tensor]:
        """Return patches, see `PatchDataset`."""
        options, data = self.config.optimiser, self.config.data
        patches = PatchDataset(self.paths, data, seed=options.seed, length=length, batch=options.batch)
        self.ranges = trained_ranges(
            (patches.volumes.ranges[path] for path in self.paths),
            scale=1 / data.measured[0],
            brightness=data.brightness,
        )
        return patches

    def descents(self, batch: Tensor, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the bound and the prediction's error as one loss."""
        x, scan = batch.split(1, dim=1)
        # Which patches diffusion sees the scan of, the times and the two noises.
        kept = (torch.rand(len(x), generator=turn.generator) >= self.config.optimiser.unconditional).float()
        t = antithetic_times(len(x), turn.generator)
        noises = [torch.randn(x.shape, generator=turn.generator) for _ in range(2)]
        draws = [turn.to_device(draw) for draw in (kept, t, *noises)]
        loss, prediction = objectives["network"](x, scan, *draws)
        figures = {"loss": loss, "prediction": prediction}
        yield LossStep("network", loss + prediction if self.network.predictor else loss, figures)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the bound and the PSNR of restored validation slices."""
        if self.validation is None:
            return {}
        assert isinstance(network, VDM)
        return self.validation.figures(network, device, conditioned=self._conditioned)

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write samples from pure noise."""
        assert isinstance(network, VDM)
        sample_sheet(network, path, matrix=self.config.report.matrix[1], device=device)

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        return {
            "method": self.config.method,
            "network": self.config.network.model_dump(mode="json"),
            "sampling": {"conditioned": self._conditioned},
            "ranges": self.ranges,
            "training": self.config.model_dump(mode="json", exclude={"network", "method", "report"}),
        }

    @property
    def _conditioned(self) -> bool:
        """Only a network that was shown scans may be given one."""
        return self.config.optimiser.unconditional < 1
