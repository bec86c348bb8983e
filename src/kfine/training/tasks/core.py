"""The training task of the core network, see `kfine.networks.core`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.degradation.scanner import Acquisition, central_kspace, displayed_image
from kfine.errors import ModelError
from kfine.models.checkpoint import load_model
from kfine.models.domain import Ranges
from kfine.networks.core import CoreNet
from kfine.training.config import CoreDataConfig, CoreReportConfig, CoreTrainingConfig
from kfine.training.data.core_patches import (
    TISSUE,
    CoreDataset,
    Sample,
    Volumes,
    load_volumes,
    magnitude_scan,
)
from kfine.training.muon import filters_of
from kfine.training.tasks.base import Group, Learner, LossStep, Objectives, Turn
from kfine.training.validation import write_sheet

FLOOR = 4e-6  # mean squared error, model units; 60 dB: what is missing below it is noise


class CoreObjective(nn.Module):
    """Least squares; each image counts relative to the error of its zero-filled scan, as a gain in dB does."""

    def __init__(self, network: CoreNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Sample) -> dict[str, Tensor]:
        """Return the loss, and the mean squared error relative to zero filling's on the same pieces."""
        predicted = self.network(sample.image, sample.unit, sample.facts)
        mse = (predicted - sample.target).square().mean((1, 2))
        filled = (sample.image - sample.target).square().mean((1, 2))
        loss = (mse / (sample.error + FLOOR)).mean()
        return {"loss": loss, "relative": mse.sum() / filled.sum().clamp_min(1e-12)}


@dataclass(frozen=True)
class Case:
    """A validation plane: its scan, and the group of figures that it counts in."""

    sample: Sample
    group: str


class CoreTask:
    """Train the core network, see `kfine.training.tasks.base.Task`.

    Args:
        config: the checked configuration.
        data: folder with the sources below it.
    """

    def __init__(self, config: CoreTrainingConfig, data: Path) -> None:
        self.config, self.data = config, data

    def open(self, *, resumed: bool, reports: bool) -> CoreNet:
        """Read the data and build the network."""
        self.volumes, validation = load_volumes(self.data, self.config.data)
        self.cases = validation_cases(validation, self.config.report) if reports else []
        self.network = CoreNet(**self.config.network.model_dump())
        if self.config.initial and not resumed:
            start_from(self.network, self.config.initial, method="core")
        return self.network

    def learners(self) -> dict[str, Learner]:
        """Return the one learner."""
        network, rate = self.network, self.config.optimiser.learning_rate
        filters: list[nn.Parameter] = []
        if self.config.optimiser.kind == "muon":
            filters = filters_of(network, without=[network.unet.stem, network.unet.head])
        chosen = {id(p) for p in filters}
        groups = [Group([p for p in network.parameters() if id(p) not in chosen], rate)]
        if filters:
            groups.append(Group(filters, rate, orthogonal=True))
        return {"network": Learner(network, CoreObjective(network), tuple(groups))}

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: the losses depend on the network alone."""
        return {}

    def hot_parts(self) -> list[nn.Module]:
        """Return the U-Net."""
        return [self.network.unet]

    def dataset(self, length: int) -> Dataset[Sample]:
        """Return so many pieces."""
        options = self.config.optimiser
        return CoreDataset(self.volumes, self.config.data, seed=options.seed, length=length)

    def descents(self, batch: Sample, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the one loss."""
        figures = objectives["network"](batch)
        yield LossStep("network", figures["loss"], figures)

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return, of each source and scale, the gain over zero filling (dB) of planes that training never sees."""
        gains: dict[str, list[float]] = {}
        for case in self.cases:
            target = case.sample.target
            wrong, filled = (
                (image - target).square().mean()
                for image in (self._restored(network, case, device), case.sample.image)
            )
            gains.setdefault(f"psnr_{case.group}", []).append(float(10 * torch.log10(filled / wrong)))
        return {name: float(np.mean(values)) for name, values in gains.items()}

    @torch.inference_mode()
    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG: in a row a plane's scan, its restoration and the truth."""
        size, rows = self.config.report.matrix, []
        for case in self.cases[:: max(1, len(self.cases) // 6)]:
            planes = (case.sample.image, self._restored(network, case, device), case.sample.target)
            rows.append(planes_of(planes, size))
        if rows:
            write_sheet(path, torch.cat(rows).numpy())

    def description(self) -> dict[str, Any]:
        """Return how the model was made."""
        learned = self.config.model_dump(mode="json", exclude={"network", "method", "report"})
        return {
            "method": self.config.method,
            "network": self.config.network.model_dump(mode="json"),
            "ranges": ranges_of_planes(self.volumes, self.config.data).model_dump(
                mode="json", exclude_none=True
            ),
            "training": learned,
        }

    def _restored(self, network: nn.Module, case: Case, device: torch.device) -> Tensor:
        sample = case.sample
        network.to(device)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=self.config.optimiser.precision == "bfloat16"
        ):
            batch = (part[None].to(device) for part in (sample.image, sample.unit, sample.facts))
            return network(*batch)[0].cpu()  # type: ignore[no-any-return]


def ranges_of_planes(volumes: Volumes, data: CoreDataConfig) -> Ranges:
    """Return the voxel sizes (mm, in plane) and scales of the training planes."""
    sizes: list[float] = []
    for group in volumes.groups:
        for volume in group:
            for axis in volume.reformats:
                sizes += [mm for side, mm in enumerate(volume.spacing) if side != axis]
    finest, coarsest = min(sizes) / data.resample[1], max(sizes) / data.resample[0]
    most = max(data.scan.scale[1], data.scan.one_axis_scale[1])
    return Ranges(voxel_size=(finest, coarsest), scale=(1.0, most))


def planes_of(planes: Sequence[Tensor], size: int) -> Tensor:
    """Return (size, count * size): the corner of each plane (row, column), side by side, air around smaller ones."""
    row = torch.full((size, len(planes) * size), -1.0)
    for number, plane in enumerate(planes):
        part = plane[:size, :size]
        row[: part.shape[0], number * size : number * size + part.shape[1]] = part
    return row


def start_from(network: nn.Module, initial: str, *, method: str) -> None:
    """Copy the weights of model `initial`, which has to be of `method`, into `network`.

    Raises:
        ModelError: unknown, damaged, or a model of another method or size.
    """
    model = load_model(initial)
    try:
        network.load_state_dict(model.network.state_dict())
    except RuntimeError:
        raise ModelError(
            f"model {model.name}: expected a network of method {method}, of the config's widths and blocks, to start "
            f"from, got method {model.method} with {model.config['network']}; correct initial or network"
        ) from None


def validation_cases(volumes: Volumes, report: CoreReportConfig) -> list[Case]:
    """Return middle planes of each group of volumes, scanned as magnitudes at each scale, without noise."""
    cases = []
    for number, group in enumerate(volumes.groups):
        for turn in range(report.planes):
            volume = group[turn % len(group)]
            voxels = volume.voxels
            place = (0.35, 0.5, 0.65)[(turn // len(group)) % 3] if len(voxels) > 1 else 0
            x = torch.from_numpy(voxels[int(place * len(voxels))])
            factor = min(1.0, report.matrix / max(x.shape))
            high = round(x.shape[0] * factor), round(x.shape[1] * factor)
            x = displayed_image(central_kspace(x, high), high).abs()
            if float((x > TISSUE).float().mean()) < 0.05:
                continue
            for scale in report.scales:
                low = round(high[0] / scale), round(high[1] / scale)
                generator = torch.Generator().manual_seed(number * 100 + turn)
                sample = magnitude_scan(x, Acquisition(low), generator=generator)
                cases.append(Case(sample, f"{volumes.names[number]}_x{scale:g}"))
    return cases
