"""Stages of a latent diffusion model of cines: data, validation, earlier stages."""

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
from kfine.training.stage_config import CineDataConfig, CineReportConfig
from kfine.training.validation import LDMValidation, cine_case, spread_over

Network = TypeVar("Network", bound=ResidualLDM)


class PiecesRunConfig(RunConfig, Protocol):
    """The configuration of a task that learns from pieces of cines."""

    @property
    def method(self) -> str:
        """What the model will serve."""
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
        """As pydantic's."""
        ...


# What each stage adds to the network, and the command that trains it.
STAGES = {"regressor": "cine-regression", "autoencoder": "vqgan", "denoiser": "cine-ldm"}


@dataclass(frozen=True)
class Supply:
    """Training items and validation slices of some folders.

    Attributes:
        ranges: what the training images are like, for config.json.
        dataset: gives so many training items.
        validation: None without validation subjects, or where nobody will ask.
    """

    ranges: dict[str, Any]
    dataset: Callable[[int], Dataset[Item]]
    validation: LDMValidation | None

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures, none without validation subjects."""
        return self.validation.figures(_checked(network), device) if self.validation else {}

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write the validation slices as a PNG, where there are any."""
        if self.validation:
            self.validation.sheet(_checked(network), path, device)


def supply_of(roots: Sequence[Path], config: PiecesRunConfig, *, reports: bool) -> Supply:
    """Return the supply of folders of DICOM series, NIfTI files or PNG pictures, as `config` says.

    reports: whether anybody will ask for `figures` and `picture`.
    """
    data, options = config.data, config.optimiser
    cines = find_cines(roots, data)
    return Supply(
        _ranges(cines.volumes, [cines.clips, cines.stills], data),
        dataset=lambda length: CineDataset(
            cines, data, batch=options.batch, seed=options.seed, length=length
        ),
        validation=_of_cines(cines, config.report) if reports and cines.validation else None,
    )


def stage_before(
    folder: Path, *, option: str, part: str, command: str, network: type[Network], validation: Sequence[str]
) -> tuple[Model, Network]:
    """Return the model of an earlier stage, and its network.

    Args:
        folder: the model folder that `option` named.
        option: for messages, for example "regression".
        part: of the network, which that stage has trained.
        command: that trains it.
        network: its class.
        validation: the subjects that this stage is validated on.

    Warns:
        UserWarning: the earlier stage, or one before it, was not told to leave these subjects out.

    Raises:
        ModelError: not a model, or not of that stage.
    """
    model = load_model(folder)
    found = model.network
    if not isinstance(found, network) or getattr(found, part) is None:
        raise ModelError(
            f"{option} {model.name}: expected a model of method {command}, got {model.method}; "
            f"give the folder that kfine train {command} made"
        )
    unkept = sorted(set(validation) - _kept_out(model.config))
    if unkept:
        warnings.warn(
            f"{option} {model.name}: was trained without leaving out {', '.join(unkept)}; if it learned from them, "
            "this run's validation says too much",
            UserWarning,
            stacklevel=2,
        )
    return model, found


def _kept_out(config: dict[str, Any]) -> set[str]:
    """Return the subjects that every stage in a model's record was told to leave out."""
    own = set(config.get("training", {}).get("data", {}).get("validation", ()))
    return own & _kept_out(config["earlier"]) if "earlier" in config else own


def frozen(part: nn.Module, source: nn.Module) -> None:
    """Fill `part` with the weights of `source`, and let it learn nothing more."""
    part.load_state_dict(source.state_dict())
    part.requires_grad_(False).eval()


def history(model: Model) -> dict[str, Any]:
    """Return what config.json of a later stage says of an earlier one: its making, weights and validation."""
    kept = ("training", "validation", "sha256", "earlier")
    return {"method": model.method} | {key: model.config[key] for key in kept if key in model.config}


def _ranges(
    volumes: Volumes, groups: Sequence[Sequence[Sequence[SliceRef]]], data: CineDataConfig
) -> dict[str, Any]:
    """Return the ranges of the images that the slices of `groups` are of."""
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


class SuppliedTask:
    """A `kfine.training.tasks.base.Task` whose items and validation its supply gives, once `open` has made it."""

    supply: Supply

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: all is in the network."""
        return {}

    def dataset(self, length: int) -> Dataset[Item]:
        """Return pieces of cines."""
        return self.supply.dataset(length)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the PSNRs of the baseline and of what the network's parts can do so far."""
        return self.supply.figures(network, device)

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write truth, baseline and results of the validation slices."""
        self.supply.picture(network, path, device)

    def described(
        self,
        config: PiecesRunConfig,
        network: Mapping[str, Any],
        *,
        earlier: Model | None = None,
        **training: Any,
    ) -> dict[str, Any]:
        """Return config.json's words on a run: the network's arguments, the stage before, and more on the training."""
        learned = config.model_dump(mode="json", exclude={"network", "method", "report"})
        told = {
            "method": config.method,
            "network": dict(network),
            "ranges": self.supply.ranges,
            "training": learned | training,
        }
        return told | ({"earlier": history(earlier)} if earlier else {})
