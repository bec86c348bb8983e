"""Cases: one competitor on one volume under one degradation, computed once and recognised by content."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.benchmark.competitors import Competitor, Outcome, code_of
from kfine.benchmark.degradations import Degradation, degraded
from kfine.benchmark.meter import machine, metered
from kfine.benchmark.scoring import METRICS, as_array, score
from kfine.benchmark.truths import Truth
from kfine.errors import InputError, ResourceError
from kfine.evaluation.calibration import calibration
from kfine.evaluation.comparison import check_same_grid
from kfine.evaluation.perceptual import Distance
from kfine.image import Image, magnitude
from kfine.restoration.resume import ResumeStore
from kfine.restoration.streaming import Arrays

SAMPLE = ", one sample"
_LONGEST = 120  # bytes of a name of ours; file systems take 255
# What cannot change a score: the command line, training, and how a report looks.
_NO_MATTER = ("cli", "training", "report")


@dataclass(frozen=True)
class Case:
    """One competitor, one volume, one degradation.

    Attributes:
        seed: of the benchmark; this volume's own is `own_seed`.
        parts: where finished slices are kept, marked with everything that decides them.
    """

    truth: Truth
    degradation: Degradation
    competitor: Competitor
    seed: int
    parts: ResumeStore

    @property
    def own_seed(self) -> int:
        """The volume's own seed: noise must not be the same in every patient."""
        return volume_seed(self.truth, self.seed)

    def finished(self) -> list[Arrays] | None:
        """Return the arrays of every slice, or None where the case is still to be computed."""
        found = [self.parts.load(number) for number in self.truth.numbers]
        arrays = [each for each in found if each is not None]
        return arrays if len(arrays) == len(found) else None

    def solve(self, distances: Mapping[str, Distance]) -> list[Arrays]:
        """Restore and score every slice, and return their arrays.

        Raises:
            InputError: the competitor gives back another grid, or voxels that are not finite.
        """
        truth = self.truth
        low = degraded(truth.image, self.degradation, seed=self.own_seed)
        with _noted() as notes, metered() as cost:
            outcome = self.competitor.restore(low, matrix=truth.image.matrix, seed=self.own_seed)
        _check(outcome, truth, self.competitor.name)
        told = {
            "cost": np.array([cost.seconds / len(truth.numbers), cost.memory]),
            "machine": np.array(machine()),
            "notes": np.array(list(dict.fromkeys(notes)), np.str_),
        }
        return [_scored(outcome, truth, index, distances) | told for index in range(len(truth.numbers))]

    def keep(self, slices: Sequence[Arrays]) -> None:
        """Keep the arrays of every slice.

        Raises:
            ResourceError: the disk is full or the folder is read-only.
        """
        try:
            self.parts.folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{self.parts.folder.parent}: cannot be made ({error.strerror})") from None
        for number, arrays in zip(self.truth.numbers, slices, strict=True):
            self.parts.save(number, arrays)


def make_case(
    truth: Truth,
    degradation: Degradation,
    competitor: Competitor,
    *,
    seed: int,
    folder: Path,
    measures: list[str],
) -> Case:
    """Return the case, its slices to be kept below `folder`; `measures`: the perceptual distances there are."""
    recipe = {
        "software": {
            "kfine": code_digest(),
            **{name: version(name) for name in ("torch", "numpy", "scipy", "scikit-image")},
        },
        "truth": truth.digest,
        "slices": len(truth.numbers),
        "degradation": asdict(degradation),
        "method": dict(competitor.settings),
        "code": code_of(competitor),
        "seed": volume_seed(truth, seed),
        "metrics": [metric.key for metric in METRICS],
        "distances": measures,
    }
    names = (degradation.name, truth.name, competitor.name)
    return Case(
        truth, degradation, competitor, seed, ResumeStore(folder.joinpath(*map(_file_name, names)), recipe)
    )


@cache
def code_digest() -> str:
    """Return a digest of the code of kfine that decides results."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if not set(path.relative_to(root).parts) & set(_NO_MATTER):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def volume_seed(truth: Truth, seed: int) -> int:
    """Return a seed of the volume's own, decided by `seed` and the voxels."""
    return int(hashlib.sha256(json.dumps([seed, truth.digest]).encode()).hexdigest()[:8], 16)


def _scored(outcome: Outcome, truth: Truth, index: int, distances: Mapping[str, Distance]) -> Arrays:
    """Return a slice's arrays: of each variant (the mean, then a sample) its scores and rings; spread; pictures."""
    variants = [_plane(image, index) for image in (outcome.mean, outcome.sample) if image is not None]
    scores = [score(truth, index, plane, distances=distances) for plane in variants]
    arrays: dict[str, NDArray[Any]] = {
        "scores": np.stack([as_array(each.values) for each in scores]),
        "rings": np.stack([(each.rings.correlation, each.rings.error) for each in scores]),
    }
    std = None if outcome.std is None else _plane(outcome.std, index)
    if std is not None:
        wrong = variants[0] - truth.planes[index]
        arrays["calibration"] = calibration(
            std, wrong, data_range=truth.data_range, mask=truth.body[index]
        ).sums
    if index == truth.middle:
        arrays["pictures"] = np.stack(variants)
        if std is not None:
            arrays["spread"] = std
        if outcome.half_width is not None:
            arrays["half_width"] = _plane(outcome.half_width, index)
    return arrays


@contextmanager
def _noted() -> Iterator[list[str]]:
    """Yield what is warned of in the block, which goes on its way at its end."""
    said: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield said
    finally:
        for each in caught:
            if issubclass(each.category, UserWarning):
                said.append(str(each.message))
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def _plane(image: Image, index: int) -> NDArray[Any]:
    return magnitude(image).voxels[0, index]


def _check(outcome: Outcome, truth: Truth, name: str) -> None:
    for image in (outcome.mean, outcome.std, outcome.sample):
        if image is None:
            continue
        try:
            check_same_grid(truth.image, image)
        except InputError as error:
            raise InputError(f"method {name}: {error}") from None
        if not np.isfinite(image.voxels).all():
            raise InputError(f"method {name}: expected finite voxels, got NaN or Inf")


def _file_name(text: str) -> str:
    """Return a name that every file system takes, a different one for each text."""
    plain = re.sub(r"[^\w.=-]+", "_", text).strip("._")
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    return short if short == text else f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
