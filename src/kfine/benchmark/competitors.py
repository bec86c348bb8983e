"""Competitors: every method of `kfine.restore`, and any object with a name, settings and `restore`."""

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
    """What a competitor gives back, all on the grid of the truth.

    Attributes:
        mean: its best estimate.
        std: its standard deviation voxel by voxel, if it has one: is held against the error.
        sample: one plausible image, if it draws some: is scored beside the mean.
        half_width: half the width of its 90 % interval, if it is calibrated: is drawn.
    """

    mean: Image
    std: Image | None = None
    sample: Image | None = None
    half_width: Image | None = None


class Competitor(Protocol):
    """A method that can take part.  Plain attributes will do.

    How much it does may be said by an attribute `kind`: "baseline" (nothing learnt), "single" (a network without
    sampling) or "sampled"; else "sampled" where it gives samples and "single" where it does not.

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
        """How tables call it; no other competitor may have the same."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that decides its results besides its code, JSON-ready: a finished case is known again by both."""
        ...

    def restore(self, low: Image, *, matrix: Matrix, seed: int) -> Outcome:
        """Return the image restored.

        Args:
            low: some slices of one frame, made coarse; complex where their k-space was measured.
            matrix: (rows, columns) to reach, over the same field of view.
            seed: of all randomness: equal seeds must give equal images.
        """
        ...


@dataclass(frozen=True)
class Packaged:
    """A method of `kfine.restore`, with its own settings.

    Attributes:
        name: for tables.
        method: of `kfine.restoration.options.METHODS`.
        model: loaded; None where the method needs none.
        device: of `kfine.restore`.
    """

    name: str
    method: str
    model: Model | None
    device: str = "auto"

    @property
    def kind(self) -> str | None:
        """Whether it needs no training; else what it gives decides."""
        return BASELINE_KIND if self.method in BASELINES else None

    @property
    def settings(self) -> dict[str, Any]:
        """Method, model with its network and how it samples, device and precision."""
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
        """Return the estimate, the standard deviation of its error, and the first sample if there are several."""
        result = restore(
            low, matrix=matrix, method=self.method, model=self.model, seed=seed, device=self.device,
            keep_samples=True,
        )  # fmt: skip
        sampled = len(result.samples) > 1
        half_width = result.half_width(SHOWN_CONFIDENCE) if result.knows(SHOWN_CONFIDENCE) else None
        return Outcome(result.mean, result.std, result.samples[0] if sampled else None, half_width)


def available() -> list[str]:
    """Return the methods of single frames that can run: baselines, and what a packaged model serves."""
    return [name for name in _OF_FRAMES if name in BASELINES or packaged_for(name) is not None]


def chosen(names: Sequence[str | Competitor] | None, *, device: str = "auto") -> list[Competitor]:
    """Return the competitors that `names` stands for; all that are `available` for None.

    Args:
        names: a method, "METHOD=MODEL" with a packaged model's name or a model folder, or a competitor itself.
        device: of the methods of kfine.

    Raises:
        UsageError: an unknown or repeated name or kind, a method of cines, one without a model, or settings that are
            not JSON-ready.
        ModelError: the model cannot be found, read or trusted.
    """
    found = [_named(each, device) if isinstance(each, str) else each for each in names or available()]
    for each in found:
        try:
            json.dumps(dict(each.settings))
        except (TypeError, ValueError):
            raise UsageError(
                f"method {each.name}: expected settings that JSON can hold, by which a finished case is known again"
            ) from None
        if kind_of(each) not in (None, *KINDS):
            raise UsageError(
                f"method {each.name}: expected a kind of {', '.join(KINDS)}, got {kind_of(each)!r}"
            )
    called = [each.name for each in found]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise UsageError(f"methods: expected different names, got {', '.join(twice)} twice; rename one")
    return found


def kind_of(competitor: Competitor) -> str | None:
    """Return how much a competitor says that it does, None where it does not say."""
    kind: str | None = getattr(competitor, "kind", None)
    return kind


def seen_in_training(
    competitors: Sequence[Competitor], *, tested: Collection[str], there: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return a line for each model that may have been trained on subjects it is tested on, and one where none can say.

    A model's config names the subjects that were held out, nothing else of its data.  Where all of them are among the
    subjects of the folder, `there`, the folder may be what it was trained on, and whoever is `tested` without being
    held out may have been seen.  Where a name is missing or none is known, nothing is known.
    """
    seen, unknown = [], []
    for each in competitors:
        if not isinstance(each, Packaged) or each.model is None:
            continue
        model, held_out = each.model, _held_out(each.model.config)
        others = sorted(set(tested) - held_out)
        if not others:
            continue
        if not held_out or not held_out <= set(there):
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
    """Return a digest of the files that define it: its class's, those of the classes before it, and their neighbours.

    Neighbours are the modules imported so far from the folder of one of these files.  What defines kfine's own methods
    is `kfine.benchmark.cases.code_digest`'s business.  Where there is no file the digest never comes again.
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
    """Return its class and those before it that are neither Python's nor kfine's, but at least its own."""
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
        raise UsageError(f"method {method}: no model for it is packaged; give {method}=MODEL_FOLDER")
    loaded = load_model(which)
    return Packaged(f"{method} ({_shown(model, loaded)})" if model else method, method, loaded, device)


def _shown(model: str, loaded: Model) -> str:
    """Return what tables call a model: kfine train calls all of its folders "model", their parents' names differ."""
    folder = Path(model).resolve()
    return folder.parent.name if loaded.name == "model" and folder.parent.name else loaded.name
