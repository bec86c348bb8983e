"""Domain of a model: ranges of the images it was tested on, and results measured outside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kfine.errors import ModelError
from kfine.image import Image
from kfine.intensity import Scaling
from kfine.text import printable

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Interval = tuple[Number, Number]
Sentence = Annotated[str, Field(min_length=1, max_length=200)]

AIR, TISSUE = 0.02, 0.1  # fractions of full scale: darker is air, brighter is tissue
LEAST_TISSUE = 0.03  # fraction of the voxels of a slice that is not empty
_VOXELS = 1_000_000  # greatest number of voxels that are sampled
UNKNOWN = "how good the result is there was not measured"

# How far outside its ranges a model may be used without a warning: as a factor, or as a difference for fractions of
# the voxels.  The tolerance for voxel sizes is wide because no network has them as an input.
_FACTORS = {"voxel_size": 2.5, "matrix": 1.5, "scale": 1.1, "brightness": 1.3}
_PARTS = {"air": 0.15}
_WORDS = {
    "voxel_size": ("voxel size", " mm"),
    "matrix": ("matrix", ""),
    "scale": ("scale", ""),
    "air": ("air", " of a slice"),
    "brightness": ("brightness of tissue", " of full scale"),
}


class Ranges(BaseModel):
    """Ranges (least, greatest) of the properties of images; None: unknown.  The table "ranges" of config.json.

    Attributes:
        voxel_size: in plane, mm, of the fine image.
        matrix: rows and columns of the fine image.
        scale: fine matrix over the scan's matrix.
        air: fraction of a slice's voxels below 2 % of full scale (`Scaling`).
        brightness: mean of a slice's voxels above 10 % of full scale, as a fraction of full scale.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    voxel_size: Interval | None = None
    matrix: Interval | None = None
    scale: Interval | None = None
    air: Interval | None = None
    brightness: Interval | None = None

    @classmethod
    def around(cls, several: Iterable[Ranges]) -> Ranges:
        """Return the smallest ranges that enclose all of `several`, property by property, where any is known."""
        each = [ranges.model_dump(exclude_none=True) for ranges in several]
        joined: dict[str, Interval] = {}
        for name in cls.model_fields:
            known = [ranges[name] for ranges in each if name in ranges]
            if known:
                joined[name] = min(low for low, _ in known), max(high for _, high in known)
        return cls.model_validate(joined)

    def words(self) -> dict[str, str]:
        """Return descriptions of the known ranges: {"voxel_size": "voxel size 0.87-2.1 mm"}."""
        return {
            name: f"{_WORDS[name][0]} {shown(*interval)}{_WORDS[name][1]}"
            for name, interval in self.model_dump(exclude_none=True).items()
        }


class Domain(BaseModel):
    """Domain of a model: the tables "ranges" and "beyond" of its config.json.

    Attributes:
        ranges: of the images that it was tested on.
        beyond: results measured outside the range of a property, by its name.
    """

    model_config = ConfigDict(frozen=True)

    ranges: Ranges = Ranges()
    beyond: dict[Literal["voxel_size", "matrix", "scale", "air", "brightness"], Sentence] = {}

    @classmethod
    def of(cls, name: str, config: dict[str, Any]) -> Domain:
        """Return the domain in a model's `config`; without such tables nothing is known.

        Raises:
            ModelError: a table is invalid.
        """
        try:
            return cls.model_validate({key: config[key] for key in cls.model_fields if key in config})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"model {name}: config.json: {where}: {first['msg']}") from None

    def far(self, image: Ranges) -> list[str]:
        """Return descriptions of the properties of `image` that are far outside, with the results measured there."""
        return [
            f"{words}: {printable(self.beyond[name]) if name in self.beyond else UNKNOWN}"  # type: ignore[index]
            for name, words in far(image, self.ranges).items()
        ]


def ranges_of(image: Image, scaling: Scaling, *, high: tuple[int, int]) -> Ranges:
    """Return the properties of `image` restored to the matrix `high` (rows, columns).

    The voxel size is unknown if the affine is the identity.  Ranges of intensities go from the 5 % to the 95 %
    quantile over the slices with tissue.
    """
    sizes = [mm * n / big for mm, n, big in zip(image.voxel_sizes[1:], image.matrix, high, strict=True)]
    factors = [big / n for n, big in zip(image.matrix, high, strict=True)]
    air, brightness = _intensities(image, scaling)
    placed = not np.array_equal(image.affine, np.eye(4))
    return Ranges(
        voxel_size=(min(sizes), max(sizes)) if placed else None,
        matrix=(min(high), max(high)),
        scale=(min(factors), max(factors)),
        air=air,
        brightness=brightness,
    )


def _intensities(image: Image, scaling: Scaling) -> tuple[Interval, Interval]:
    """Return the ranges of air and brightness over the slices with tissue, over all slices if none has enough."""
    stride = max(1, math.isqrt(image.voxels.size // _VOXELS))
    voxels = np.abs(image.voxels[:, :, ::stride, ::stride]).swapaxes(0, 1).reshape(image.slices, -1)
    voxels = voxels / scaling.full
    tissue = voxels > TISSUE
    fraction = tissue.mean(1)
    chosen = fraction >= min(LEAST_TISSUE, fraction.max())
    air = (voxels < AIR).mean(1)[chosen]
    brightness = (voxels * tissue).mean(1)[chosen] / np.maximum(fraction[chosen], 1e-6)
    return _middle(air), _middle(brightness)


def _middle(values: NDArray[np.floating[Any]]) -> Interval:
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)


def far(image: Ranges, model: Ranges) -> dict[str, str]:
    """Return descriptions, by name, of the properties of `image` that are far from the known ranges of `model`."""
    tested, actual = model.model_dump(exclude_none=True), image.model_dump(exclude_none=True)
    descriptions = {}
    for name, (low, high) in tested.items():
        if name not in actual:
            continue
        if name in _PARTS:
            least, most = low - _PARTS[name], high + _PARTS[name]
        else:
            least, most = low / _FACTORS[name], high * _FACTORS[name]
        if actual[name][0] < least or actual[name][1] > most:
            words, unit = _WORDS[name]
            descriptions[name] = f"{words} {shown(*actual[name])}{unit} (tested on {shown(low, high)})"
    return descriptions


def shown(low: float, high: float) -> str:
    """Return an interval as text with three significant digits.

    >>> shown(0.868, 2.1), shown(128, 128)
    ('0.868-2.1', '128')
    """
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g}-{high:.3g}"


def trained_ranges(seen: Iterable[Ranges], *, scale: float, brightness: float) -> dict[str, Any]:
    """Return the ranges of training images, widened by augmentation, JSON-ready.

    Args:
        seen: ranges of the images at the matrices that they are resampled to.
        scale: the greatest factor by which a scan's matrix is smaller; one direction may stay whole.
        brightness: intensities are scaled by factors from its inverse to it.
    """
    total = Ranges.around(seen)
    wide: dict[str, Interval] = {"scale": (1.0, scale)}
    if total.brightness:
        wide["brightness"] = total.brightness[0] / brightness, total.brightness[1] * brightness
    named = total.model_copy(update=wide).model_dump(exclude_none=True)
    return {name: [float(f"{bound:.3g}") for bound in interval] for name, interval in named.items()}
