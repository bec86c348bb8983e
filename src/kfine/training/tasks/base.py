"""Training task: networks, batches, losses and figures, as the loop needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kfine.training.config import BaseOptimiserConfig, RunConfig
from kfine.training.muon import filters_of

Objectives = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate.

    Attributes:
        parameters: of the learner's module.
        rate: their peak learning rate.
        orthogonal: whether they are filters whose steps are orthogonalised (`kfine.training.muon`).
    """

    parameters: list[nn.Parameter]
    rate: float
    orthogonal: bool = False


def groups_of(
    parts: Iterable[nn.Module], options: BaseOptimiserConfig, *, ends: Iterable[nn.Module]
) -> tuple[Group, ...]:
    """Return the groups of the parameters of `parts`: with Muon, their filters are a group of their own.

    Args:
        parts: modules that share no parameters.
        options: kind and rate of the optimiser.
        ends: first and last layers, whose weights are no filters of features.
    """
    parts, rate, filters = list(parts), options.learning_rate, list[nn.Parameter]()
    if options.kind == "muon":
        filters = [each for part in parts for each in filters_of(part, without=ends)]
    chosen = {id(each) for each in filters}
    rest = Group([each for part in parts for each in part.parameters() if id(each) not in chosen], rate)
    return (rest, Group(filters, rate, orthogonal=True)) if filters else (rest,)


@dataclass(frozen=True)
class Learner:
    """A network that has an optimiser of its own: Adam, or Muon if a group wants it.

    Attributes:
        module: what the checkpoint holds: all its parameters and buffers.
        objective: a module around it whose call gives its losses; Fabric spreads it over the devices.
        groups: the parameters that learn.
        betas: Adam's.
    """

    module: nn.Module
    objective: nn.Module
    groups: tuple[Group, ...]
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Turn:
    """One update: everything random in it comes from `generator`, which depends on (seed, step, process) alone.

    Attributes:
        step: the update's number, from 1.
        generator: on the CPU.
        to_device: moves tensors to where the networks are.
    """

    step: int
    generator: torch.Generator
    to_device: Callable[[Any], Any]


class LossStep(NamedTuple):
    """One loss to descend: `learner`'s optimiser takes a step along its gradient.

    `figures` are scalars for the log, means over the batch; the first one of a turn is shown as its loss.
    """

    learner: str
    loss: Tensor
    figures: dict[str, Tensor]


class Task(Protocol):
    """What a run trains.  The loop calls `open` first, then `learners`, then the others."""

    @property
    def config(self) -> RunConfig:
        """The checked configuration; the loop reads its parts `optimiser` and `report`."""
        ...

    def open(self, *, resumed: bool, reports: bool) -> nn.Module:
        """Read the data, build everything, and return the network that is averaged and saved as the model.

        Frozen parts of it have `requires_grad` off.

        Args:
            resumed: whether a checkpoint is loaded next; what it holds need not be measured.
            reports: whether this process will ask for `figures` and `picture`.
        """
        ...

    def learners(self) -> dict[str, Learner]:
        """Return what learns, by name; the first one is "network", the module that `open` gave."""
        ...

    def fixed(self) -> dict[str, nn.Module]:
        """Return what the losses depend on and no learner holds, by name: a run is resumed with the same alone."""
        ...

    def hot_parts(self) -> list[nn.Module]:
        """Return the modules worth compiling."""
        ...

    def dataset(self, length: int) -> Dataset[Any]:
        """Return `length` training items; item g depends on (seed, g) alone."""
        ...

    def descents(self, batch: Any, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the losses of an update, one after the other; each is descended before the next is asked for.

        Args:
            batch: collated items, on the device.
            objectives: the learners' objectives by name, as spread over the devices.
            turn: the update.
        """
        ...

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures of the averaged network; none where there is nothing to validate on."""
        ...

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG that shows what the averaged network can do."""
        ...

    def description(self) -> dict[str, Any]:
        """Return what config.json says of the model: method, network, sampling, how it was made."""
        ...
