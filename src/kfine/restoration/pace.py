"""Speed of this machine: seconds that a method takes per pixel and per study, and the memory of a study."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from kfine.acquisition.plan import Acquisition
from kfine.image import Image
from kfine.models.checkpoint import load_model
from kfine.restoration.options import BASELINES, Options, check_values
from kfine.restoration.progress import Watch
from kfine.restoration.restore import memory_of, plan_of, resolved_of, restore_planned
from kfine.restoration.selection import ResolvedMethod, packaged_for
from kfine.restoration.streaming import slice_evaluations

_THROUGH = 2  # evaluations per voxel of finer slices: planes across rows and across columns
# One evaluation processes all frames of a slice.
_WHOLE_BEATS = ("cine-core", "cine-ldm", "cine-regression", "cine-photographic")
_SAMPLED = ("vdm", "ldm", "cine-ldm")
_SIDE = 96  # matrix of the phantom that is timed
_MORE, _MORE_BEATS = 6, 2  # slices beside the first


@cache
def seconds_a_pixel(method: str, *, effort: str = "normal") -> float:
    """Return the seconds that `method` takes on this machine for one evaluation of one restored pixel.

    It is the difference in time between several slices and one slice of a small beating heart, or of one frame of
    it: constant costs of a run cancel, costs of a plane outside the network are included.  Both times are the fastest
    of three runs.
    """
    from kfine.phantom.cine import beating_heart

    beats = method in _WHOLE_BEATS
    few: dict[str, Any] = {"samples": 1} if method in _SAMPLED else {}
    model = load_model(name) if method not in BASELINES and (name := packaged_for(method)) else None
    options = Options(scale=2, method=method, model=model, effort=effort, **few)
    fastest, evaluations, frames = {}, 1, 1
    for slices in (1, 1 + (_MORE_BEATS if beats else _MORE)):
        image = beating_heart((_SIDE, _SIDE), frames=4, slices=slices)
        if not beats:
            image = replace(image, voxels=image.voxels[:1], frame_times=None, period=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the phantom is out of domain
            acquisition, seconds = plan_of(image, options), []
            for _ in range(3):
                began = time.perf_counter()
                restore_planned(acquisition, options, watch=Watch())
                seconds.append(time.perf_counter() - began)
            evaluations = _evaluations(acquisition, resolved_of(acquisition, options))
        fastest[slices], frames = min(seconds), image.frames if beats else 1
    (one, first), (many, last) = fastest.items()
    pixels = (many - one) * evaluations * frames * (2 * _SIDE) ** 2
    return max(last - first, 1e-6) / pixels


def seconds_of(acquisition: Acquisition, resolved: ResolvedMethod | None, *, through: str = "core") -> float:
    """Return the seconds that a restoration takes on this machine, if no slice is empty.

    Args:
        acquisition: the plan.
        resolved: the method of the planes; None if the planes are not restored.
        through: name of the method of finer slices.
    """
    rows, columns = acquisition.high
    image, plan, seconds = acquisition.measured, acquisition.slices, 0.0
    if resolved is not None:
        method = resolved.method.name
        evaluations = image.slices * _evaluations(acquisition, resolved)
        together = image.frames if method in _WHOLE_BEATS else 1
        seconds += seconds_a_pixel(method) * evaluations * together * rows * columns
    if plan is not None:
        frames = len(acquisition.timing.at)
        # One evaluation per plane, so the work outside the network has a larger share.
        pace = seconds_a_pixel(through, **({} if through in BASELINES else {"effort": "fast"}))
        seconds += pace * frames * _THROUGH * plan.fine_margined * rows * columns
    return seconds


def _evaluations(acquisition: Acquisition, resolved: ResolvedMethod) -> int:
    return slice_evaluations(resolved.method, resolved.sharp, acquisition.scan)


@dataclass(frozen=True)
class Study:
    """Estimated time and memory for a study of a usual size.

    Attributes:
        title: description of the measured images.
        restored: description of the result.
        method: name of the method.
        seconds: on this machine.
        memory: of the process, bytes; less with the option memory.
    """

    title: str
    restored: str
    method: str
    seconds: float
    memory: int

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {**asdict(self), "seconds": round(self.seconds, 1)}


_STUDIES: tuple[
    tuple[str, str, tuple[int, int, int, int], tuple[float, float, float], dict[str, Any]], ...
] = (
    ("head, 256x256x180", "512x512x180", (1, 180, 256, 256), (1, 1, 1), {"scale": 2}),
    ("30 slices of 320x320", "640x640x30", (1, 30, 320, 320), (4, 0.7, 0.7), {"scale": 2}),
    (
        "36 slices of 5 mm, 256x256",
        "isotropic, 0.9 mm",
        (1, 36, 256, 256),
        (5, 0.9, 0.9),
        {"isotropic": True},
    ),
    ("heart, 12 slices, 20 frames of 128x128", "256x256", (20, 12, 128, 128), (8, 2.8, 2.8), {"scale": 2}),
    (
        "the same",
        "256x256, 40 frames",
        (20, 12, 128, 128),
        (8, 2.8, 2.8),
        {"scale": 2, "frames_scale": 2},
    ),
)


def studies(
    methods: tuple[str, ...], *, on_study: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[Study]:
    """Yield estimated times and memory of usual studies by each of `methods`, or by the default methods.

    on_study: called with (done, total).

    Raises:
        UsageError: an unknown method.
        ModelError: a method without a packaged model.
    """
    work = [(method, *study) for method in methods or ("auto",) for study in _STUDIES]
    on_study(0, len(work))
    for number, (method, title, restored, shape, sizes, target) in enumerate(work, start=1):
        options = Options(method=method, **target)
        check_values(options)
        times = tuple(np.arange(shape[0]) / shape[0]) if shape[0] > 1 else None
        # A broadcast constant, which takes no memory: the plan does not depend on the values.
        voxels = np.broadcast_to(np.float32(1), shape)
        image = Image(voxels, np.diag([*sizes, 1.0]), frame_times=times, period=1.0 if times else None)
        acquisition = plan_of(image, options)
        resolved = resolved_of(acquisition, options) if acquisition.in_plane else None
        name = resolved.method.name if resolved else "core"
        memory = memory_of(acquisition, resolved, options) + voxels.itemsize * math.prod(shape)
        yield Study(title, restored, name, seconds_of(acquisition, resolved), memory)
        on_study(number, len(work))
