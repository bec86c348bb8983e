"""Protocols of methods: from the measurement of slices to samples of the slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.methods.tiles import SIDE
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class Draws:
    """Noise seeds, batch limit and progress callback of one call.

    Attributes:
        names: for each item of a batch the integers that name it.  Sample k of it draws the noise that they and k
            seed, whatever else is in the batch; a deterministic method draws none.
        at_once: greatest number of planes a network sees in one call; one that works in time sees all frames of a
            slice, however many.
        side: greatest side of the tiles of the core network, see `in_tiles`.
        on_step: called with the number of evaluations just done.
    """

    names: tuple[tuple[int, ...], ...]
    at_once: int = 1
    side: int = SIDE
    on_step: Callable[[int], None] = lambda evaluations: None

    def seeds(self, samples: int) -> list[tuple[int, ...]]:
        """Return the integers that name each sample, item by item."""
        return [(*name, sample) for name in self.names for sample in range(samples)]

    def named(self, names: Sequence[tuple[int, ...]]) -> Draws:
        """Return the same for the items that have these `names`."""
        return replace(self, names=tuple(names))


class PlaneMethod(Protocol):
    """A way to restore planes, each from its own measurement."""

    @property
    def name(self) -> str:
        """How the command line and the provenance call it."""
        ...

    @property
    def samples(self) -> int:
        """How many samples of each plane are drawn; 1 for a deterministic method."""
        ...

    @property
    def evaluations(self) -> int:
        """Evaluations a sample, for progress; 1 for a deterministic method."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        ...

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the restored planes, sample by sample.

        Args:
            operator: A.
            y: measurements (batch, *operator.low), complex, in model units (air at -1) when the domain is
                real, and without that offset when it is complex.
            draws: of the batch.

        Returns:
            (batch, sample, *operator.high), in the units of `y`, on the CPU.
        """
        ...


class Method(Protocol):
    """A way to restore slices: every frame of them, at the times measured or at others."""

    @property
    def name(self) -> str:
        """How the command line and the provenance call it."""
        ...

    @property
    def samples(self) -> int:
        """How many samples of each slice are drawn; 1 for a deterministic method."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        ...

    def evaluations(self, scan: Scan) -> int:
        """Return how many evaluations a slice takes, for progress."""
        ...

    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the restored slices, sample by sample.

        Args:
            scan: what was measured of a slice, and which frames are asked for.
            y: measurements (slice, measured frame, *scan.crop.low), complex, in the units of `PlaneMethod.restore`.
            draws: of the slices.

        Returns:
            (slice, sample, restored frame, *scan.crop.high), in the units of `y`, on the CPU.
        """
        ...
