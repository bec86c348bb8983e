"""A method of slices as a method of planes: each plane is a slice of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kfine.acquisition.scan import Scan, Timing
from kfine.methods.base import Draws, Method
from kfine.operators.kspace import KSpaceCrop

_ONE = Timing.unchanged((0.0,), None)


@dataclass(frozen=True)
class OneFrame:
    """Restore planes by `method`, see `kfine.methods.base.PlaneMethod`.

    Attributes:
        method: knows only still images.
        evaluations: of a sample.
    """

    method: Method
    evaluations: int = 1

    @property
    def name(self) -> str:
        """That of the method."""
        return self.method.name

    @property
    def samples(self) -> int:
        """Samples of each plane."""
        return self.method.samples

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the method."""
        return self.method.options

    def restore(self, operator: KSpaceCrop, y: Tensor, draws: Draws) -> Tensor:
        """Return samples of each plane, see `PlaneMethod.restore`."""
        return self.method.restore(Scan(operator, _ONE), y[:, None], draws)[:, :, 0]
