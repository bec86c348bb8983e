"""The table "uncertainty" of a model's config.json: errors on held-out subjects, in units of the scan's own detail."""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import ModelError

Level = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1)]


class Calibration(BaseModel):
    """Standard deviation of the error = constant times the scan's local scale (`kfine.methods.uncertainty`).

    Attributes:
        measured: parts of k-space that were measured, the geometric mean of both directions, increasing.
        constants: at each of these parts.
        subjects: how many subjects they were fitted to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: tuple[Part, ...]
    constants: tuple[Level, ...]
    subjects: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.measured or len(self.measured) != len(self.constants):
            raise ValueError("expected as many constants as measured parts, at least one")
        if any(a >= b for a, b in zip(self.measured, self.measured[1:], strict=False)):
            raise ValueError("measured: expected increasing parts")
        return self

    @classmethod
    def of(cls, name: str, config: dict[str, Any]) -> Calibration | None:
        """Return the table of the model `name`, None where it has none.

        Raises:
            ModelError: not such a table.
        """
        if "uncertainty" not in config:
            return None
        try:
            return cls.model_validate(config["uncertainty"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("uncertainty", *first["loc"]))
            raise ModelError(f"model {name}: config.json: {where}: {first['msg']}") from None

    def constant(self, fractions: tuple[float, float]) -> float:
        """Return the constant for the measured parts of both directions, interpolated in their logarithm."""
        part = math.log(math.sqrt(fractions[0] * fractions[1]))
        return float(np.interp(part, np.log(self.measured), self.constants))
