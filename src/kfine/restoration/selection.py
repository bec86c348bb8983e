"""Choice of method and model: construction of the method object, and the rule of "auto"."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.acquisition.scan import Scan
from kfine.errors import ModelError, UsageError
from kfine.methods.base import Method, PlaneMethod
from kfine.methods.cine_core import CineCoreMethod
from kfine.methods.core import SYMMETRIES, TURNS, CoreMethod, CoreOptions, measured_parts
from kfine.methods.interpolation import KERNELS, Interpolation, ZeroFilling
from kfine.methods.ldm import CineLDMMethod, LDMOptions, StillLDMMethod
from kfine.methods.photographic import PhotographicMethod, PhotographicSharpMethod
from kfine.methods.regression import CineRegression
from kfine.methods.sharp import SharpMethod
from kfine.methods.time_interpolation import BEST_TIME_METHOD, FrameByFrame, check_time_method
from kfine.methods.vdm import Guidance, VDMMethod, VDMOptions, start_sigma
from kfine.models.calibration import Calibration, CalibrationFile
from kfine.models.checkpoint import PACKAGED, Model, ModelSampling, load_model, packaged_models, read_config
from kfine.models.devices import choose_device, choose_precision
from kfine.models.domain import Domain, Ranges
from kfine.networks.core import CineCoreNet, CoreNet, PhotographicNet, SharpNet, cine_network
from kfine.networks.ldm import CineLDM, StillLDM
from kfine.networks.vdm import VDM
from kfine.operators.kspace import KSpaceCrop
from kfine.restoration.options import BASELINES, Options, check_use, check_values, without_use
from kfine.restoration.statement import Statement


def vdm_options(
    options: Options, model: ModelSampling, *, power: Callable[[], Tensor], operator: KSpaceCrop
) -> VDMOptions:
    """Return the sampling options of a VDM: the user's, else the model's, else the method's.

    power: returns |y|^2 (*low), for the noise level at which unconditional sampling starts.
    """
    defaults = VDMOptions()
    if options.conditioned and not model.conditioned:
        raise UsageError("conditioned: expected a model that was trained on scans, this one never saw any")
    conditioned = model.conditioned if options.conditioned is None else options.conditioned
    start = options.start or (model.start if conditioned == model.conditioned else None)
    if start is None and conditioned:
        start = _START
    elif start is None:
        start = start_sigma(power(), operator.high, model.start_factor)
    guidance = Guidance(
        sampler=options.sampler or model.sampler or defaults.guidance.sampler,
        strength=options.strength,
        # Noise of a voxel in model units, converted to the orthonormal k-space of the finer grid.
        noise=2 * options.noise_level * math.sqrt(math.prod(operator.high) / math.prod(operator.low)),
    )
    return replace(
        defaults,
        steps=options.steps or model.steps or defaults.steps,
        samples=options.samples or model.samples or defaults.samples,
        # With the abstract's sampler guidance acts on the state, as in the abstract.
        guidance=replace(guidance, state=guidance.sampler == "ancestral"),
        start=None if math.isinf(start) else start,
        conditioned=conditioned,
        symmetries=symmetries(options, model),
        last=(model.last or _LAST) if conditioned else defaults.last,
    )


# First and last noise level of conditioned samples, in standard deviations of the residual of the mean image.
_START, _LAST = 2.0, 0.1


def symmetries(options: Options, model: ModelSampling) -> int:
    """Return the number of evaluations of the core network that are averaged in a mean image."""
    return {"fast": 1, "normal": TURNS if model.turned else 1, "best": SYMMETRIES}[options.effort]


def mean_power(measurements: Iterable[Tensor]) -> Tensor:
    """Return the mean |y|^2 of the planes with at least a tenth of the signal of the strongest one."""
    powers = [y.abs().square() for y in measurements]
    signals = [float(power.sum() - power.max()) for power in powers]
    return torch.stack([p for p, s in zip(powers, signals, strict=True) if s >= 0.1 * max(signals)]).mean(0)


DETERMINISTIC: dict[str, PlaneMethod] = {
    "zero-filling": ZeroFilling(),
    **{name: Interpolation(name) for name in KERNELS},
}
BEST_BASELINE = "zero-filling"
# The models that can be used for a method, by the method in their config.json: earlier stages are sufficient for some.
SERVED_BY = {
    **{name: (name,) for name in ("core", "sharp", "vdm", "ldm", "srresnet", "srgan", "cine-ldm")},
    "cine-core": ("cine-core", "core"),  # a core network is used without layers along time
    "cine-regression": ("cine-ldm", "vqgan", "cine-regression"),
    "cine-photographic": ("cine-photographic",),
}
# Methods that "auto" tries, in this order: for still images, for other frames, for cines with their frames.
# Others must be named.
_STILL = ("core", "vdm", "ldm")
_IN_TIME = ("cine-core", "cine-ldm")
_CINE = ("cine-core", "core", "cine-ldm", "vdm", "ldm")
STAGE_METHODS = {"vqgan": "cine-regression"}  # the method of "auto" with a model of an earlier stage


@dataclass(frozen=True)
class ResolvedMethod:
    """A method ready to restore.

    Attributes:
        method: the method.
        device: of the network.
        model: name and SHA-256 of its model, and of the core network inside; None for a method without a model.
        options: of the method and the machine, JSON-ready.
        time_method: interpolation in time; None if the method restores other frames itself, or none are requested.
        reason: why "auto" chose it; None if the user named it.
        calibration: of its error; None if not calibrated.
        calibrated_by: description of the calibration.
        sharp: method of the sharp image around each mean image; None without a request.
        sharp_record: its model and settings, JSON-ready.
    """

    method: Method
    device: torch.device
    model: dict[str, str] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    time_method: str | None = None
    reason: str | None = None
    calibration: Calibration | None = None
    calibrated_by: str = ""
    sharp: SharpMethod | None = None
    sharp_record: dict[str, Any] | None = None

    def statement(self, scan: Scan) -> Statement | None:
        """Return the calibrated error of the restored frames of `scan`; None if not calibrated."""
        if self.calibration is None:
            return None
        if scan.timing.changed and (self.calibration.motion is None or self.method.name != "cine-core"):
            return None
        return Statement(self.calibration, measured_parts(scan.crop), self.calibrated_by)


def choose_method(
    options: Options,
    *,
    measurements: Callable[[], Iterable[Tensor]],
    scan: Scan,
    ranges: Ranges | None = None,
) -> ResolvedMethod:
    """Return the method of `options`, its model loaded.

    "auto" is the method of the model in `options`; without a model, the choice of `pick`; or, if other frames are
    requested and no model for cines is packaged, the best baseline.

    Args:
        options: of the restoration.
        measurements: returns every y of the image, for estimates from them; called only if needed.
        scan: the measurement of a slice, and the restored frames.
        ranges: properties of the image, for the comparison with the ranges of the model; None: unknown.

    Warns:
        UserWarning: the image is far outside the ranges that its model was tested on; or "auto" restores frames one by
            one, as they have no period.

    Raises:
        UsageError: an unknown name, a value out of range, or an option without effect.
        ModelError: the model cannot be found or read, or is for another method.
        ResourceError: the device does not exist.
    """
    check_values(options)
    device = choose_device(options.device)
    options, reason = _named(options, scan)
    check_use(options, in_time=scan.timing.changed)
    in_time = options.time_method or BEST_TIME_METHOD
    check_time_method(in_time, scan.timing)
    time_method = in_time if scan.timing.changed else None
    if options.method in BASELINES:
        baseline = FrameByFrame(DETERMINISTIC[options.method], in_time)
        resolved = ResolvedMethod(baseline, torch.device("cpu"), time_method=time_method, reason=reason)
        return _calibrated(resolved, options, Calibration.of_baseline(options.method))
    model = _model(options)
    for difference in Domain.of(model.name, model.config).far(ranges or Ranges()):
        warnings.warn(f"model {model.name}: {difference}", UserWarning, stacklevel=2)
    precision = choose_precision(options.precision, device)
    network = model.network
    if options.method == "cine-core" and isinstance(network, CoreNet):
        network = cine_network(network, model.config["network"])
    network = network.to(device)
    method: Method
    if isinstance(network, CineLDM):
        method = _cine_method(network, model, options, device=device, precision=precision)
        time_method = None
    elif isinstance(network, PhotographicNet):
        _check_photographic(scan)
        settings = replace(_core_options(model, options), denoise=True, strength=0.0)
        method = PhotographicMethod(network, settings, signed=False, device=device, precision=precision)
        time_method = None
    elif isinstance(network, CineCoreNet):
        settings = _core_options(model, options)
        method = CineCoreMethod(network, settings, signed=scan.signed, device=device, precision=precision)
        time_method = None
    else:
        plane = _plane_method(
            network, model, options, scan, measurements=measurements, device=device, precision=precision
        )
        method = FrameByFrame(plane, in_time)
    machine = {"device": str(device), "precision": str(precision).removeprefix("torch.")}
    resolved = ResolvedMethod(
        method,
        device,
        model=model.digests,
        options=method.options | machine,
        time_method=time_method,
        reason=reason,
    )
    if options.sharp:
        resolved = _with_sharp(resolved, model, options, scan, device=device, precision=precision)
    own = options.method in (model.method, "cine-core")  # whose frames are those of the core network
    packaged = Calibration.of(model.name, model.config) if own else None
    return _calibrated(resolved, options, packaged)


@cache
def _companion(name: str) -> Model:
    """Return a packaged model around the core network, loaded once: a batch has many small cases."""
    return load_model(name)


def _with_sharp(
    resolved: ResolvedMethod,
    model: Model,
    options: Options,
    scan: Scan,
    *,
    device: torch.device,
    precision: torch.dtype,
) -> ResolvedMethod:
    """Return `resolved`, the method of the core network `model`, with the method of sharp images."""
    name = packaged_for("sharp")
    if name is None:
        raise ModelError("sharp: no model of method sharp is packaged; leave sharp out")
    sharp = _companion(name)
    if sharp.core is not None and sharp.core.digest != (model.core or model).digest:
        raise UsageError(
            f"sharp: model {sharp.name} is around model {sharp.core.name}, not {model.name}; leave sharp out, or model"
        )
    network = sharp.network.to(device)
    assert isinstance(network, SharpNet)
    amount = _amount(sharp, options)
    method: SharpMethod
    if isinstance(resolved.method, PhotographicMethod):
        method = PhotographicSharpMethod(
            resolved.method, network, CoreOptions(), amount=amount, device=device, precision=precision
        )
    else:
        method = SharpMethod(
            network,
            _core_options(model, options),
            signed=scan.signed,
            amount=amount,
            device=device,
            precision=precision,
        )
    return replace(resolved, sharp=method, sharp_record=sharp.digests | {"amount": amount})


def _amount(model: Model, options: Options) -> float:
    """Return the amount of a sharp image: the user's, else the model's."""
    return ModelSampling.of(model).amount if options.sharp_amount is None else options.sharp_amount


def _calibrated(resolved: ResolvedMethod, options: Options, packaged: Calibration | None) -> ResolvedMethod:
    """Return the method with the calibration of the user's file, else with the `packaged` one."""
    if options.calibration is None:
        return replace(resolved, calibration=packaged, calibrated_by="packaged")
    path = Path(options.calibration)
    table = CalibrationFile.read(path).checked_for(options.method, resolved.model, name=path.name)
    return replace(resolved, calibration=table, calibrated_by=f"file {path.name}")


@dataclass(frozen=True)
class ImageTraits:
    """Properties of an image that determine the method of "auto".

    Attributes:
        beats: whether it is a cine with a period.
        in_time: whether frames at other times are requested.
        measured: whether its k-space was measured.
    """

    beats: bool
    in_time: bool
    measured: bool


@dataclass(frozen=True)
class Selection:
    """A method, the name of its model, and the reason for the choice."""

    method: str
    model: str
    why: str


def pick(traits: ImageTraits, models: Mapping[str, str], options: Options) -> Selection | None:
    """Return the choice of "auto" for an image; None if no packaged model is suitable.

    Other frames are restored by "cine-core", with its model or with a core network; a cine without other frames by
    "cine-core" with its model; any other image by "core".  If a model is not packaged, or one of `options` has no
    effect with it, the next one is chosen.

    models: the method of each packaged model, by its name.
    """
    kind = (
        "other frames are asked for" if traits.in_time
        else "frames of a heart beat" if traits.beats
        else "measured k-space" if traits.measured
        else "a magnitude image"
    )  # fmt: skip
    order = _IN_TIME if traits.in_time else _CINE if traits.beats else _STILL
    serving = {method: SERVED_BY[method] if traits.in_time else (method,) for method in order}
    available = [
        (method, name)
        for method in order
        for kind_of_model in serving[method]
        for name, model_method in models.items()
        if model_method == kind_of_model
    ]
    if not available:
        return None
    suitable = [pair for pair in available if not without_use(options, pair[0])]
    method, name = (suitable or available)[0]
    first = available[0][0]
    useless = without_use(options, first)
    if method != first and useless:
        kind += f", and {first} has no use for {', '.join(useless)}"
    return Selection(method, name, kind)


def picked_for(scan: Scan, options: Options) -> str | None:
    """Return the name of the packaged model that "auto" chooses for an image; None if none is suitable."""
    picked = _picked(scan, options)
    return None if picked is None else picked.model


def _picked(scan: Scan, options: Options) -> Selection | None:
    timing = scan.timing
    beats = timing.period is not None and len(timing.times) > 1
    return pick(ImageTraits(beats, timing.changed, measured=not scan.crop.real), _packaged(), options)


def _named(options: Options, scan: Scan) -> tuple[Options, str | None]:
    """Return `options` with a method in place of "auto", and the reason; a model in `options` is loaded for it."""
    if options.method != "auto":
        return options, None
    if options.model is not None:
        model = options.model if isinstance(options.model, Model) else load_model(options.model)
        method = STAGE_METHODS.get(model.method, model.method)
        return replace(options, method=method, model=model), f"what model {model.name} was made for"
    timing, picked = scan.timing, _picked(scan, options)
    if picked is not None:
        if len(timing.times) > 1 and timing.period is None and picked.method in _STILL:
            warnings.warn(
                f"{len(timing.times)} frames are restored one by one; if they are of a heart beat, say how long it "
                "lasts (period)",
                UserWarning,
                stacklevel=3,
            )
        return replace(options, method=picked.method, model=picked.model), picked.why
    if not timing.changed:
        return replace(options, method="core"), None  # _model reports that no model is packaged
    warnings.warn(
        f"no model for cines is packaged: {BEST_BASELINE} in space, {options.time_method or BEST_TIME_METHOD} "
        "in time; give a model folder for more",
        UserWarning,
        stacklevel=3,
    )
    return replace(options, method=BEST_BASELINE), "no model for cines is packaged"


def _cine_method(
    network: CineLDM, model: Model, options: Options, *, device: torch.device, precision: torch.dtype
) -> Method:
    if options.method == "cine-regression":
        return CineRegression(network, strength=options.strength, device=device, precision=precision)
    settings = _ldm_options(options, ModelSampling.of(model))
    return CineLDMMethod(network, settings, device=device, precision=precision)


def _ldm_options(options: Options, model: ModelSampling) -> LDMOptions:
    """Return the options of latent sampling: the user's, else the model's, else the method's."""
    defaults = LDMOptions()
    start = options.start or model.start or defaults.start
    return replace(
        defaults,
        steps=options.steps or model.steps or defaults.steps,
        samples=options.samples or model.samples or defaults.samples,
        sampler=options.sampler or model.sampler or defaults.sampler,
        strength=options.strength,
        start=None if start is None or math.isinf(start) else start,
        last=model.last or defaults.last,
    )


def _plane_method(
    network: nn.Module,
    model: Model,
    options: Options,
    scan: Scan,
    *,
    measurements: Callable[[], Iterable[Tensor]],
    device: torch.device,
    precision: torch.dtype,
) -> PlaneMethod:
    """Return the method of planes with `network`."""
    model_sampling, signed = ModelSampling.of(model), scan.signed
    if isinstance(network, VDM):
        sampling = vdm_options(
            options, model_sampling, power=lambda: mean_power(measurements()), operator=scan.crop
        )
        return VDMMethod(network, sampling, signed=signed, device=device, precision=precision)
    settings = _core_options(model, options)
    if isinstance(network, SharpNet):
        return SharpMethod(
            network,
            settings,
            signed=signed,
            amount=_amount(model, options),
            device=device,
            precision=precision,
        )
    if isinstance(network, StillLDM):
        latent = _ldm_options(options, model_sampling)
        return StillLDMMethod(network, latent, settings, signed=signed, device=device, precision=precision)
    return CoreMethod(options.method, network, settings, signed=signed, device=device, precision=precision)


def _core_options(model: Model, options: Options) -> CoreOptions:
    return CoreOptions(
        symmetries=symmetries(options, ModelSampling.of(model)),
        strength=options.strength,
        noise=2 * options.noise_level if options.noise else None,
        denoise=options.denoise,
    )


def _check_photographic(scan: Scan) -> None:
    """Raise `UsageError` if `scan` is complex, for method "cine-photographic".

    Warns:
        UserWarning: what the method removes.
    """
    if not scan.crop.real:
        raise UsageError(
            "method cine-photographic: expected a real image, got a complex one; choose another method"
        )
    warnings.warn(
        "method cine-photographic: blur, noise and JPEG are removed, so the result does not reproduce the input",
        UserWarning,
        stacklevel=3,
    )


def _model(options: Options) -> Model:
    serving = SERVED_BY[options.method]
    model = options.model
    if model is None:
        model = packaged_for(options.method)
        if model is None:
            raise ModelError(f"method {options.method}: no model for it is packaged; give model=FOLDER")
    loaded = model if isinstance(model, Model) else load_model(model)
    if loaded.method not in serving:
        raise ModelError(
            f"model {loaded.name}: serves method {loaded.method}, expected one for {options.method}"
        )
    return loaded


def _packaged() -> dict[str, str]:
    """Return the method of each packaged model by its name."""
    return {name: read_config(PACKAGED / name)["method"] for name in packaged_models()}


def packaged_for(method: str) -> str | None:
    """Return the name of a packaged model for `method`, preferably one of this method; None if there is none."""
    models = _packaged()
    names = (name for serving in SERVED_BY[method] for name, kind in models.items() if kind == serving)
    return next(names, None)
