"""Base of the stages of latent diffusion models: data and validation of cines, models of earlier stages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.utils.data import Dataset

from kfine.errors import ModelError
from kfine.methods.ldm import LDMOptions
from kfine.models.checkpoint import Model, load_model
from kfine.models.domain import trained_ranges
from kfine.networks.ldm import CineLDM, ResidualLDM
from kfine.training.config import RunConfig
from kfine.training.data.cines import CineDataset, Cines, find_cines
from kfine.training.data.patches import Item
from kfine.training.data.volumes import SliceRef, Volumes
from kfine.training.ldm_config import CineDataConfig, CineReportConfig
from kfine.training.validation import LDMValidation, cine_case, spread_over

Network = TypeVar("Network", bound=ResidualLDM)


class PiecesRunConfig(RunConfig, Protocol):
    """The configuration of a task that learns from pieces of cines."""

    @property
    def method(self) -> str:
        """The method of the model."""
        ...

    @property
    def data(self) -> CineDataConfig:
        """Cines and their degradation."""
        ...

    @property
    def report(self) -> CineReportConfig:
        """The validation."""
        ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]:
        """See `pydantic.BaseModel.model_dump`."""
        ...


# The part of the network that each stage adds, and the command that trains it.
STAGES = {"regressor": "cine-regression", "autoencoder": "vqgan", "denoiser": "cine-ldm"}


@dataclass(frozen=True)
class CineTrainingData:
    """Training items and validation slices of some folders.

    Attributes:
        ranges: ranges of properties of the training images, for config.json.
        dataset: returns a number of training items.
        validation: None without validation subjects, or if this process writes no reports.
    """

    ranges: dict[str, Any]
    dataset: Callable[[int], Dataset[Item]]
    validation: LDMValidation | None

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures, {} without validation."""
        return self.validation.figures(_checked(network), device) if self.validation else {}

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write the validation slices as a PNG, if there are any."""
        if self.validation:
            self.validation.sheet(_checked(network), path, device)


def load_cine_data(roots: Sequence[Path], config: PiecesRunConfig, *, reports: bool) -> CineTrainingData:
    """Return the training data in folders of DICOM series, NIfTI files or PNG pictures.

    reports: whether this process will call `figures` and `picture`.
    """
    data, options = config.data, config.optimiser
    cines = find_cines(roots, data)
    return CineTrainingData(
        _ranges(cines.volumes, [cines.clips, cines.stills], data),
        dataset=lambda length: CineDataset(
            cines, data, batch=options.batch, seed=options.seed, length=length
        ),
        validation=_of_cines(cines, config.report) if reports and cines.validation else None,
    )


def load_earlier_stage(
    folder: Path, *, option: str, part: str, command: str, network: type[Network], validation: Sequence[str]
) -> tuple[Model, Network]:
    """Return the model of an earlier stage, and its network.

    Args:
        folder: the model folder.
        option: name of the option with this folder, for messages, for example "regression".
        part: name of the network's part that the earlier stage trained.
        command: that trains it.
        network: class of the network.
        validation: the validation subjects of this stage.

    Warns:
        UserWarning: the earlier stage, or one before it, did not leave these subjects out.

    Raises:
        ModelError: no model, or not of that stage.
    """
    model = load_model(folder)
    found = model.network
    if not isinstance(found, network) or getattr(found, part) is None:
        raise ModelError(
            f"{option} {model.name}: expected a model of method {command}, got {model.method}; "
            f"give the folder that kfine train {command} made"
        )
    included = sorted(set(validation) - _left_out(model.config))
    if included:
        warnings.warn(
            f"{option} {model.name}: was trained without leaving out {', '.join(included)}; if it learned from them, "
            "this run's validation is too optimistic",
            UserWarning,
            stacklevel=2,
        )
    return model, found


def _left_out(config: dict[str, Any]) -> set[str]:
    """Return the subjects that a model and all its earlier stages left out of training."""
    subjects = set(config.get("training", {}).get("data", {}).get("validation", ()))
    return subjects & _left_out(config["earlier"]) if "earlier" in config else subjects


def frozen(part: nn.Module, source: nn.Module) -> None:
    """Copy the weights of `source` into `part` and freeze it."""
    part.load_state_dict(source.state_dict())
    part.requires_grad_(False).eval()


def history(model: Model) -> dict[str, Any]:
    """Return the entry of a later stage's config.json for an earlier one: training, validation and weights."""
    keys = ("training", "validation", "sha256", "earlier")
    return {"method": model.method} | {key: model.config[key] for key in keys if key in model.config}


def _ranges(
    volumes: Volumes, groups: Sequence[Sequence[Sequence[SliceRef]]], data: CineDataConfig
) -> dict[str, Any]:
    """Return the ranges of the images of the slices in `groups`."""
    paths = [slices[0].path for group in groups for slices in group]
    return trained_ranges(
        [volumes.ranges[path] for path in paths],
        scale=data.scale[1],
        brightness=data.brightness,
    )


def _of_cines(cines: Cines, report: CineReportConfig) -> LDMValidation:
    refs = spread_over(cines.validation, report.slices)
    return LDMValidation(
        [cine_case(cines.volumes, ref, report) for ref in refs],
        sampling=LDMOptions(steps=report.steps, samples=report.samples),
        baseline="flow",
        frame=1 if report.every > 1 else 0,
    )


def _checked(network: nn.Module) -> CineLDM:
    assert isinstance(network, CineLDM)
    return network


class CineTask:
    """Base of a `kfine.training.tasks.base.Task` with items and validation from `cine_data`, which `open` sets."""

    cine_data: CineTrainingData

    def fixed(self) -> dict[str, nn.Module]:
        """Return {}: the network holds all modules."""
        return {}

    def dataset(self, length: int) -> Dataset[Item]:
        """Return pieces of cines."""
        return self.cine_data.dataset(length)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the PSNRs of the baseline and of the images of the network's parts."""
        return self.cine_data.figures(network, device)

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write truth, baseline and results of the validation slices."""
        self.cine_data.picture(network, path, device)

    def described(
        self,
        config: PiecesRunConfig,
        network: Mapping[str, Any],
        *,
        earlier: Model | None = None,
        **training: Any,
    ) -> dict[str, Any]:
        """Return the content of config.json: arguments of the network, training, and the earlier stage."""
        settings = config.model_dump(mode="json", exclude={"network", "method", "report"})
        content = {
            "method": config.method,
            "network": dict(network),
            "ranges": self.cine_data.ranges,
            "training": settings | training,
        }
        return content | ({"earlier": history(earlier)} if earlier else {})
