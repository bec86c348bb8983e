"""From what a user names (method, model, options) to the method object: the only place where names are looked up."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kfine.checkpoint import PACKAGED, Model, load_model, packaged_models, read_config
from kfine.devices import choose_device, choose_precision
from kfine.diffusion.samplers import SAMPLERS
from kfine.errors import ModelError, UsageError
from kfine.methods.base import Method
from kfine.methods.interpolation import KERNELS, Interpolation
from kfine.methods.regression import Regression
from kfine.methods.sampling import Guidance
from kfine.methods.start import start_sigma
from kfine.methods.vdm import VDMMethod, VDMOptions
from kfine.methods.zero_filling import ZeroFilling
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop

DETERMINISTIC: dict[str, Method] = {
    "zero-filling": ZeroFilling(),
    **{name: Interpolation(name) for name in KERNELS},
}
METHODS = ("auto", "vdm", "regression", *DETERMINISTIC)


@dataclass(frozen=True)
class Choice:
    """The options of `kfine.restore`, as given."""

    method: str = "auto"
    model: str | os.PathLike[str] | Model | None = None
    steps: int | None = None
    samples: int | None = None
    strength: float = 1.0
    noise: float = 0.0
    sampler: str | None = None
    start: float | None = None
    conditioned: bool | None = None
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class Chosen:
    """A method ready to restore, where it runs, and what the provenance says of it."""

    method: Method
    device: torch.device
    description: dict[str, Any]


def choose_method(
    choice: Choice, *, measurements: Callable[[], Iterable[Tensor]], operator: KSpaceCrop
) -> Chosen:
    """Return the method that `choice` names.

    Args:
        choice: the options.
        measurements: gives every y of the image, for what is estimated from them; called only where needed.
        operator: A.

    Raises:
        UsageError: an unknown name, a value out of range, or an option the method has no use for.
        ModelError: the model cannot be found, read or trusted, or serves another method.
        ResourceError: the device is not there.
    """
    _check(choice)
    device = choose_device(choice.device)
    if choice.method in DETERMINISTIC:
        baseline = DETERMINISTIC[choice.method]
        return Chosen(baseline, torch.device("cpu"), {"method": baseline.name, "model": None, "options": {}})
    model = _model(choice)
    precision = choose_precision(choice.precision, device)
    # Convolutions run a fifth faster in this order of memory.
    network = model.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(network, VDM)
    if choice.method == "regression":
        if network.predictor is None:
            raise ModelError(f"model {model.name}: has no predictor for method regression; use method vdm")
        method: Method = Regression(
            network,
            strength=choice.strength,
            turned=bool(model.config.get("sampling", {}).get("turned", False)),
            device=device,
            precision=precision,
        )
    else:
        options = _vdm_options(choice, model, measurements, operator)
        method = VDMMethod(network, options, device=device, precision=precision)
    description = {
        "method": method.name,
        "model": {"name": model.name, "sha256": model.digest},
        "options": method.options
        | {"device": str(device), "precision": str(precision).removeprefix("torch.")},
    }
    return Chosen(method, device, description)


def _vdm_options(
    choice: Choice, model: Model, measurements: Callable[[], Iterable[Tensor]], operator: KSpaceCrop
) -> VDMOptions:
    """Return the model's own settings with the user's in their place."""
    own = model.config.get("sampling", {})
    defaults = VDMOptions(steps=int(own.get("steps", 6)), samples=int(own.get("samples", 8)))
    conditioned = bool(own.get("conditioned", False)) if choice.conditioned is None else choice.conditioned
    start = choice.start
    if start is None and conditioned:
        start = math.inf  # what the network sees of the scan is a better start than the zero-filled image
    elif start is None:
        start = start_sigma(_mean_power(measurements()), operator.high, float(own.get("start_factor", 3.0)))
    guidance = Guidance(
        sampler=choice.sampler or str(own.get("sampler", "dpm-solver-2m")),
        strength=choice.strength,
        # A voxel's noise in model units, spread over the finer grid's orthonormal k-space.
        noise=2 * choice.noise * math.sqrt(math.prod(operator.high) / math.prod(operator.low)),
    )
    return replace(
        defaults,
        steps=choice.steps or defaults.steps,
        samples=choice.samples or defaults.samples,
        # The abstract's sampler brings the abstract's own rule, on the state.
        guidance=replace(guidance, state=guidance.sampler == "ancestral"),
        start=None if math.isinf(start) else start,
        conditioned=conditioned,
        turned=bool(own.get("turned", False)),
        last=float(own.get("last", defaults.last)),
    )


def _mean_power(measurements: Iterable[Tensor]) -> Tensor:
    """Return the mean |y|^2 of the planes that hold at least a tenth of the strongest one's signal."""
    powers = [y.abs().square() for y in measurements]
    signals = [float(power.sum() - power.max()) for power in powers]
    return torch.stack([p for p, s in zip(powers, signals, strict=True) if s >= 0.1 * max(signals)]).mean(0)


def _model(choice: Choice) -> Model:
    if isinstance(choice.model, Model):
        model = choice.model
    else:
        model = load_model(choice.model if choice.model is not None else _packaged_for("vdm"))
    if model.method != "vdm":
        raise ModelError(f"model {model.name}: serves method {model.method}, expected one for vdm")
    return model


def _packaged_for(method: str) -> str:
    for name in packaged_models():
        if read_config(PACKAGED / name)["method"] == method:
            return name
    raise ModelError(f"method {method}: no model for it is packaged; give --model FOLDER")


def _check(choice: Choice) -> None:
    if choice.method not in METHODS:
        raise UsageError(f"method {choice.method!r}: expected one of {', '.join(METHODS)}")
    if choice.sampler is not None and choice.sampler not in SAMPLERS:
        raise UsageError(f"sampler {choice.sampler!r}: expected one of {', '.join(SAMPLERS)}")
    for name in ("steps", "samples"):
        value = getattr(choice, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: expected at least 1")
    if not 0 <= choice.strength <= 1:
        raise UsageError(f"strength {choice.strength:g}: expected a number from 0 to 1")
    if not (math.isfinite(choice.noise) and choice.noise >= 0):
        raise UsageError(f"noise {choice.noise:g}: expected a number of at least 0")
    if choice.start is not None and not choice.start > 0:
        raise UsageError(f"start {choice.start:g}: expected a noise level above 0, or inf")
    if choice.method not in ("auto", "vdm"):
        given = {
            "model": None if choice.method == "regression" else choice.model,
            "noise": choice.noise or None,
            "conditioned": choice.conditioned,
            "steps": choice.steps,
            "sampler": choice.sampler,
            "start": choice.start,
        }
        useless = [name for name, value in given.items() if value is not None]
        if useless or (choice.samples or 1) > 1:
            raise UsageError(
                f"method {choice.method}: has no use for {', '.join(useless or ['samples'])}; leave it out"
            )
