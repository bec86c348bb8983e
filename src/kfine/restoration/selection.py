"""From method, model and options as the user gives them to the method object: the only place that looks up names."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kfine.acquisition.scan import Scan
from kfine.errors import ModelError, UsageError
from kfine.methods.base import Method, PlaneMethod
from kfine.methods.core import CoreMethod, CoreOptions
from kfine.methods.frame_by_frame import BEST_TIME_METHOD, FrameByFrame, OneFrame, check_time_method
from kfine.methods.interpolation import KERNELS, Interpolation
from kfine.methods.ldm import LDMMethod, LDMOptions
from kfine.methods.regression import LDMRegression, Regression
from kfine.methods.vdm import Guidance, VDMMethod, VDMOptions, start_sigma
from kfine.methods.zero_filling import ZeroFilling
from kfine.models.calibration import Calibration
from kfine.models.checkpoint import PACKAGED, Model, load_model, packaged_models, read_config
from kfine.models.devices import choose_device, choose_precision
from kfine.models.domain import Ranges, far
from kfine.models.sampling_defaults import ModelSampling
from kfine.networks.core import CoreNet
from kfine.networks.residual_ldm import ResidualLDM
from kfine.networks.still_ldm import StillLDM
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop
from kfine.restoration.automatic import Facts, Packaged, pick
from kfine.restoration.options import BASELINES, LDMS, Choice, check_use, check_values


def vdm_options(
    choice: Choice, own: ModelSampling, *, power: Callable[[], Tensor], operator: KSpaceCrop
) -> VDMOptions:
    """Return the model's own settings with the user's in their place."""
    defaults = VDMOptions()
    if choice.conditioned and not own.conditioned:
        raise UsageError("conditioned: expected a model that was trained on scans, this one never saw any")
    conditioned = own.conditioned if choice.conditioned is None else choice.conditioned
    start = choice.start or own.start
    if start is None and conditioned:
        start = math.inf  # what the network sees of the scan is a better start than the zero-filled image
    elif start is None:
        start = start_sigma(power(), operator.high, own.start_factor)
    guidance = Guidance(
        sampler=choice.sampler or own.sampler or defaults.guidance.sampler,
        strength=choice.strength,
        # A voxel's noise in model units, spread over the finer grid's orthonormal k-space.
        noise=2 * choice.noise * math.sqrt(math.prod(operator.high) / math.prod(operator.low)),
    )
    return replace(
        defaults,
        steps=choice.steps or own.steps or defaults.steps,
        samples=choice.samples or own.samples or defaults.samples,
        # The abstract's sampler brings the abstract's own rule, on the state.
        guidance=replace(guidance, state=guidance.sampler == "ancestral"),
        start=None if math.isinf(start) else start,
        conditioned=conditioned,
        turned=own.turned,
        last=own.last or defaults.last,
    )


def mean_power(measurements: Iterable[Tensor]) -> Tensor:
    """Return the mean |y|^2 of the planes that hold at least a tenth of the strongest one's signal."""
    powers = [y.abs().square() for y in measurements]
    signals = [float(power.sum() - power.max()) for power in powers]
    return torch.stack([p for p, s in zip(powers, signals, strict=True) if s >= 0.1 * max(signals)]).mean(0)


DETERMINISTIC: dict[str, PlaneMethod] = {
    "zero-filling": ZeroFilling(),
    **{name: Interpolation(name) for name in KERNELS},
}
BEST_BASELINE = "zero-filling"
# Which models serve a method, by the method in their config.json: the first half of a model serves as well.
SERVED_BY = {
    "core": ("core",),
    "vdm": ("vdm",),
    "ldm": ("ldm",),
    "srresnet": ("srresnet",),
    "srgan": ("srgan",),
    "small-unet": ("small-unet",),
    "regression": ("vdm", "ldm", "autoencoder", "srresnet", "small-unet"),
    "cine-ldm": ("cine-ldm",),
    "cine-regression": ("cine-ldm", "vqgan", "cine-regression"),
}
# Which take frames one by one.
_ONE_BY_ONE = ("core", "vdm", "ldm")
# What "auto" makes of a model that is half-way to a method.
HALF_WAY = {"vqgan": "cine-regression", "autoencoder": "regression"}


@dataclass(frozen=True)
class Chosen:
    """A method ready to restore, where it runs, and what the provenance says of it."""

    method: Method
    device: torch.device
    description: dict[str, Any]


def choose_method(
    choice: Choice,
    *,
    measurements: Callable[[], Iterable[Tensor]],
    scan: Scan,
    like: Ranges | None = None,
) -> Chosen:
    """Return the method that `choice` names.

    "auto" is the method that a given model was made for; without a model, what `kfine.restoration.automatic.pick` says,
    or, where other frames are asked for and no model for cines is packaged, the best baseline.

    Args:
        choice: the options.
        measurements: gives every y of the image, for what is estimated from them; called only where needed.
        scan: what was measured of a slice, and which frames are asked for.
        like: what the image is like, to be compared with what the models were trained on; None: not known.

    Warns:
        UserWarning: the image is far from what its model was trained on; or "auto" restores its frames one by one, for
            nothing says that they are of a heart beat.

    Raises:
        UsageError: an unknown name, a value out of range, or an option the method has no use for.
        ModelError: the model cannot be found, read or trusted, or serves another method.
        ResourceError: the device is not there.
    """
    check_values(choice)
    device = choose_device(choice.device)
    choice, picked = _named(choice, scan, like or Ranges())
    check_use(choice, in_time=scan.timing.changed)
    in_time = choice.time_method or BEST_TIME_METHOD
    check_time_method(in_time, scan.timing)
    timed: dict[str, Any] = {"time_method": in_time} if scan.timing.changed else {}
    if choice.method in BASELINES:
        baseline = FrameByFrame(DETERMINISTIC[choice.method], in_time)
        said = {"method": baseline.name, **picked, **timed, "model": None, "options": {}}
        return Chosen(baseline, torch.device("cpu"), said)
    model = _model(choice)
    strange = far(like or Ranges(), Ranges.of(model.name, model.config))
    if strange:
        warnings.warn(
            f"{', '.join(strange)}: far from what model {model.name} knows; trust the result less",
            UserWarning,
            stacklevel=2,
        )
    precision = choose_precision(choice.precision, device)
    network = _on_device(model, device)
    method: Method
    if isinstance(network, ResidualLDM):
        method = _ldm_method(network, model, choice, device=device, precision=precision)
        if isinstance(network, StillLDM):
            method = FrameByFrame(OneFrame(method, method.evaluations(scan) // method.samples), in_time)
        else:
            timed = {}
    elif isinstance(network, CoreNet):
        core = _core_method(network, model, choice, signed=scan.signed, device=device, precision=precision)
        method = FrameByFrame(core, in_time)
    else:
        assert isinstance(network, VDM)
        plane = _plane_method(
            network,
            model,
            choice,
            power=lambda: mean_power(measurements()),
            operator=scan.crop,
            device=device,
            precision=precision,
        )
        method = FrameByFrame(plane, in_time)
    description: dict[str, Any] = {
        "method": method.name,
        **picked,
        **timed,
        "model": {"name": model.name, "sha256": model.digest},
        "options": method.options
        | {"device": str(device), "precision": str(precision).removeprefix("torch.")},
    }
    return Chosen(method, device, description)


def _named(choice: Choice, scan: Scan, like: Ranges) -> tuple[Choice, dict[str, str]]:
    """Return `choice` with a method for "auto", and why; its model is loaded if that says which."""
    if choice.method != "auto":
        return choice, {}
    if choice.model is not None:
        model = choice.model if isinstance(choice.model, Model) else load_model(choice.model)
        method = HALF_WAY.get(model.method, model.method)
        return replace(choice, method=method, model=model), _because(f"what model {model.name} was made for")
    timing = scan.timing
    beats = timing.period is not None and len(timing.times) > 1
    facts = Facts(beats, timing.changed, measured=not scan.crop.real, ranges=like)
    picked = pick(facts, _packaged(), choice)
    if picked is not None:
        if len(timing.times) > 1 and timing.period is None and picked.method in _ONE_BY_ONE:
            warnings.warn(
                f"{len(timing.times)} frames are restored one by one; if they are of a heart beat, say how long it "
                "lasts (period)",
                UserWarning,
                stacklevel=3,
            )
        return replace(choice, method=picked.method, model=picked.model), _because(picked.why)
    if not timing.changed:
        return replace(choice, method="vdm"), {}  # which says that no model for it is packaged
    warnings.warn(
        f"no model for cines is packaged: {BEST_BASELINE} in space, {choice.time_method or BEST_TIME_METHOD} "
        "in time; give a model folder for more",
        UserWarning,
        stacklevel=3,
    )
    return replace(choice, method=BEST_BASELINE), _because("no model for cines is packaged")


def _because(why: str) -> dict[str, str]:
    return {"method_chosen_for": why}


def _on_device(model: Model, device: torch.device) -> torch.nn.Module:
    network = model.network.to(device)
    if isinstance(network, VDM):  # convolutions of planes run a fifth faster in this order of memory
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _ldm_method(
    network: ResidualLDM, model: Model, choice: Choice, *, device: torch.device, precision: torch.dtype
) -> Method:
    own, defaults = ModelSampling.of(model), LDMOptions()
    name = choice.method
    if name not in LDMS:
        return LDMRegression(
            name,
            network,
            strength=choice.strength,
            turned=own.turned,
            device=device,
            precision=precision,
        )
    start = choice.start or own.start or defaults.start
    options = replace(
        defaults,
        steps=choice.steps or own.steps or defaults.steps,
        samples=choice.samples or own.samples or defaults.samples,
        sampler=choice.sampler or own.sampler or defaults.sampler,
        strength=choice.strength,
        turned=own.turned,
        start=None if start is None or math.isinf(start) else start,
        last=own.last or defaults.last,
    )
    return LDMMethod(name, network, options, device=device, precision=precision)


def _core_method(
    network: CoreNet,
    model: Model,
    choice: Choice,
    *,
    signed: bool,
    device: torch.device,
    precision: torch.dtype,
) -> CoreMethod:
    options = CoreOptions(
        turned=ModelSampling.of(model).turned,
        strength=choice.strength,
        noise=2 * choice.noise if choice.noise else None,
        denoise=choice.denoise,
    )
    calibration = Calibration.of(model.name, model.config)
    return CoreMethod(
        network, options, signed=signed, calibration=calibration, device=device, precision=precision
    )


def _plane_method(
    network: VDM,
    model: Model,
    choice: Choice,
    *,
    power: Callable[[], Tensor],
    operator: KSpaceCrop,
    device: torch.device,
    precision: torch.dtype,
) -> PlaneMethod:
    own = ModelSampling.of(model)
    if choice.method == "vdm":
        options = vdm_options(choice, own, power=power, operator=operator)
        return VDMMethod(network, options, device=device, precision=precision)
    if network.predictor is None:
        raise ModelError(f"model {model.name}: has no predictor for method regression; use method vdm")
    return Regression(
        network,
        strength=choice.strength,
        turned=own.turned,
        device=device,
        precision=precision,
    )


def _model(choice: Choice) -> Model:
    serving = SERVED_BY[choice.method]
    model = choice.model
    if model is None:
        model = packaged_for(choice.method)
        if model is None:
            raise ModelError(f"method {choice.method}: no model for it is packaged; give --model FOLDER")
    loaded = model if isinstance(model, Model) else load_model(model)
    if loaded.method not in serving:
        raise ModelError(
            f"model {loaded.name}: serves method {loaded.method}, expected one for {choice.method}"
        )
    return loaded


def _packaged() -> dict[str, Packaged]:
    """Return the packaged models by name."""
    configs = {name: read_config(PACKAGED / name) for name in packaged_models()}
    return {name: Packaged(config["method"], Ranges.of(name, config)) for name, config in configs.items()}


def packaged_for(method: str) -> str | None:
    """Return the name of the first packaged model that serves `method`, if there is one: one made for it first."""
    models = _packaged()
    names = (name for serving in SERVED_BY[method] for name, made in models.items() if made.method == serving)
    return next(names, None)
