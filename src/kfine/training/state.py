"""State of a training run on disk: one safetensors file, written atomically, from which the run resumes exactly."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kfine.errors import ModelError
from kfine.models.checkpoint import replace_bytes
from kfine.models.tensors import metadata_of, read_tensors

_DIGEST = "sha256"
_STAGE = "model of the stage before"
_FROZEN = {"features": "set of features"}  # frozen modules that are not of an earlier stage, by name


class Ema:
    """The running mean of the trainable weights; its decay increases to `decay` over the first steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in _learned(network)}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the mean with the weights after `step` updates."""
        rate = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, parameter in _learned(network):
            self.weights[name].lerp_(parameter.detach(), rate)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        """Write the mean into `network`."""
        for name, parameter in _learned(network):
            parameter.copy_(self.weights[name])


@dataclass(frozen=True)
class State:
    """Everything that the next update depends on.

    Attributes:
        modules: the networks by name, including "network"; all parameters and buffers are stored, and frozen ones must
            be unchanged when a run is resumed.
        optimisers: by the same names.
        ema: the running mean of "network".
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    ema: Ema

    def save(self, path: Path, *, step: int) -> None:
        """Write the state after `step` updates."""
        from safetensors.torch import save

        tensors = dict(self._weights())
        for name, optimiser in self.optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{_moments_of(name)}.{index}.{key}": value for key, value in moments.items()}
        tensors["step"] = torch.tensor(step)
        plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        replace_bytes(path, save(plain, metadata={_DIGEST: _digest(plain)}))

    def load_latest(self, path: Path, before: Path) -> int:
        """Restore the checkpoint `path`, or `before` if it is damaged; return the number of finished updates.

        Warns:
            UserWarning: `before` is used.

        Raises:
            ModelError: both are damaged; for other reasons see `load`.
        """
        try:
            tensors = _read(path)
        except ModelError as error:
            if not before.exists():
                raise
            reason = str(error)
        else:
            return self._restore(tensors, path)
        try:
            tensors = _read(before)
        except ModelError:
            raise ModelError(
                f"{path.name} and {before.name}: both are damaged; train into a fresh folder"
            ) from None
        step = self._restore(tensors, before)
        warnings.warn(f"{reason}: {before.name}, of update {step}, is used", UserWarning, stacklevel=2)
        return step

    def load(self, path: Path) -> int:
        """Restore a file of `save` and return the number of finished updates.

        Raises:
            ModelError: the file is damaged, of another network, or has other frozen parts.
        """
        return self._restore(_read(path), path)

    def _restore(self, tensors: dict[str, Tensor], path: Path) -> int:
        try:
            self._check(tensors, path)
            with torch.no_grad():
                for name, tensor in self._weights():
                    tensor.copy_(tensors[name])
            for name, optimiser in self.optimisers.items():
                moments = _nested(tensors, f"{_moments_of(name)}.")
                optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
                _lay_out(optimiser)
            return int(tensors["step"])
        except (KeyError, RuntimeError, ValueError):
            raise ModelError(
                f"{path.name}: the checkpoint is of another network; train into a fresh folder"
            ) from None

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name in the file, tensor) of everything except moments and step."""
        yield from ((f"ema.{name}", weight) for name, weight in self.ema.weights.items())
        for name, module in self.modules.items():
            yield from ((f"{name}.{part}", tensor) for part, tensor in _tensors(module))

    def _check(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Raise an error if `tensors` belong to other networks; a subset of a larger network would load silently."""
        ours = {name: tensor.shape for name, tensor in self._weights()}
        moments = tuple(f"{_moments_of(name)}." for name in self.optimisers)
        theirs = {
            name: tensor.shape
            for name, tensor in tensors.items()
            if name != "step" and not name.startswith(moments)
        }
        if ours != theirs:
            current, stored = ({name.split(".")[0] for name in names} for names in (ours, theirs))
            if current ^ stored == {"features"}:
                used, more = (
                    ("with", "give them again") if "features" in stored else ("without", "leave them out")
                )
                raise ModelError(
                    f"{path.name}: the checkpoint was made {used} features; {more}, or train into a fresh folder"
                )
            raise ValueError("other names or shapes")
        for name, module in self.modules.items():
            for part, parameter in module.named_parameters():
                if not (parameter.requires_grad or torch.equal(parameter.cpu(), tensors[f"{name}.{part}"])):
                    raise ModelError(
                        f"{path.name}: the checkpoint was made with another {_FROZEN.get(name, _STAGE)} than the "
                        "one given; give that one, or train into a fresh folder"
                    )


def is_sound(path: Path) -> bool:
    """Return whether an undamaged checkpoint exists at `path`."""
    try:
        _read(path)
    except ModelError:
        return False
    return True


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, or raise `ModelError` if it is missing or damaged.

    Checkpoints of earlier versions have no digest; their content is not checked.
    """
    tensors = read_tensors(path)
    digest = metadata_of(path).get(_DIGEST)
    if digest is not None and digest != _digest(tensors):
        raise ModelError(f"{path.name}: the checkpoint is damaged: its content is not what was written")
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names and values of the tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _learned(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _moments_of(name: str) -> str:
    """Return the prefix of an optimiser's moments.

    >>> _moments_of("network"), _moments_of("discriminator")
    ('optimiser', 'discriminator-optimiser')
    """
    return "optimiser" if name == "network" else f"{name}-optimiser"


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Give Adam's moments the memory format of their weights; fused Adam assumes it without checking."""
    for parameter, moments in optimiser.state.items():
        for key, value in moments.items():
            if value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)


def _nested(tensors: dict[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".")
            moments.setdefault(int(index), {})[key] = tensor
    return moments
