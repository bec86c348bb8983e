"""Base of tasks that learn from random scans of single planes: data, validation, initial weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.degradation.scanner import Acquisition, central_kspace, displayed_image
from kfine.errors import ModelError
from kfine.models.checkpoint import Model, load_model
from kfine.models.devices import choose_precision
from kfine.models.domain import TISSUE, Ranges
from kfine.networks.core import CoreNet
from kfine.training.config import CoreDataConfig, CoreReportConfig, RunConfig
from kfine.training.data.core_patches import (
    CoreDataset,
    Sample,
    Volumes,
    load_volumes,
    magnitude_scan,
)
from kfine.training.validation import write_sheet


class ScansRunConfig(RunConfig, Protocol):
    """The configuration of a task that learns from scans of planes."""

    @property
    def method(self) -> str:
        """The method of the model."""
        ...

    @property
    def data(self) -> CoreDataConfig:
        """Images and scans."""
        ...

    @property
    def report(self) -> CoreReportConfig:
        """The validation."""
        ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]:
        """See `pydantic.BaseModel.model_dump`."""
        ...


Config = TypeVar("Config", bound=ScansRunConfig)


@dataclass(frozen=True)
class Case:
    """A validation plane: its scan, its source and its scale."""

    sample: Sample
    source: str
    scale: str


class ScanTask(ABC, Generic[Config]):
    """Abstract base of a `kfine.training.tasks.base.Task` on random scans of planes, which `load` reads.

    Attributes:
        config: the validated configuration.
        data: folder with the sources below it.
    """

    config: Config
    data: Path
    BY_SOURCE: ClassVar[bool] = (
        False  # whether validation figures are means over each source or over all planes
    )

    def load(self, *, reports: bool) -> None:
        """Read the images, and scan the validation planes if this process writes `reports`."""
        self.volumes, validation = load_volumes(self.data, self.config.data)
        self.cases = validation_cases(validation, self.config.report) if reports else []

    def fixed(self) -> dict[str, nn.Module]:
        """Return {}: the losses depend on the network only."""
        return {}

    def dataset(self, length: int) -> Dataset[Sample]:
        """Return `length` pieces."""
        return CoreDataset(self.volumes, self.config.data, seed=self.config.optimiser.seed, length=length)

    @abstractmethod
    def restored(self, network: nn.Module, sample: Sample, number: int) -> dict[str, Tensor]:
        """Return the images (row, column) that the network restores from case `number` (a batch of one), by name."""

    @torch.inference_mode()
    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return gains over zero filling (dB) and sharpness of the validation planes.

        Keys are "psnr_" and the name of the image, or of the source with `BY_SOURCE`, and the scale; "sharpness_" is
        the energy of the finest detail relative to the reference.
        """
        sums: dict[str, list[float]] = {}
        for number, case in enumerate(self.cases):
            target = case.sample.target
            filled = (case.sample.image - target).square().mean()
            for name, x in self._restored(network, number, device).items():
                group = f"{case.source if self.BY_SOURCE else name}_{case.scale}"
                gain = 10 * torch.log10(filled / (x - target).square().mean())
                sums.setdefault(f"psnr_{group}", []).append(float(gain))
                if not self.BY_SOURCE:
                    ratio = roughness(x) / roughness(target).clamp_min(1e-9)
                    sums.setdefault(f"sharpness_{group}", []).append(float(ratio))
        return {name: float(np.mean(values)) for name, values in sums.items()}

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG with a row for each plane: scan, restored images, truth."""
        rows = self.picture_rows(network, device)
        if rows:
            write_sheet(path, torch.cat(rows).numpy())

    @torch.inference_mode()
    def picture_rows(self, network: nn.Module, device: torch.device) -> list[Tensor]:
        """Return the rows of the picture, see `planes_of`."""
        rows = []
        for number in range(0, len(self.cases), max(1, len(self.cases) // 6)):
            sample = self.cases[number].sample
            restored = self._restored(network, number, device).values()
            rows.append(planes_of((sample.image, *restored, sample.target), self.config.report.matrix))
        return rows

    def described(self, network: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Return the content of config.json: see `run_description`, and `more`."""
        return run_description(self.config, self.volumes, network) | more

    def _restored(self, network: nn.Module, number: int, device: torch.device) -> dict[str, Tensor]:
        network.to(device)
        precision = choose_precision(self.config.optimiser.precision, device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            sample = Sample(*(part[None].to(device) for part in self.cases[number].sample))
            restored = self.restored(network, sample, number)
        return {name: x.float().cpu() for name, x in restored.items()}


def run_description(config: ScansRunConfig, volumes: Volumes, network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of config.json: method, arguments of the network, ranges, training."""
    left_out = {"network", "method", "report", "core"}
    return {
        "method": config.method,
        "network": dict(network),
        "ranges": ranges_of_planes(volumes, config.data).model_dump(mode="json", exclude_none=True),
        "training": config.model_dump(mode="json", exclude=left_out),
    }


def core_model(name: str) -> Model:
    """Return the model `name`, or raise `ModelError` if it is no core network."""
    model = load_model(name)
    if not isinstance(model.network, CoreNet):
        raise ModelError(f"model {model.name}: expected a model of method core, got method {model.method}")
    return model


def reference(core: Model) -> dict[str, str]:
    """Return the entry for `core` in config.json of a model around it."""
    return {"name": core.name, "sha256": core.digest}


def roughness(x: Tensor) -> Tensor:
    """Return the mean square of `x`'s (row, column) discrete Laplacian."""
    middle = x[1:-1, 1:-1]
    return (4 * middle - x[:-2, 1:-1] - x[2:, 1:-1] - x[1:-1, :-2] - x[1:-1, 2:]).square().mean()


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
    """Return (size, count * size): a corner of each plane (row, column), side by side, smaller ones padded with air."""
    row = torch.full((size, len(planes) * size), -1.0)
    for number, plane in enumerate(planes):
        part = plane[:size, :size]
        row[: part.shape[0], number * size : number * size + part.shape[1]] = part
    return row


def start_from(network: nn.Module, initial: str, *, method: str) -> None:
    """Copy the weights of model `initial`, of the same `method`, into `network`, except those of a core network.

    Raises:
        ModelError: unknown, damaged, or a model of another method or size.
    """
    model = load_model(initial)
    weights, current = (
        {name: tensor for name, tensor in each.state_dict().items() if not name.startswith("core.")}
        for each in (model.network, network)
    )
    if {name: tensor.shape for name, tensor in weights.items()} != {n: t.shape for n, t in current.items()}:
        raise ModelError(
            f"model {model.name}: expected a network of method {method}, of the config's widths and blocks, to start "
            f"from, got method {model.method} with {model.config['network']}; correct initial or network"
        )
    network.load_state_dict(weights, strict=False)


def validation_cases(volumes: Volumes, report: CoreReportConfig) -> list[Case]:
    """Return middle planes of each group of volumes, scanned as noise-free magnitudes at each scale."""
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
                cases.append(Case(sample, volumes.names[number], f"x{scale:g}"))
    return cases
