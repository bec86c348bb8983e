"""What every method is: from the measurement of some planes to the planes, one sample or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from kfine.operators.kspace import KSpaceCrop


class Method(Protocol):
    """A way to restore planes.

    Attributes:
        name: how the command line and the provenance call it.
        samples: how many samples of each plane `restore` draws (1 for a deterministic method).
        evaluations: network evaluations a sample, for progress (1 for a deterministic method).
        options: what the provenance says of its settings.
    """

    name: str
    samples: int
    evaluations: int

    @property
    def options(self) -> dict[str, Any]:
        """The settings, JSON-ready."""
        ...

    def restore(
        self,
        operator: KSpaceCrop,
        y: Tensor,
        *,
        seeds: Sequence[Sequence[int]],
        on_step: Callable[[int], None],
    ) -> Tensor:
        """Return one restored plane for each measurement.

        Args:
            operator: A.
            y: measurements (batch, *operator.low), complex, in model units (air at -1) when the domain is
                real, and without that offset when it is complex.
            seeds: the integers that name each plane and sample; equal integers give equal noise.
            on_step: called with the number of evaluations just done.

        Returns:
            (batch, *operator.high), in the units of `y`, on the CPU.
        """
        ...
