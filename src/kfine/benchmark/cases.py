"""Cases: one competitor on one volume under one degradation, computed once and identified by content; their cost."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import platform
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine._version import __version__
from kfine.benchmark.competitors import Competitor, Outcome, code_of
from kfine.benchmark.degradations import Degradation, degraded
from kfine.benchmark.scoring import METRICS, as_array, score
from kfine.benchmark.truths import Truth
from kfine.errors import InputError, ResourceError
from kfine.evaluation.calibration import calibration
from kfine.evaluation.comparison import check_same_grid
from kfine.evaluation.metrics import Distance
from kfine.image import Image, magnitude
from kfine.restoration.streaming import Arrays, ResumeStore

_PROCESS = Path("/proc/self")
_MIB = 2**20
SAMPLE = ", one sample"
_LONGEST = 120  # bytes of a file name; file systems allow 255
# Parts of the package that cannot change a score: the command line, training, the layout of the report.
_WITHOUT_EFFECT = ("cli", "training", "report")


@dataclass(frozen=True)
class Case:
    """One competitor, one volume, one degradation.

    Attributes:
        seed: seed of the benchmark; `own_seed` is the seed of this volume.
        parts: store of finished slices, marked with everything that determines them.
    """

    truth: Truth
    degradation: Degradation
    competitor: Competitor
    seed: int
    parts: ResumeStore

    @property
    def own_seed(self) -> int:
        """Seed of the volume: noise must differ between patients."""
        return volume_seed(self.truth, self.seed)

    def finished(self) -> list[Arrays] | None:
        """Return the arrays of all slices, or None if the case is not computed yet."""
        found = [self.parts.load(number) for number in self.truth.numbers]
        arrays = [each for each in found if each is not None]
        return arrays if len(arrays) == len(found) else None

    def solve(self, distances: Mapping[str, Distance]) -> list[Arrays]:
        """Restore and score all slices, and return their arrays.

        Raises:
            InputError: the competitor returns another grid, or voxels that are not finite.
        """
        truth = self.truth
        low = degraded(truth.image, self.degradation, seed=self.own_seed)
        with _warnings_collected() as notes, metered() as cost:
            outcome = self.competitor.restore(low, matrix=truth.image.matrix, seed=self.own_seed)
        _check(outcome, truth, self.competitor.name)
        common = {
            "cost": np.array([cost.seconds / len(truth.numbers), cost.memory]),
            "machine": np.array(machine()),
            "notes": np.array(list(dict.fromkeys(notes)), np.str_),
        }
        return [_scored(outcome, truth, index, distances) | common for index in range(len(truth.numbers))]

    def save(self, slices: Sequence[Arrays]) -> None:
        """Save the arrays of all slices.

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
    """Return the case; its slices are saved below `folder`, `measures` are the available perceptual distances."""
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
    """Return a digest of the code of kfine that determines results."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if not set(path.relative_to(root).parts) & set(_WITHOUT_EFFECT):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def volume_seed(truth: Truth, seed: int) -> int:
    """Return the seed of a volume, derived from `seed` and the voxels."""
    return int(hashlib.sha256(json.dumps([seed, truth.digest]).encode()).hexdigest()[:8], 16)


def _scored(outcome: Outcome, truth: Truth, index: int, distances: Mapping[str, Distance]) -> Arrays:
    """Return the arrays of a slice: scores and rings of each variant (mean, sample), spread, pictures."""
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
def _warnings_collected() -> Iterator[list[str]]:
    """Collect the UserWarnings of the block in the yielded list, and emit them again afterwards."""
    messages: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield messages
    finally:
        for each in caught:
            if issubclass(each.category, UserWarning):
                messages.append(str(each.message))
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
    """Return a file name that all file systems allow, a different one for each text."""
    plain = re.sub(r"[^\w.=-]+", "_", text).strip("._")
    short = plain.encode()[:_LONGEST].decode(errors="ignore")
    return short if short == text else f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass
class Cost:
    """Cost of a block of code.

    Attributes:
        seconds: wall clock.
        memory: peak resident memory of the block minus that at its start, MiB; with a GPU, the same of the GPU's
            allocator.  nan on systems other than Linux.
    """

    seconds: float = math.nan
    memory: float = math.nan


@contextmanager
def metered() -> Iterator[Cost]:
    """Yield the cost of the block, filled in when it ends."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
    before = _forget_peak()
    cost, began = Cost(), time.perf_counter()
    yield cost
    if on_gpu:
        torch.cuda.synchronize()
    cost.seconds = time.perf_counter() - began
    cost.memory = max(_resident("VmHWM") - before, 0.0)
    if on_gpu and torch.cuda.max_memory_allocated() > allocated:
        cost.memory = (torch.cuda.max_memory_allocated() - allocated) / _MIB


def _forget_peak() -> float:
    """Reset the kernel's peak of resident memory and return the present resident memory in MiB, or nan.

    Memory that earlier work has freed is returned to the system first: reused memory would not count.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return math.nan
    return _resident("VmRSS")


def _resident(field: str) -> float:
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), math.nan)


def machine() -> str:
    """Return the versions, the threads and the processor."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"kfine {__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {_processor()}{gpu}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
