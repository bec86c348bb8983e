"""Settings of a restoration, the same for every image of a batch.  Light, for the command line's help needs it."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kfine.models.checkpoint import Model


@dataclass(frozen=True)
class Settings:
    """The options of `kfine.restore` that decide its voxels, and `force`.

    Attributes:
        force: whether derived images and results of kfine are restored.
    """

    scale: float | None = None
    matrix: tuple[int, int] | None = None
    frames_scale: int | None = None
    frames: int | None = None
    time_method: str | None = None
    noise: float | Literal["data"] = 0.0
    denoise: bool = False
    method: str = "auto"
    model: str | os.PathLike[str] | Model | None = None
    samples: int | None = None
    steps: int | None = None
    strength: float = 1.0
    sampler: str | None = None
    start: float | None = None
    conditioned: bool | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    force: bool = False

    def normal(self) -> Settings:
        """Return the same with each number of its own type: 2 for a scale is 2.0, a matrix is a pair."""

        def number(value: Any) -> Any:
            return value if value is None or value == "data" else float(value)

        numbers = {name: number(getattr(self, name)) for name in ("scale", "noise", "strength", "start")}
        matrix = None if self.matrix is None else (int(self.matrix[0]), int(self.matrix[1]))
        return replace(self, **numbers, matrix=matrix, seed=int(self.seed))

    @property
    def in_time(self) -> bool:
        """Whether other frames are restored."""
        return self.frames is not None or self.frames_scale is not None

    @property
    def label(self) -> str:
        """What tells the output's name from that of other options: "_x2", "_256x192_vdm", "_x2_20frames"."""
        parts = [f"x{self.scale:g}".replace(".", "p")] if self.scale is not None else []
        parts += [f"{self.matrix[0]}x{self.matrix[1]}"] if self.matrix is not None else []
        parts += [f"{self.frames_scale}xframes"] if self.frames_scale is not None else []
        parts += [f"{self.frames}frames"] if self.frames is not None else []
        parts += [self.method] if self.method != "auto" else []
        return "".join(f"_{part}" for part in parts)

    @property
    def of_restore(self) -> dict[str, Any]:
        """The arguments of `kfine.restore`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "force"}
