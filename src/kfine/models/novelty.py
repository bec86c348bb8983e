"""Novelty table of a model (novelty.json): distribution of its training planes, and limits of the distance to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import ModelError
from kfine.files.contents import read_json

FILE = "novelty.json"
Vector = NDArray[np.float64]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MOST = 8.0  # standard deviations at which a single feature is clipped
SIZE = "size"  # the feature that divides planes into classes


class Kind(BaseModel):
    """Planes of one kind and one range of sizes.

    Attributes:
        name: the anatomy, or a name for the foreign planes.
        mean: of the features, in the table's units.
        foreign: whether the network was not trained on them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=40)]
    mean: tuple[Number, ...]
    foreign: bool = False


class SizeClass(BaseModel):
    """Planes of one range of sizes.

    Attributes:
        below: upper bound of the feature "size", exclusive; None: none.
        kinds: anatomies, and foreign kinds.
        factor: rows of the lower triangle of L, with L L^T the inverse of the covariance within the anatomies.
        limit: Mahalanobis distance to the nearest anatomy beyond which a plane is foreign.
        margin: how much less than that to the nearest anatomy the squared distance to a foreign kind may be, in
            units of the squared limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    below: Number | None
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)]
    factor: tuple[tuple[Number, ...], ...]
    limit: Positive
    margin: Number = 0.0

    @model_validator(mode="after")
    def _of_training(self) -> Self:
        if all(kind.foreign for kind in self.kinds):
            raise ValueError("kinds: expected one that is not foreign")
        return self


class NoveltyTable(BaseModel):
    """Gaussians of the features of training planes (`kfine.methods.novelty`), with a common covariance.

    The distance of a plane is its Mahalanobis distance to the nearest anatomy, in units of the limit: beyond 1 it is
    foreign (Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018).  A plane
    that is nearer to a foreign kind by more than a margin is foreign too: a linear discriminant (Fisher 1936).

    Attributes:
        features: ordered names.
        centre, scale: of each feature over all training planes; distances are of (feature - centre) / scale.
        classes: by size, increasing; the last has no upper bound.
        planes, subjects: numbers of training planes and subjects.
        false_alarms: fraction of the scans of single planes of validation subjects that are classified as foreign.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[str, ...]
    centre: tuple[Number, ...]
    scale: tuple[Positive, ...]
    classes: Annotated[tuple[SizeClass, ...], Field(min_length=1)]
    planes: Annotated[int, Field(ge=1)]
    subjects: Annotated[int, Field(ge=1)]
    false_alarms: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        n = len(self.features)
        if SIZE not in self.features or not len(self.centre) == len(self.scale) == n:
            raise ValueError(f"expected a centre and a scale for each feature, {SIZE!r} among them")
        for each in self.classes:
            if any(len(kind.mean) != n for kind in each.kinds):
                raise ValueError(f"expected means of {n} features")
            if [len(row) for row in each.factor] != list(range(1, n + 1)):
                raise ValueError(f"factor: expected the lower triangle of {n} rows")
        bounds = [each.below for each in self.classes]
        inner = [bound for bound in bounds if bound is not None]
        if bounds[-1] is not None or len(inner) != len(bounds) - 1 or inner != sorted(inner):
            raise ValueError("classes: expected increasing sizes, the last without an upper bound")
        return self

    @classmethod
    def of(cls, folder: Path) -> NoveltyTable | None:
        """Return the table of the model in `folder`, None if it has none.

        Raises:
            ModelError: the table is invalid.
        """
        try:
            return cls.model_validate(read_json(folder / FILE))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"model {folder.name}: {FILE}: {where}: {first['msg']}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"model {folder.name}: {FILE} cannot be read ({type(error).__name__})") from None

    def distance(self, features: Vector) -> Novelty:
        """Return the novelty of a plane with these `features` (len(self.features),)."""
        units = (features - np.array(self.centre)) / np.array(self.scale)
        units = np.clip(units, -MOST, MOST)
        size = features[self.features.index(SIZE)]
        chosen = next(each for each in self.classes if each.below is None or size < each.below)
        factor = np.zeros((len(units), len(units)))
        for number, row in enumerate(chosen.factor):
            factor[number, : number + 1] = row
        lengths = [float(np.linalg.norm((units - np.array(kind.mean)) @ factor)) for kind in chosen.kinds]
        pairs = list(zip(lengths, chosen.kinds, strict=True))
        anatomy, nearest_anatomy = min(
            ((length, kind) for length, kind in pairs if not kind.foreign), key=lambda pair: pair[0]
        )
        others = [length for length, kind in pairs if kind.foreign]
        deviations = np.abs(units - np.array(nearest_anatomy.mean))
        return Novelty(
            apart=anatomy / chosen.limit,
            nearer=(anatomy**2 - min(others) ** 2) / chosen.limit**2 - chosen.margin if others else -math.inf,
            nearest=chosen.kinds[int(np.argmin(lengths))].name,
            odd=self.features[int(deviations.argmax())],
        )


@dataclass(frozen=True)
class Novelty:
    """Distance of an image from the training images of a model.

    Attributes:
        apart: distance to the nearest anatomy, in units of its limit.
        nearer: excess over the margin by which a foreign kind is nearer, in units of the squared limit.
        nearest: name of the nearest kind.
        odd: the feature that differs most from the nearest anatomy.
    """

    apart: float
    nearer: float
    nearest: str
    odd: str

    @property
    def distance(self) -> float:
        """Distance from the training images; above 1 the image is foreign."""
        return max(self.apart, 1 + self.nearer)

    @property
    def foreign(self) -> bool:
        """Whether the image is unlike all training images."""
        return not self.distance <= 1

    def as_dict(self) -> dict[str, Any]:
        """Return the same, JSON-ready."""
        distance = self.distance if math.isfinite(self.distance) else None
        return {
            "distance": None if distance is None else round(distance, 4),
            "foreign": self.foreign,
            "nearest": self.nearest,
            "most_unlike": self.odd,
        }
