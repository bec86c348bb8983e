"""Interface of training tasks: networks, batches, losses and figures."""

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
    """Parameters with a common learning rate.

    Attributes:
        parameters: of the learner's module.
        rate: peak learning rate.
        orthogonal: whether they are filters with orthogonalised updates (`kfine.training.muon`).
    """

    parameters: list[nn.Parameter]
    rate: float
    orthogonal: bool = False


def groups_of(
    parts: Iterable[nn.Module], options: BaseOptimiserConfig, *, ends: Iterable[nn.Module]
) -> tuple[Group, ...]:
    """Return the groups of the parameters of `parts`; with Muon, filters are a separate group.

    Args:
        parts: modules without shared parameters.
        options: kind and rate of the optimiser.
        ends: first and last layers, whose weights do not count as filters.
    """
    parts, rate, filters = list(parts), options.learning_rate, list[nn.Parameter]()
    if options.kind == "muon":
        filters = [each for part in parts for each in filters_of(part, without=ends)]
    chosen = {id(each) for each in filters}
    rest = Group([each for part in parts for each in part.parameters() if id(each) not in chosen], rate)
    return (rest, Group(filters, rate, orthogonal=True)) if filters else (rest,)


@dataclass(frozen=True)
class Learner:
    """A network with its optimiser: Adam, or Muon if a group is orthogonal.

    Attributes:
        module: the network; all parameters and buffers are in the checkpoint.
        objective: a module around it that computes the losses; Fabric distributes it over the devices.
        groups: the trainable parameters.
        betas: of Adam.
    """

    module: nn.Module
    objective: nn.Module
    groups: tuple[Group, ...]
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Turn:
    """One update of the weights; all its random numbers come from `generator`.

    Attributes:
        step: number of the update, from 1.
        generator: on the CPU, seeded by (seed, step, process).
        to_device: moves tensors to the device of the networks.
    """

    step: int
    generator: torch.Generator
    to_device: Callable[[Any], Any]


class LossStep(NamedTuple):
    """One loss, for a step of the optimiser of `learner`.

    `figures` are scalars for the log, means over the batch; the first one of an update is displayed as its loss.
    """

    learner: str
    loss: Tensor
    figures: dict[str, Tensor]


class Task(Protocol):
    """A training task.  The loop calls `open` first, then `learners`, then the others."""

    @property
    def config(self) -> RunConfig:
        """The validated configuration; the loop reads its parts `optimiser` and `report`."""
        ...

    def open(self, *, resumed: bool, reports: bool) -> nn.Module:
        """Read the data, build the networks, and return the one that is averaged and saved as the model.

        Its frozen parts have `requires_grad` off.

        Args:
            resumed: whether a checkpoint is loaded next, so that its content need not be computed.
            reports: whether this process will call `figures` and `picture`.
        """
        ...

    def learners(self) -> dict[str, Learner]:
        """Return the learners by name; the first is "network", with the module that `open` returned."""
        ...

    def fixed(self) -> dict[str, nn.Module]:
        """Return frozen modules outside the learners, by name; a run can only be resumed with the same ones."""
        ...

    def hot_parts(self) -> list[nn.Module]:
        """Return the modules that are worth compiling."""
        ...

    def dataset(self, length: int) -> Dataset[Any]:
        """Return `length` training items; item g depends on (seed, g) only."""
        ...

    def descents(self, batch: Any, objectives: Objectives, turn: Turn) -> Iterator[LossStep]:
        """Yield the losses of an update; the optimiser takes its step before the next loss is computed.

        Args:
            batch: collated items, on the device.
            objectives: the learners' objectives by name, as set up by Fabric.
            turn: the update.
        """
        ...

    def figures(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Return validation figures of the averaged network; {} without validation data."""
        ...

    def picture(self, network: nn.Module, path: Path, device: torch.device) -> None:
        """Write a PNG of validation results of the averaged network."""
        ...

    def description(self) -> dict[str, Any]:
        """Return the content of config.json: method, network, sampling, training."""
        ...
