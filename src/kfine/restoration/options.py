"""What a user may name of a method (model, sampling, machine), and which method has a use for what."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from kfine.diffusion.samplers import SAMPLERS
from kfine.errors import UsageError
from kfine.methods.frame_by_frame import TIME_METHODS
from kfine.methods.interpolation import KERNELS
from kfine.models.checkpoint import Model

BASELINES = ("zero-filling", *KERNELS)
LDMS = ("ldm", "cine-ldm")
STILL_NETWORKS = ("srresnet", "srgan", "small-unet")
METHODS = (
    "auto", "core", "vdm", "ldm", "regression", *STILL_NETWORKS, "cine-ldm", "cine-regression", *BASELINES,
)  # fmt: skip

_DRAWING = ("conditioned", "steps", "sampler", "start", "samples")
_SAMPLING = ("noise", "denoise", *_DRAWING)
_NO_USE = {
    **{name: ("model", "strength", *_SAMPLING) for name in BASELINES},
    **{name: _SAMPLING for name in ("regression", *STILL_NETWORKS)},
    "core": _DRAWING,
    "vdm": ("denoise",),
    "cine-regression": (*_SAMPLING, "time_method"),
    "cine-ldm": ("noise", "denoise", "conditioned", "time_method"),
    "ldm": ("noise", "denoise", "conditioned"),
}


@dataclass(frozen=True)
class Choice:
    """The options of `kfine.restore`, as given."""

    method: str = "auto"
    model: str | os.PathLike[str] | Model | None = None
    time_method: str | None = None
    steps: int | None = None
    samples: int | None = None
    strength: float = 1.0
    noise: float = 0.0
    denoise: bool = False
    sampler: str | None = None
    start: float | None = None
    conditioned: bool | None = None
    device: str = "auto"
    precision: str = "auto"


def check_values(choice: Choice) -> None:
    """Raise `UsageError` if a name is unknown or a number out of range."""
    named = {
        "method": (choice.method, METHODS),
        "time_method": (choice.time_method, TIME_METHODS),
        "sampler": (choice.sampler, SAMPLERS),
    }
    for name, (value, known) in named.items():
        if value is not None and value not in known:
            raise UsageError(f"{name} {value!r}: expected one of {', '.join(known)}")
    for name in ("steps", "samples"):
        value = getattr(choice, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not 0 <= choice.strength <= 1:
        raise UsageError(f"strength {choice.strength:g}: expected a number from 0 to 1")
    if not (math.isfinite(choice.noise) and choice.noise >= 0):
        raise UsageError(f"noise {choice.noise:g}: expected a number of at least 0")
    if choice.noise and choice.strength < 1:
        raise UsageError(
            f"noise {choice.noise:g} with strength {choice.strength:g}: expected one of them, both say how far the "
            "measurement may be contradicted; leave one out"
        )
    if choice.start is not None and not choice.start > 0:
        raise UsageError(f"start {choice.start:g}: expected a noise level above 0, or inf")


def has_no_use(choice: Choice, method: str) -> list[str]:
    """Return the options that are given and that `method` has no use for."""
    given = {
        "model": choice.model,
        "time_method": choice.time_method,
        "strength": None if choice.strength == 1 else choice.strength,
        "noise": choice.noise or None,
        "denoise": choice.denoise or None,
        "conditioned": choice.conditioned,
        "steps": choice.steps,
        "sampler": choice.sampler,
        "start": choice.start,
        "samples": None if choice.samples == 1 else choice.samples,
    }
    return [name for name in _NO_USE.get(method, ()) if given[name] is not None]


def check_use(choice: Choice, *, in_time: bool) -> None:
    """Raise `UsageError` if the method (not "auto") has no use for an option that is given.

    in_time: whether frames are asked for at other times than the measured ones.
    """
    useless = has_no_use(choice, choice.method)
    if useless:
        raise UsageError(f"method {choice.method}: has no use for {', '.join(useless)}; leave it out")
    if choice.time_method is not None and not in_time:
        raise UsageError(
            f"time_method {choice.time_method}: has no use without other frames; ask for frames, or leave it out"
        )
