"""Zero filling: the measured k-space and nothing around it.  What the scan alone says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kfine.methods.base import Draws
from kfine.operators.kspace import KSpaceCrop


@dataclass(frozen=True)
class ZeroFilling:
    """The image of least norm that reproduces the measurement, x = A^+ y."""

    name: str = "zero-filling"
    samples: int = 1
    evaluations: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """Zero filling has none."""
        return {}

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return A^+ y, see `PlaneMethod.restore`."""
        x = operator.pseudo_inverse(y)
        draws.on_step(len(y))
        return x[:, None]
