"""Protocols of methods: from measurements of slices to samples of the slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class Draws:
    """Noise seeds, batch limit and progress callback of one call.

    Attributes:
        names: integers that identify each item of a batch.  They and k seed the noise of sample k, independent of the
            rest of the batch; deterministic methods draw none.
        at_once: greatest number of planes in one call of a network.  A network that works in time gets all frames of a
            slice in one call.
        side: greatest side of the tiles of the core network; None: that of `kfine.methods.core.in_tiles`.
        on_step: called with the number of new evaluations.
        on_equal_noise: called with the integers of a slice, if some noise of its frames is removed so that all of
            them have equal texture.
    """

    names: tuple[tuple[int, ...], ...]
    at_once: int = 1
    side: int | None = None
    on_step: Callable[[int], None] = lambda evaluations: None
    on_equal_noise: Callable[[tuple[int, ...]], None] = lambda name: None

    def seeds(self, samples: int) -> list[tuple[int, ...]]:
        """Return the integers that identify each sample, item by item."""
        return [(*name, sample) for name in self.names for sample in range(samples)]

    def batches(self, samples: int) -> Iterator[tuple[list[int], list[tuple[int, ...]]]]:
        """Yield item numbers and integers of the samples of all items, at most `at_once` samples at a time."""
        rows = [
            (number, (*name, sample)) for number, name in enumerate(self.names) for sample in range(samples)
        ]
        for first in range(0, len(rows), self.at_once):
            numbers, names = zip(*rows[first : first + self.at_once], strict=True)
            yield list(numbers), list(names)

    def named(self, names: Sequence[tuple[int, ...]]) -> Draws:
        """Return the same settings for the items with these `names`."""
        return replace(self, names=tuple(names))


class PlaneMethod(Protocol):
    """A method that restores planes, each from its own measurement."""

    @property
    def name(self) -> str:
        """Name in the command line and the provenance."""
        ...

    @property
    def samples(self) -> int:
        """Number of samples of each plane; 1 for a deterministic method."""
        ...

    @property
    def evaluations(self) -> int:
        """Evaluations a sample, for the progress; 1 for a deterministic method."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Settings, JSON-ready."""
        ...

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return the restored planes, sample by sample.

        Args:
            operator: A.
            y: measurements (batch, *operator.low), complex, in model units (air at -1) if the domain is real, and
                without that offset if it is complex.
            draws: noise seeds and limits of the batch.

        Returns:
            (batch, sample, *operator.high), in the units of `y`, on the CPU.
        """
        ...


class Method(Protocol):
    """A method that restores slices with all their frames, at measured or other times."""

    @property
    def name(self) -> str:
        """Name in the command line and the provenance."""
        ...

    @property
    def samples(self) -> int:
        """Number of samples of each slice; 1 for a deterministic method."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Settings, JSON-ready."""
        ...

    def evaluations(self, scan: Scan) -> int:
        """Return the number of evaluations of a slice, for the progress."""
        ...

    def restore(self, scan: Scan, y: Tensor, draws: Draws) -> Tensor:
        """Return the restored slices, sample by sample.

        Args:
            scan: operator of the measurement of a slice, and times of the restored frames.
            y: measurements (slice, measured frame, *scan.crop.low), complex, in the units of `PlaneMethod.restore`.
            draws: noise seeds and limits of the slices.

        Returns:
            (slice, sample, restored frame, *scan.crop.high), in the units of `y`, on the CPU.
        """
        ...
