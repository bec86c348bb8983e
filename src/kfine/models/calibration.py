"""Calibration of the error: the table "uncertainty" of config.json, and files of `kfine calibrate`.

Constants and quantiles come from errors on held-out subjects, in units of the scan's own detail.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import InputError, ModelError
from kfine.files.contents import read_json

Level = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(gt=0, le=1)]
Confidence = Annotated[float, Field(gt=0, lt=1)]
Exponent = Annotated[float, Field(ge=-3, le=3)]

SHOWN_CONFIDENCE = 0.9  # of the intervals in pictures
BASELINES = Path(__file__).parent / "baselines.json"  # tables of the methods without a model, by method

FORMAT = 1
_KEY = "kfine_calibration"


class Coverage(BaseModel):
    """Fraction of the body's voxels inside 90 % intervals, leave-one-subject-out.

    Attributes:
        mean, least, greatest: over subjects.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    least: float
    greatest: float


class Weights(BaseModel):
    """Exponents of the features of a scan that predict its error (`kfine.methods.uncertainty.ErrorFeatures`).

    Attributes:
        detail, edges: of the local features; the unit of detail of the whole scan has exponent 1 - detail - edges.
        slope: of the spectrum's slope, in natural logarithms per decade.
        noise: of the noise, in natural logarithms per unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detail: Exponent = 0.28
    edges: Exponent = 0.39
    slope: Exponent = 0.35
    noise: Exponent = -0.29


class Calibration(BaseModel):
    """Standard deviation of the error = constant times the scan's local scale (`kfine.methods.uncertainty`).

    Attributes:
        measured: measured fractions of k-space, geometric mean of both directions, increasing.
        constants: one for each of these fractions.
        subjects: number of subjects that the constants were fitted to.
        confidences: increasing.
        quantiles: of |error| / standard deviation, a row for each measured fraction, a column for each confidence.
        weights: of the local scale.
        names: of the subjects.
        scans: description of the scans.
        guaranteed: greatest confidence whose quantiles come from conformal risk control, for exchangeable subjects
            (`kfine.evaluation.conformal`); 0: none.
        coverage: of 90 % intervals at each measured fraction, in the same order.
        slices: factor on the standard deviation of finer slices (`kfine.methods.slices`).
        motion: weight of the difference of the measured frames around an interpolated one
            (`kfine.methods.uncertainty.deviation_in_time`); None: the error of interpolated frames is not calibrated.
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
    motion: Level | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.measured or len(self.measured) != len(self.constants):
            raise ValueError("expected one constant for each measured fraction, at least one")
        for name in ("measured", "confidences"):
            values = getattr(self, name)
            if any(a >= b for a, b in pairwise(values)):
                raise ValueError(f"{name}: expected increasing numbers")
        if self.quantiles or self.confidences:
            if len(self.quantiles) != len(self.measured):
                raise ValueError("expected a row of quantiles for each measured fraction")
            if any(len(row) != len(self.confidences) for row in self.quantiles):
                raise ValueError("expected a quantile for each confidence")
        return self

    @classmethod
    def of(cls, name: str, config: dict[str, Any]) -> Calibration | None:
        """Return the table of the model `name`, None if it has none.

        Raises:
            ModelError: the table is invalid.
        """
        return None if "uncertainty" not in config else cls.checked(f"model {name}", config["uncertainty"])

    @classmethod
    def checked(cls, owner: str, table: Any) -> Calibration:
        """Return the validated `table`; the message of a `ModelError` begins with `owner`."""
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in ("uncertainty", *first["loc"]))
            raise ModelError(f"{owner}: config.json: {where}: {first['msg']}") from None

    @classmethod
    def of_baseline(cls, method: str) -> Calibration | None:
        """Return the packaged table of a method without a model, None if there is none."""
        if not BASELINES.is_file():
            return None
        tables = json.loads(BASELINES.read_text("utf-8"))
        return cls.checked(f"method {method}", tables[method]) if method in tables else None

    def constant(self, fractions: tuple[float, float]) -> float:
        """Return the constant for the measured fractions of both directions, interpolated in their logarithm."""
        return self._between(fractions, self.constants)

    def knows(self, confidence: float) -> bool:
        """Return whether intervals of `confidence` are calibrated."""
        known = self.confidences
        return bool(known) and known[0] <= confidence <= known[-1]

    def multiplier(self, fractions: tuple[float, float], confidence: float) -> float | None:
        """Return half the width of the interval of `confidence`, in standard deviations; None if not calibrated.

        It is interpolated between the calibrated confidences, over the Gaussian quantile, and never extrapolated.
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


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration with the method and model that it belongs to: written by `kfine calibrate`.

    Attributes:
        calibration: the table.
        method: the calibrated method.
        model: name and SHA-256 of the model's weights; None for a method without a model.
        facts: further content of the file: pairs, coverage.
    """

    calibration: Calibration
    method: str
    model: dict[str, str] | None
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CalibrationFile:
        """Return the content of the file at `path`.

        Raises:
            InputError: the file is missing or no calibration file.
        """
        name = Path(path).name
        try:
            content = read_json(Path(path))
        except FileNotFoundError:
            raise InputError(
                f"{name}: expected a calibration file, found none; kfine calibrate makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name}: cannot be read as a calibration file ({type(error).__name__})"
            ) from None
        if not isinstance(content, dict) or content.get(_KEY) != FORMAT:
            raise InputError(
                f"{name}: expected a calibration file of format {FORMAT}, got something else; kfine calibrate makes one"
            )
        try:
            table = Calibration.checked(name, content.get("uncertainty"))
        except ModelError as error:
            raise InputError(str(error).replace(" config.json:", "")) from None
        method, model = content.get("method"), content.get("model")
        if not isinstance(method, str) or not (model is None or isinstance(model, dict)):
            raise InputError(
                f"{name}: expected the method and its model; make the file anew with kfine calibrate"
            )
        return cls(table, method, model, {})

    def text(self) -> str:
        """Return the content of the file."""
        table = self.calibration.model_dump(mode="json")
        content = {
            _KEY: FORMAT,
            "method": self.method,
            "model": self.model,
            **self.facts,
            "uncertainty": table,
        }
        return json.dumps(content, indent=2) + "\n"

    def checked_for(self, method: str, model: dict[str, str] | None, *, name: str) -> Calibration:
        """Return the calibration if it belongs to `method` and to the weights of `model`.

        Raises:
            InputError: it belongs to another method or other weights.
        """
        if method != self.method:
            raise InputError(
                f"{name}: calibrates method {self.method}, expected {method}; calibrate that one"
            )
        ours, theirs = model or {}, self.model or {}
        if any(ours.get(key) != theirs.get(key) for key in ("sha256", "core")):
            raise InputError(
                f"{name}: calibrates other weights than those of model {(model or {}).get('name', 'none')}; calibrate "
                "this model"
            )
        return self.calibration
