"""What the tasks that learn from pieces of images do alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from kfine.models.checkpoint import Model
from kfine.training.data.patches import Item
from kfine.training.tasks.stage import PiecesRunConfig, Supply, history


class SuppliedTask:
    """A `kfine.training.tasks.base.Task` whose items and validation its supply gives, once `open` has made it."""

    supply: Supply

    def fixed(self) -> dict[str, nn.Module]:
        """Return nothing: all is in the network."""
        return {}

    def dataset(self, length: int) -> Dataset[Item]:
        """Return pieces of cines or of stills."""
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
