"""What the three stages of the cine system share: the data, the validation and the stages before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kfine.checkpoint import Model, load_model
from kfine.errors import ModelError
from kfine.networks.cine_ldm import CineLDM
from kfine.training.cine_config import CineDataConfig, CineReportConfig
from kfine.training.cine_data import find_cines
from kfine.training.cine_items import CineDataset
from kfine.training.cine_validation import CineValidation
from kfine.training.config import BaseOptimiserConfig


class CineSupply:
    """Training items and validation slices of some folders.

    Args:
        roots: folders of DICOM series, NIfTI files or PNG pictures.
        data: what to take of them.
        optimiser: batch and seed.
        report: the validation; None where nobody will ask for it.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        data: CineDataConfig,
        optimiser: BaseOptimiserConfig,
        report: CineReportConfig | None,
    ) -> None:
        self._data, self._optimiser = data, optimiser
        self.cines = find_cines(roots, data)
        self._validation = CineValidation(self.cines, report) if report and self.cines.validation else None

    def dataset(self, length: int) -> CineDataset:
        """Return `length` training items."""
        options = self._optimiser
        return CineDataset(self.cines, self._data, batch=options.batch, seed=options.seed, length=length)

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures, none without validation cines."""
        return self._validation.figures(_cine(network), device) if self._validation else {}

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write the validation slices as a PNG, where there are any."""
        if self._validation:
            self._validation.sheet(_cine(network), path, device)


def stage_before(folder: Path, *, option: str, autoencoder: bool) -> tuple[Model, CineLDM]:
    """Return the model of an earlier stage, and its network.

    Args:
        folder: the model folder that `option` named.
        option: for messages, for example "--regression".
        autoencoder: whether it must have an autoencoder.

    Raises:
        ModelError: not a model, or not of that stage.
    """
    model = load_model(folder)
    network = model.network
    if not isinstance(network, CineLDM) or (autoencoder and network.autoencoder is None):
        wanted = "vqgan" if autoencoder else "cine-regression"
        raise ModelError(
            f"{option} {model.name}: expected a model of method {wanted}, got {model.method}; "
            f"give the folder that kfine train {wanted} made"
        )
    return model, network


def frozen(part: nn.Module, source: nn.Module) -> None:
    """Fill `part` with the weights of `source`, and let it learn nothing more."""
    part.load_state_dict(source.state_dict())
    part.requires_grad_(False).eval()


def history(model: Model) -> dict[str, Any]:
    """Return what config.json of a later stage says of an earlier one: its making, weights and validation."""
    kept = ("training", "validation", "sha256", "earlier")
    return {"method": model.method} | {key: model.config[key] for key in kept if key in model.config}


def _cine(network: nn.Module) -> CineLDM:
    assert isinstance(network, CineLDM)
    return network
