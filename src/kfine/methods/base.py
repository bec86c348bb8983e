"""What every method is: from the measurement of some planes to the planes, one sample or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from kfine.operators.kspace import KSpaceCrop


class Method(Protocol):
    """A way to restore planes."""

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

    def restore(
        self,
        operator: KSpaceCrop,
        y: Tensor,
        *,
        seeds: Sequence[Sequence[Sequence[int]]],
        at_once: int,
        on_step: Callable[[int], None],
    ) -> Tensor:
        """Return the restored planes, sample by sample.

        Args:
            operator: A.
            y: measurements (batch, *operator.low), complex, in model units (air at -1) when the domain is
                real, and without that offset when it is complex.
            seeds: for each measurement the integers that name each sample to draw; equal integers give equal
                noise.  As many samples for each; a deterministic method looks at none of them.
            at_once: greatest number of planes a network sees in one call.
            on_step: called with the number of evaluations just done.

        Returns:
            (batch, sample, *operator.high), in the units of `y`, on the CPU.
        """
        ...
