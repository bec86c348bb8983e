"""Detection of out-of-domain images: comparison with the model's training images, warning, fallback or error."""

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

_PLANES = 5  # number of an image's planes that are compared


@dataclass(frozen=True)
class Settled:
    """Result of comparing an image with the training images.

    Attributes:
        options: of the call; the method is the best interpolation if "auto" fell back to it.
        reason: for the fallback; None without a fallback.
        record: the novelty, JSON-ready; None if no comparison was possible.
    """

    options: Options
    reason: str | None = None
    record: dict[str, Any] | None = None


def settled(acquisition: Acquisition, options: Options) -> Settled:
    """Compare an image with the training images of its model and return the options to use.

    For an image that is unlike all training images "auto" falls back to the best interpolation; a method, model or
    calibration named by the user is used nevertheless.

    Args:
        acquisition: the plan.
        options: of the call.

    Warns:
        UserWarning: the image is unlike all training images.

    Raises:
        DomainError: with the option `strict`: the image is unlike all training images, far outside the model's
            tested ranges, or cannot be compared.
        ModelError: a table cannot be read.
    """
    check_values(options)
    name, folder = _model_of(acquisition, options)
    if name is None:
        return Settled(options)
    table = None if folder is None else NoveltyTable.of(folder)
    found = None if table is None else novelty_of(acquisition.measured, table)
    if options.strict:
        ranges = ranges_of(acquisition.measured, acquisition.scaling, high=acquisition.high)
        _refuse(name, folder, found, ranges, known=table is not None)
    if table is None or found is None:
        return Settled(options)
    record = {"model": name, **found.as_dict()}
    if not found.foreign:
        return Settled(options, record=record)
    why = f"the image is unlike those that model {name} was trained on ({words_of(found)})"
    if options.method != "auto" or options.model is not None or options.calibration is not None:
        warnings.warn(f"{why}; the result may be worse than interpolation", UserWarning, stacklevel=3)
        return Settled(options, record=record)
    fallback = fallen_back(options, BEST_BASELINE)
    useless = without_use(options, BEST_BASELINE)
    unused = f", without effect: {', '.join(useless)}" if useless else ""
    warnings.warn(
        f"{why}: {BEST_BASELINE} is used instead{unused}; to restore it nevertheless, give method=...",
        UserWarning,
        stacklevel=3,
    )
    return Settled(fallback, why, record)


def words_of(found: Novelty) -> str:
    """Return a description of the distance from the training images and of the feature that differs most."""
    feature = next((words for words, names in GROUPS.items() if found.odd in names), found.odd)
    return f"distance {found.distance:.2f} of at most 1; most of all {feature}"


def novelty_of(image: Image, table: NoveltyTable) -> Novelty | None:
    """Return the novelty of `image`: that of the plane with the median distance among up to five planes.

    None if the planes are too small or empty, or if the table has other features.
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
    tissue = [plane for plane in candidates if (plane > TISSUE * full).mean() >= LEAST_TISSUE] or candidates
    chosen = np.linspace(0, len(tissue) - 1, min(_PLANES + 2, len(tissue))).round().astype(int)
    inner = chosen[1:-1] if len(chosen) > _PLANES else chosen  # the outermost planes show little anatomy
    return [tissue[index] for index in np.unique(inner)]


def _model_of(acquisition: Acquisition, options: Options) -> tuple[str | None, Any]:
    """Return name and folder of the core network that would restore the image.

    (None, None) for methods without a network; the folder is None if the network has no folder, so no table.
    """
    if options.method in BASELINES:
        return None, None
    model: str | os.PathLike[str] | Model | None = options.model
    if model is None and options.method == "auto":
        model = picked_for(acquisition.scan, options)
    elif model is None:
        model = packaged_for(options.method)
    if model is None:
        return None, None  # choose_method raises the error
    if isinstance(model, Model):
        name = (model.core or model).name
        return name, PACKAGED / name if name in packaged_models() else None
    folder = folder_of(model)
    inner = read_config(folder).get("core")
    if isinstance(inner, dict) and inner.get("name") in packaged_models():
        return str(inner["name"]), PACKAGED / str(inner["name"])
    return folder.name, folder


def _refuse(name: str, folder: Any, found: Novelty | None, ranges: Ranges, *, known: bool) -> None:
    """Raise `DomainError` unless the image is known to be similar to the training images."""
    if not known:
        raise DomainError(
            f"strict: nothing is known of the training images of model {name}; leave strict out"
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
    far = Domain.of(name, read_config(folder)).far(ranges)
    if far:
        raise DomainError(f"strict: model {name}: {far[0]}; leave strict out")
