"""Out of domain: an image compared with the training images of the model that would restore it, and what follows."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from kfine.acquisition.plan import Acquisition
from kfine.errors import DomainError
from kfine.image import Image
from kfine.methods.novelty import FEATURES, GROUPS, LEAST, novelty_features
from kfine.models.checkpoint import PACKAGED, Model, folder_of, packaged_models, read_config
from kfine.models.domain import LEAST_TISSUE, TISSUE, Domain, Ranges, ranges_of
from kfine.models.novelty import Novelty, NoveltyTable
from kfine.restoration.options import BASELINES, Options, check_values, fallen_back, without_use
from kfine.restoration.selection import BEST_BASELINE, packaged_for, picked_for

_PLANES = 5  # of an image that are compared


@dataclass(frozen=True)
class Settled:
    """Options once the image has been compared with the training images.

    Attributes:
        options: with the best interpolation as the method where "auto" fell back to it.
        reason: why it did; None where it did not.
        record: what was found, JSON-ready; None where there was nothing to compare with.
    """

    options: Options
    reason: str | None = None
    record: dict[str, Any] | None = None


def settled(acquisition: Acquisition, options: Options) -> Settled:
    """Return `options` as they are followed for an image, by what its model was trained on.

    "auto" takes the best interpolation for an image that is unlike all training images; a method, a model or a
    calibration that the user names is used all the same.

    Args:
        acquisition: the plan.
        options: of the call.

    Warns:
        UserWarning: the image is unlike all training images.

    Raises:
        DomainError: the same, with the option `strict`; or with it, an image far from what the model was tested on,
            or one that cannot be compared.
        ModelError: a table that cannot be read.
    """
    check_values(options)
    name, folder = _model_of(acquisition, options)
    if name is None:
        return Settled(options)
    table = None if folder is None else NoveltyTable.of(folder)
    found = None if table is None else novelty_of(acquisition.measured, table)
    if options.strict:
        like = ranges_of(acquisition.measured, acquisition.scaling, high=acquisition.high)
        _refuse(name, folder, found, like, known=table is not None)
    if table is None or found is None:
        return Settled(options)
    record = {"model": name, **found.as_dict()}
    if not found.foreign:
        return Settled(options, record=record)
    why = f"the image is unlike those that model {name} was trained on ({words_of(found)})"
    if options.method != "auto" or options.model is not None or options.calibration is not None:
        warnings.warn(f"{why}; the result may be worse than interpolation", UserWarning, stacklevel=3)
        return Settled(options, record=record)
    instead = fallen_back(options, BEST_BASELINE)
    useless = without_use(options, BEST_BASELINE)
    unused = f", without effect: {', '.join(useless)}" if useless else ""
    warnings.warn(f"{why}: {BEST_BASELINE} instead{unused}; method=... insists", UserWarning, stacklevel=3)
    return Settled(instead, why, record)


def words_of(found: Novelty) -> str:
    """Return how far an image is from the training images, and what of it is most unlike them."""
    what = next((words for words, names in GROUPS.items() if found.odd in names), found.odd)
    return f"distance {found.distance:.2f} of at most 1; most of all {what}"


def novelty_of(image: Image, table: NoveltyTable) -> Novelty | None:
    """Return how far `image` is from the training images: of up to five planes the one in the middle by distance.

    None where the planes are too small or empty, or the table is of other features.
    """
    if table.features != FEATURES:
        return None
    each = [features for plane in _planes(image) if (features := novelty_features(plane)) is not None]
    found = sorted((table.distance(features) for features in each), key=lambda one: one.distance)
    return found[(len(found) - 1) // 2] if found else None


def _planes(image: Image) -> list[Any]:
    """Return magnitudes of up to five planes of frame 0, evenly spread over those with tissue."""
    step = max(1, image.slices // (4 * _PLANES))
    candidates = [np.abs(image.voxels[0, index]) for index in range(step // 2, image.slices, step)]
    full = max(float(np.quantile(plane, 0.999)) for plane in candidates)
    there = [plane for plane in candidates if (plane > TISSUE * full).mean() >= LEAST_TISSUE] or candidates
    chosen = np.linspace(0, len(there) - 1, min(_PLANES + 2, len(there))).round().astype(int)
    inner = chosen[1:-1] if len(chosen) > _PLANES else chosen  # the outermost planes show little
    return [there[index] for index in np.unique(inner)]


def _model_of(acquisition: Acquisition, options: Options) -> tuple[str | None, Any]:
    """Return name and folder of the core network that would restore the image.

    (None, None) of methods without a network; no folder of a network that no table can be of.
    """
    if options.method in BASELINES:
        return None, None
    model: str | os.PathLike[str] | Model | None = options.model
    if model is None and options.method == "auto":
        model = picked_for(acquisition.scan, options)
    elif model is None:
        model = packaged_for(options.method)
    if model is None:
        return None, None  # said where the method is chosen
    if isinstance(model, Model):
        name = (model.core or model).name
        return name, PACKAGED / name if name in packaged_models() else None
    folder = folder_of(model)
    inner = read_config(folder).get("core")
    if isinstance(inner, dict) and inner.get("name") in packaged_models():
        return str(inner["name"]), PACKAGED / str(inner["name"])
    return folder.name, folder


def _refuse(name: str, folder: Any, found: Novelty | None, like: Ranges, *, known: bool) -> None:
    """Raise `DomainError` unless the image is known to be like the training images."""
    if not known:
        raise DomainError(
            f"strict: of the training images of model {name} nothing is known; leave strict out"
        )
    if found is None:
        raise DomainError(
            f"strict: planes of at least {LEAST} points a side can be compared with the training images of model "
            f"{name}, got smaller or empty ones; leave strict out"
        )
    if found.foreign:
        raise DomainError(
            f"strict: the image is unlike those that model {name} was trained on ({words_of(found)}); check the "
            "input, or leave strict out"
        )
    far = Domain.of(name, read_config(folder)).far(like)
    if far:
        raise DomainError(f"strict: model {name}: {far[0]}; leave strict out")
