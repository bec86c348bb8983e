"""Options of a restoration: names, defaults and validity.  Importing this module does not import torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from kfine.errors import UsageError
from kfine.text import json_ready

if TYPE_CHECKING:
    from kfine.models.checkpoint import Model

BASELINES = ("zero-filling", "nearest", "bilinear", "bicubic")
COMPARED = ("srresnet", "srgan")  # networks for comparison with core
METHODS = (
    "auto", "core", "sharp", "vdm", "ldm", *COMPARED, "cine-core", "cine-ldm", "cine-regression",
    "cine-photographic", *BASELINES,
)  # fmt: skip
# Removed methods and their replacements.
GONE = {"small-unet": "core", "regression": "core, or cine-regression"}

SLICE_OPTIONS = ("slice_scale", "voxel", "isotropic", "slice_profile")
# Options that the first version did not have.
LATER_OPTIONS = (*SLICE_OPTIONS, "confidence", "calibration", "adapt", "strict", "sharp", "sharp_amount")
_PLACES = ("model", "calibration")  # options that may be paths
EFFORTS = ("fast", "normal", "best")
MOST_SHARP = 1.5  # the greatest amount of a sharp image; at 1 it is the network's
_AMOUNT_ALONE = "sharp_amount: has no use without sharp; add sharp, or leave it out"

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}  # bytes

_DRAWING = ("conditioned", "steps", "sampler", "start", "samples")
_SAMPLING = ("noise", "denoise", *_DRAWING)
_SHARP = ("sharp", "sharp_amount")
# Options that have no effect with a method.
_NO_USE = {
    **{name: ("model", "strength", "effort", "adapt", *_SHARP, *_SAMPLING) for name in BASELINES},
    "core": _DRAWING,
    "sharp": ("sharp", *_DRAWING),
    "srresnet": (*_SHARP, *_DRAWING),
    "srgan": ("effort", *_SHARP, *_DRAWING),
    "vdm": ("denoise", *_SHARP),
    "cine-core": (*_DRAWING, "time_method"),
    "cine-regression": ("effort", *_SAMPLING, "time_method", *_SHARP),
    "cine-ldm": ("effort", "noise", "denoise", "conditioned", "time_method", *_SHARP),
    "ldm": ("conditioned", *_SHARP),
    "cine-photographic": ("strength", "denoise", *_DRAWING, "time_method"),
}


@dataclass(frozen=True)
class Options:
    """The options of `kfine.restore` that determine its voxels; see there for their meanings."""

    scale: float | None = None
    matrix: tuple[int, int] | None = None
    slice_scale: float | None = None
    voxel: float | tuple[float, float, float] | None = None
    isotropic: bool = False
    slice_profile: str | None = None
    frames_scale: int | None = None
    frames: int | None = None
    time_method: str | None = None
    noise: float | Literal["data"] = 0.0
    denoise: bool = False
    effort: str = "normal"
    method: str = "auto"
    model: str | os.PathLike[str] | Model | None = None
    samples: int | None = None
    steps: int | None = None
    strength: float = 1.0
    sampler: str | None = None
    start: float | None = None
    conditioned: bool | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    sharp: bool = False
    sharp_amount: float | None = None
    confidence: float | None = None
    calibration: str | os.PathLike[str] | None = None
    adapt: str | int | None = None
    strict: bool = False

    def normal(self) -> Options:
        """Return the options with numbers of the declared types: a scale of 2 becomes 2.0, a matrix a pair."""

        def number(value: Any) -> Any:
            return value if value is None or value == "data" else float(value)

        numbers = {
            name: number(getattr(self, name))
            for name in ("scale", "slice_scale", "noise", "strength", "start", "confidence", "sharp_amount")
        }
        matrix = None if self.matrix is None else (int(self.matrix[0]), int(self.matrix[1]))
        voxel = self.voxel
        if voxel is not None:
            voxel = tuple(map(float, voxel)) if isinstance(voxel, Sequence) else float(voxel)  # type: ignore[assignment]
        return replace(self, **numbers, matrix=matrix, voxel=voxel, seed=int(self.seed))

    @property
    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults, JSON-ready; models and files by their names."""
        changed = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            if isinstance(value, str | os.PathLike):
                value = os.path.basename(os.path.normpath(value)) if option.name in _PLACES else value
            elif option.name == "model":
                value = value.name
            changed[option.name] = json_ready(value)
        return changed

    @property
    def target(self) -> dict[str, Any]:
        """The options of `kfine.acquisition.plan.plan`: grid and times to restore to."""
        names = ("matrix", "scale", *SLICE_OPTIONS, "frames_scale", "frames")
        return {name: getattr(self, name) for name in names}

    @property
    def in_time(self) -> bool:
        """Whether other frames are restored."""
        return self.frames is not None or self.frames_scale is not None

    @property
    def in_slices(self) -> bool:
        """Whether other slices are restored."""
        return self.slice_scale is not None or self.voxel is not None or self.isotropic

    @property
    def noise_level(self) -> float:
        """The noise as a number: "data" has been replaced by its estimate."""
        assert not isinstance(self.noise, str)
        return self.noise

    @property
    def slice_label(self) -> str:
        """The target of the slice direction: "x4slices", "1mm", "1x1x1mm", "isotropic"; "" without one."""
        if self.slice_scale is not None:
            return f"x{self.slice_scale:g}slices".replace(".", "p")
        if self.voxel is not None:
            sides = self.voxel if isinstance(self.voxel, Sequence) else (self.voxel,)
            return "x".join(f"{side:g}" for side in sides).replace(".", "p") + "mm"
        return "isotropic" if self.isotropic else ""

    @property
    def label(self) -> str:
        """Suffix of the default output name: "_x2", "_256x192_vdm", "_x2_20frames"."""
        parts = [f"x{self.scale:g}".replace(".", "p")] if self.scale is not None else []
        parts += [f"{self.matrix[0]}x{self.matrix[1]}"] if self.matrix is not None else []
        parts += [self.slice_label] if self.slice_label else []
        parts += [f"{self.frames_scale}xframes"] if self.frames_scale is not None else []
        parts += [f"{self.frames}frames"] if self.frames is not None else []
        parts += [self.method] if self.method != "auto" else []
        return "".join(f"_{part}" for part in parts)


def adapt_budget(adapt: str | int) -> tuple[int | None, float | None]:
    """Return the limit (updates, seconds) of the fit to a volume; one of them is None.

    >>> adapt_budget("2m"), adapt_budget("90s"), adapt_budget("400")
    ((None, 120.0), (None, 90.0), (400, None))

    Raises:
        UsageError: neither a time nor a number of updates above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", str(adapt))
    number = float(match[1]) if match else 0.0
    if not match or not number or (not match[2] and number != int(number)):
        raise UsageError(f"adapt {adapt}: expected a time such as 2m or 90s, or a number of updates")
    if match[2]:
        return None, number * {"s": 1, "m": 60, "h": 3600}[match[2]]
    return int(number), None


def bytes_of(memory: str | int) -> int:
    """Return the bytes of a limit such as "4G", "800M" or 2**32; units are powers of 1024.

    >>> bytes_of("4G") == 4 * 2**30, bytes_of("1.5 GB") == 3 * 2**29, bytes_of(1000)
    (True, True, 1000)

    Raises:
        UsageError: no size above 0.
    """
    match = re.fullmatch(
        r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(memory).strip(), re.IGNORECASE | re.ASCII
    )
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise UsageError(f"memory {memory}: expected a size such as 4G or 800M")
    return size


def check_values(options: Options) -> None:
    """Raise `UsageError` if a name is unknown or a number out of range."""
    from kfine.diffusion.samplers import SAMPLERS
    from kfine.methods.time_interpolation import TIME_METHODS

    if options.method in GONE:
        raise UsageError(f"method {options.method!r}: is gone; use {GONE[options.method]}")
    named = {
        "method": (options.method, METHODS),
        "effort": (options.effort, EFFORTS),
        "time_method": (options.time_method, TIME_METHODS),
        "sampler": (options.sampler, SAMPLERS),
    }
    for name, (value, known) in named.items():
        if value is not None and value not in known:
            raise UsageError(f"{name} {value!r}: expected one of {', '.join(known)}")
    for name in ("steps", "samples"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not 0 <= options.strength <= 1:
        raise UsageError(f"strength {options.strength:g}: expected a number from 0 to 1")
    noise = options.noise if isinstance(options.noise, str) else f"{options.noise:g}"
    if not isinstance(options.noise, str) and not (math.isfinite(options.noise) and options.noise >= 0):
        raise UsageError(f"noise {noise}: expected a number of at least 0")
    if options.noise and options.strength < 1:
        raise UsageError(
            f"noise {noise} with strength {options.strength:g}: expected one of them, both set how far the result may "
            "differ from the measurement; leave one out"
        )
    if options.adapt is not None:
        adapt_budget(options.adapt)
        if not options.in_slices:
            raise UsageError(
                "adapt: fits the network to a stack of slices; add isotropic, slice_scale or voxel, or leave it out"
            )
    if options.sharp and options.in_slices:
        raise UsageError("sharp: only for measured slices; leave it out, or the finer slices")
    if options.sharp and options.in_time and options.method == "core":
        raise UsageError(
            "sharp: of other frames only with method cine-core; leave it out, or name that method"
        )
    if options.sharp_amount is not None:
        alone = not options.sharp and options.model is None  # a model may be of method sharp
        if alone and options.method == "auto":
            raise UsageError(_AMOUNT_ALONE)
        if not 0 < options.sharp_amount <= MOST_SHARP:
            raise UsageError(
                f"sharp_amount {options.sharp_amount:g}: expected a number above 0, up to {MOST_SHARP:g}"
            )
    if options.confidence is not None and not 0 < options.confidence < 1:
        raise UsageError(f"confidence {options.confidence:g}: expected a number between 0 and 1, such as 0.9")
    if options.start is not None and not options.start > 0:
        raise UsageError(f"start {options.start:g}: expected a noise level above 0, or inf")


def without_use(options: Options, method: str) -> list[str]:
    """Return the names of the options that differ from their defaults and have no effect with `method`."""
    changed = {
        "model": options.model,
        "time_method": options.time_method,
        "strength": None if options.strength == 1 else options.strength,
        "noise": options.noise or None,
        "denoise": options.denoise or None,
        "effort": None if options.effort == "normal" else options.effort,
        "adapt": options.adapt,
        "sharp": options.sharp or None,
        "sharp_amount": options.sharp_amount,
        "conditioned": options.conditioned,
        "steps": options.steps,
        "sampler": options.sampler,
        "start": options.start,
        "samples": None if options.samples == 1 else options.samples,
    }
    return [name for name in _NO_USE.get(method, ()) if changed[name] is not None]


def fallen_back(options: Options, method: str) -> Options:
    """Return `options` with another method, and with defaults for options that have no effect with it."""
    defaults = {option.name: option.default for option in fields(options)}
    useless = {name: defaults[name] for name in without_use(options, method)}
    return replace(options, method=method, **useless)  # type: ignore[arg-type]


def check_use(options: Options, *, in_time: bool) -> None:
    """Raise `UsageError` if an option differs from its default and has no effect with the method (not "auto").

    in_time: whether frames are restored at other times than the measured ones.
    """
    useless = without_use(options, options.method)
    if useless:
        raise UsageError(f"method {options.method}: has no use for {', '.join(useless)}; leave it out")
    if options.sharp_amount is not None and not options.sharp and options.method != "sharp":
        raise UsageError(_AMOUNT_ALONE)
    if options.time_method is not None and not in_time:
        raise UsageError(
            f"time_method {options.time_method}: has no use without other frames; ask for frames, or leave it out"
        )
