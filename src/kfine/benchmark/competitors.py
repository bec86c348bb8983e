"""Competitors: the methods of `kfine.restore`, and any object with a name, settings and `restore`."""

from __future__ import annotations

import hashlib
import inspect
import json
import secrets
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kfine.acquisition.grid import Matrix
from kfine.errors import UsageError
from kfine.image import Image
from kfine.models.calibration import SHOWN_CONFIDENCE
from kfine.models.checkpoint import Model, load_model
from kfine.models.devices import choose_device, choose_precision
from kfine.restoration.options import BASELINES, GONE, METHODS
from kfine.restoration.restore import restore
from kfine.restoration.selection import packaged_for

# Methods for cines restore frames together; the benchmark's slices are single frames.
_OF_FRAMES = tuple(name for name in METHODS if name != "auto" and not name.startswith("cine-"))
BASELINE_KIND, SINGLE_KIND, SAMPLED_KIND = KINDS = ("baseline", "single", "sampled")


@dataclass(frozen=True)
class Outcome:
    """Result of a competitor, on the grid of the truth.

    Attributes:
        mean: the best estimate.
        std: the standard deviation of each voxel, or None; it is compared with the error.
        sample: one sample, or None; it is scored beside the mean.
        half_width: half the width of the 90 % interval, or None; it is drawn.
    """

    mean: Image
    std: Image | None = None
    sample: Image | None = None
    half_width: Image | None = None


class Competitor(Protocol):
    """A method that takes part in a benchmark.  Plain attributes are enough.

    An optional attribute `kind` names the tier: "baseline" (not trained), "single" (a network without sampling) or
    "sampled".  Without it, a competitor that returns samples is "sampled", any other "single".

    >>> class Doubled:
    ...     name = "twice nearest"
    ...     settings = {"factor": 2.0}
    ...     kind = "baseline"
    ...
    ...     def restore(self, low, *, matrix, seed):
    ...         return Outcome(restore(low, matrix=matrix, method="nearest").mean)
    """

    @property
    def name(self) -> str:
        """Unique name, for tables."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything but the code that determines the results, JSON-ready; both identify a finished case."""
        ...

    def restore(self, low: Image, *, matrix: Matrix, seed: int) -> Outcome:
        """Return the restored image.

        Args:
            low: slices of one degraded frame; complex if their k-space was measured.
            matrix: (rows, columns) of the result, over the same field of view.
            seed: seed of all randomness: equal seeds must give equal images.
        """
        ...


@dataclass(frozen=True)
class Packaged:
    """A method of `kfine.restore` with its default settings.

    Attributes:
        name: name for tables.
        method: one of `kfine.restoration.options.METHODS`.
        model: the loaded model; None for a method without a model.
        device: device of `kfine.restore`.
    """

    name: str
    method: str
    model: Model | None
    device: str = "auto"

    @property
    def kind(self) -> str | None:
        """ "baseline" for a method without training, None for others: their results decide."""
        return BASELINE_KIND if self.method in BASELINES else None

    @property
    def settings(self) -> dict[str, Any]:
        """Method, model with network and sampling settings, device and precision."""
        if self.model is None:
            return {"method": self.method}
        device, config = choose_device(self.device), self.model.config
        return {
            "method": self.method,
            "model": {**self.model.digests, "network": config["network"]},
            "sampling": config.get("sampling", {}),
            "device": str(device),
            "precision": str(choose_precision("auto", device)).removeprefix("torch."),
        }

    def restore(self, low: Image, *, matrix: Matrix, seed: int) -> Outcome:
        """Return the estimate, the standard deviation of its error, and the first of several samples."""
        result = restore(
            low, matrix=matrix, method=self.method, model=self.model, seed=seed, device=self.device,
            keep_samples=True,
        )  # fmt: skip
        sampled = len(result.samples) > 1
        half_width = result.half_width(SHOWN_CONFIDENCE) if result.knows(SHOWN_CONFIDENCE) else None
        return Outcome(result.mean, result.std, result.samples[0] if sampled else None, half_width)


def available() -> list[str]:
    """Return the available methods of single frames: baselines, and methods with a packaged model."""
    return [name for name in _OF_FRAMES if name in BASELINES or packaged_for(name) is not None]


def chosen(names: Sequence[str | Competitor] | None, *, device: str = "auto") -> list[Competitor]:
    """Return the competitors of these `names`; all `available` ones for None.

    Args:
        names: methods, "METHOD=MODEL" with the name of a packaged model or a model folder, or competitors.
        device: device of the methods of kfine.

    Raises:
        UsageError: an unknown or repeated name or kind, a method of cines, a method without a model, or settings that
            are not JSON-ready.
        ModelError: the model cannot be found, read or trusted.
    """
    found = [_named(each, device) if isinstance(each, str) else each for each in names or available()]
    for each in found:
        try:
            json.dumps(dict(each.settings))
        except (TypeError, ValueError):
            raise UsageError(
                f"method {each.name}: expected settings that JSON can represent, which identify a finished case"
            ) from None
        if kind_of(each) not in (None, *KINDS):
            raise UsageError(
                f"method {each.name}: expected a kind of {', '.join(KINDS)}, got {kind_of(each)!r}"
            )
    names_used = [each.name for each in found]
    twice = sorted({name for name in names_used if names_used.count(name) > 1})
    if twice:
        raise UsageError(f"methods: expected different names, got {', '.join(twice)} twice; rename one")
    return found


def kind_of(competitor: Competitor) -> str | None:
    """Return the `kind` of a competitor, None if it has none."""
    kind: str | None = getattr(competitor, "kind", None)
    return kind


def seen_in_training(
    competitors: Sequence[Competitor], *, tested: Collection[str], present: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return warnings of models that may have been trained on tested subjects, and of models where this is unknown.

    The config of a model names the subjects held out of training, and no other data.  If all of them are among the
    subjects of the folder, `present`, the model may have been trained on this folder: all subjects that are `tested`
    and not held out may be training data.  If one of them is missing, or the config names none, nothing is known.
    """
    seen, unknown = [], []
    for each in competitors:
        if not isinstance(each, Packaged) or each.model is None:
            continue
        model, held_out = each.model, _held_out(each.model.config)
        others = sorted(set(tested) - held_out)
        if not others:
            continue
        if not held_out or not held_out <= set(present):
            unknown.append(
                f"{each.name}: whether model {model.name} was trained on these patients is not known: those that were "
                "held out from its training are not all in the folder"
                if held_out
                else f"{each.name}: whether model {model.name} was trained on these patients is not known: it names "
                "none that were held out"
            )
        else:
            seen.append(
                f"{each.name}: model {model.name} may have been trained on {', '.join(others)}; its figures there are "
                f"no test (held out: {', '.join(sorted(held_out))})"
            )
    return seen, unknown


def _held_out(config: Mapping[str, Any]) -> set[str]:
    training = config.get("training")
    data = training.get("data") if isinstance(training, Mapping) else None
    names = data.get("validation") if isinstance(data, Mapping) else None
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def code_of(competitor: Competitor) -> str:
    """Return a digest of the source files of a competitor: its class, base classes and neighbouring modules.

    Neighbours are the modules imported so far from the folders of these files.  `kfine.benchmark.cases.code_digest`
    covers the methods of kfine.  Without a source file the digest is random, so that it never matches.
    """
    try:
        files = {Path(inspect.getsourcefile(kind) or "").resolve() for kind in _classes(competitor)}
        beside = {file.parent for file in files}
        loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        files |= {path for name in loaded if name and (path := Path(name).resolve()).parent in beside}
        content = b"".join(file.read_bytes() for file in sorted(files))
    except (OSError, TypeError):
        return secrets.token_hex(16)
    return hashlib.sha256(content).hexdigest()


def _classes(competitor: Competitor) -> list[type]:
    """Return the class of a competitor, and the base classes outside of Python's library and kfine."""
    own, *before = type(competitor).__mro__
    foreign = ("builtins", "abc", "typing", "kfine")
    return [own, *(kind for kind in before if kind.__module__.split(".")[0] not in foreign)]


def _named(text: str, device: str) -> Competitor:
    method, _, model = text.partition("=")
    if method in GONE:
        raise UsageError(f"method {method}: is gone; use {GONE[method]}")
    if method not in _OF_FRAMES:
        raise UsageError(f"method {method}: expected one of {', '.join(_OF_FRAMES)}, or METHOD=MODEL")
    if method in BASELINES:
        if model:
            raise UsageError(f"method {text}: {method} has no use for a model; leave it out")
        return Packaged(method, method, None, device)
    which = model or packaged_for(method)
    if which is None:
        raise UsageError(f"method {method}: no packaged model serves it; use {method}=MODEL_FOLDER")
    loaded = load_model(which)
    return Packaged(f"{method} ({_model_name(model, loaded)})" if model else method, method, loaded, device)


def _model_name(model: str, loaded: Model) -> str:
    """Return the name of a model for tables: the parent's name for "model", the folder that kfine train writes."""
    folder = Path(model).resolve()
    return folder.parent.name if loaded.name == "model" and folder.parent.name else loaded.name
