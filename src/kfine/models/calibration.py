"""The table "uncertainty" of a model's config.json: errors on held-out subjects, in units of the scan's own detail."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import ModelError

Level = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1)]
Confidence = Annotated[float, Field(gt=0, lt=1)]
Exponent = Annotated[float, Field(ge=-3, le=3)]

SHOWN_CONFIDENCE = 0.9  # of the intervals that pictures show
BASELINES = Path(__file__).parent / "baselines.json"  # tables of the methods without a model, by method


class Coverage(BaseModel):
    """Part of the voxels of the body that 90 % intervals hold, each subject by the constants of the others.

    Attributes:
        mean, least, greatest: over subjects.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    least: float
    greatest: float


class Weights(BaseModel):
    """Exponents of what a scan shows of its error (`kfine.methods.uncertainty.ErrorFeatures`).

    Attributes:
        detail, edges: of the local ones; what they leave of 1 is that of the whole scan's unit of detail.
        slope: of the spectrum's slope, in natural logarithms a decade.
        noise: of the noise, in natural logarithms a unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detail: Exponent = 0.28
    edges: Exponent = 0.39
    slope: Exponent = 0.35
    noise: Exponent = -0.29


class Calibration(BaseModel):
    """Standard deviation of the error = constant times the scan's local scale (`kfine.methods.uncertainty`).

    Attributes:
        measured: parts of k-space that were measured, the geometric mean of both directions, increasing.
        constants: at each of these parts.
        subjects: how many subjects they were fitted to.
        confidences: increasing.
        quantiles: for each measured part, of |error| over standard deviation at each confidence.
        weights: of that scale.
        names: of the subjects.
        scans: what was scanned, in words.
        guaranteed: the greatest confidence whose quantiles are those of conformal risk control, for subjects drawn as
            these were (`kfine.evaluation.conformal`); 0: none.
        coverage: of 90 % intervals at each measured part, in the same order.
        slices: factor on the standard deviation of finer slices (`kfine.methods.slices`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    measured: tuple[Part, ...]
    constants: tuple[Level, ...]
    subjects: Annotated[int, Field(ge=1)]
    confidences: tuple[Confidence, ...] = ()
    quantiles: tuple[tuple[Level, ...], ...] = ()
    weights: Weights = Weights()
    names: tuple[str, ...] = ()
    scans: str = ""
    guaranteed: Annotated[float, Field(ge=0, lt=1)] = 0.0
    coverage: tuple[Coverage, ...] = ()
    slices: Level = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.measured or len(self.measured) != len(self.constants):
            raise ValueError("expected as many constants as measured parts, at least one")
        for name in ("measured", "confidences"):
            values = getattr(self, name)
            if any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"{name}: expected increasing numbers")
        if self.quantiles or self.confidences:
            if len(self.quantiles) != len(self.measured):
                raise ValueError("expected a row of quantiles for each measured part")
            if any(len(row) != len(self.confidences) for row in self.quantiles):
                raise ValueError("expected a quantile for each confidence")
        return self

    @classmethod
    def of(cls, name: str, config: dict[str, Any]) -> Calibration | None:
        """Return the table of the model `name`, None where it has none.

        Raises:
            ModelError: not such a table.
        """
        return None if "uncertainty" not in config else cls.checked(f"model {name}", config["uncertainty"])

    @classmethod
    def checked(cls, whose: str, table: Any) -> Calibration:
        """Return `table` checked; `whose` it is starts the message of a `ModelError`."""
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("uncertainty", *first["loc"]))
            raise ModelError(f"{whose}: config.json: {where}: {first['msg']}") from None

    @classmethod
    def of_baseline(cls, method: str) -> Calibration | None:
        """Return the packaged table of a method without a model, None where it has none."""
        if not BASELINES.is_file():
            return None
        tables = json.loads(BASELINES.read_text("utf-8"))
        return cls.checked(f"method {method}", tables[method]) if method in tables else None

    def constant(self, fractions: tuple[float, float]) -> float:
        """Return the constant for the measured parts of both directions, interpolated in their logarithm."""
        return self._between(fractions, self.constants)

    def knows(self, confidence: float) -> bool:
        """Return whether intervals of `confidence` are calibrated."""
        known = self.confidences
        return bool(known) and known[0] <= confidence <= known[-1]

    def multiplier(self, fractions: tuple[float, float], confidence: float) -> float | None:
        """Return half the width of the interval of `confidence`, in standard deviations; None where it is not known.

        Between the calibrated confidences interpolated in the quantile of a Gaussian; none beyond them.
        """
        if not self.knows(confidence):
            return None
        from scipy.special import ndtri

        at = [self._between(fractions, column) for column in zip(*self.quantiles, strict=True)]
        known = ndtri((1 + np.array(self.confidences)) / 2)
        return float(np.interp(ndtri((1 + confidence) / 2), known, at))

    def _between(self, fractions: tuple[float, float], values: tuple[float, ...]) -> float:
        part = math.log(math.sqrt(fractions[0] * fractions[1]))
        return float(np.interp(part, np.log(self.measured), values))
