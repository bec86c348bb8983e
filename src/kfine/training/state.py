"""The state of a training run on disk: one safetensors file, replaced atomically, enough to go on exactly."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from kfine.checkpoint import read_tensors, replace_bytes
from kfine.errors import ModelError


class Ema:
    """The running mean of a network's weights; its decay rises to `decay` as steps pass."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` updates."""
        rate = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in network.named_parameters():
            self.weights[name].lerp_(parameter.detach(), rate)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Write the mean into `network`."""
        for name, parameter in network.named_parameters():
            parameter.copy_(self.weights[name])


def save_state(
    path: Path, *, network: nn.Module, ema: Ema, optimiser: torch.optim.Optimizer, step: int
) -> None:
    """Write everything that the next step depends on."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {f"network.{name}": p for name, p in network.named_parameters()}
    tensors |= {f"ema.{name}": p for name, p in ema.weights.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in moments.items()}
    tensors["step"] = torch.tensor(step)
    replace_bytes(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def load_state(path: Path, *, network: nn.Module, ema: Ema, optimiser: torch.optim.Optimizer) -> int:
    """Restore what `save_state` wrote and return the number of finished steps.

    Raises:
        ModelError: damaged, or of another network.
    """
    tensors = read_tensors(path)
    try:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(tensors[f"network.{name}"])
                ema.weights[name].copy_(tensors[f"ema.{name}"])
        optimiser.load_state_dict(optimiser.state_dict() | {"state": _moments(tensors)})
        return int(tensors["step"])
    except (KeyError, RuntimeError, ValueError):
        raise ModelError(
            f"{path.name}: the checkpoint is of another network; train into a fresh folder"
        ) from None


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = tensor
    return moments
