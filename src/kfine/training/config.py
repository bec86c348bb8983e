"""Configurations of training runs: one short TOML file, checked before anything starts; of "vdm" and "core"."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import UsageError

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of a configuration: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _low_to_high(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"expected two numbers, low to high, got {bounds[0]:g} and {bounds[1]:g}")
    return bounds


Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Range = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_low_to_high)]
ShareRange = Annotated[tuple[PositiveShare, PositiveShare], AfterValidator(_low_to_high)]
Width = Annotated[int, Field(ge=8, multiple_of=8)]
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]


class BaseOptimiserConfig(Section):
    """How weights are learned, whichever they are.

    Attributes:
        steps: number of updates.
        batch: items an update, over all devices together.
        learning_rate: peak of the (diffusion) network's, after linear warm-up.
        schedule: "cosine", down to a hundredth at `steps`; "constant", until the last `decay` updates, over which the
            rate falls linearly to 0: such a run can go on from any checkpoint before them.
        decay: see `schedule`.
        warmup: updates of linear warm-up.
        restarts: updates after which warm-up and cosine begin again, to go on with a finished run.
        kind: "adam", or "muon", whose filters take orthogonalised steps (`kfine.training.muon`), where the task can.
        clip: greatest norm of the gradient of the weights that learn at one rate.
        ema: decay of the running mean of the weights, reached gradually.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 if the hardware supports it.
        compile: whether the network is compiled (worth it on a GPU).
        seed: of everything random.
    """

    steps: Positive
    batch: Positive = 8
    learning_rate: PositiveFloat = 4e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    decay: Annotated[int, Field(ge=0)] = 0
    warmup: Annotated[int, Field(ge=0)] = 200
    restarts: tuple[Positive, ...] = ()
    kind: Literal["adam", "muon"] = "adam"
    clip: PositiveFloat = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    compile: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _restarts_within(self) -> Self:
        if any(step >= self.steps for step in self.restarts):
            raise ValueError(
                f"restarts: expected updates before the last one, {self.steps}, got {max(self.restarts)}"
            )
        return self


class BaseReportConfig(Section):
    """What is written while training, and how often (in updates).

    Attributes:
        checkpoint: a checkpoint to resume from.
        validate_every: figures of the validation subjects, appended to log.csv.
        picture: a PNG of what the network can do.
    """

    checkpoint: Positive = 250
    validate_every: Positive = 500
    picture: Positive = 2000


class RunConfig(Protocol):
    """What the loop reads of a configuration."""

    @property
    def optimiser(self) -> BaseOptimiserConfig:
        """How weights are learned."""
        ...

    @property
    def report(self) -> BaseReportConfig:
        """What is written, and how often."""
        ...


class PieceConfig(Section):
    """Which pieces of which images, and how they are degraded.

    Attributes:
        validation: subjects kept out of training: names of folders or beginnings of file names.
        patch: rows and columns of a piece.
        stored: part of the items on the pixels of the file.  A scanner may have interpolated these; the others
            are brought to `resample` times the matrix that it measured, in both directions alike.
        resample: range of that factor.
        flips: whether pieces are also mirrored and turned.
        brightness: greatest factor (and its inverse) by which intensities are scaled.
        scale: range of the factor by which a scan's matrix is smaller.
        noise: greatest standard deviation of the noise in one scan out of four, in model units.
        photographic: part of the items degraded by blur, resizing, noise and JPEG instead of a scan.
        photographic_scale: the factor by which these are smaller.
        memory_gib: how many GiB of images each process that prepares items holds in memory at once.
    """

    validation: tuple[str, ...] = ()
    patch: Positive = 64
    stored: Share = 0.5
    resample: Range = (0.7, 1.0)
    flips: bool = True
    brightness: Annotated[float, Field(ge=1)] = 1.25
    scale: Range = (1.0, 4.0)
    noise: Annotated[float, Field(ge=0)] = 0.1
    photographic: Share = 0.0
    photographic_scale: Annotated[int, Field(ge=2)] = 4
    memory_gib: PositiveFloat = 4.0

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.resample[1] > 1:
            raise ValueError(f"resample: expected factors up to 1, got {self.resample[1]:g}")
        if self.scale[0] < 1:
            raise ValueError(f"scale: expected factors from 1 up, got {self.scale[0]:g}")
        return self


class UNetConfig(Section):
    """A space-time U-Net: channels a level, residual blocks a level."""

    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (48, 96, 128)
    blocks: Positive = 2


class SourceConfig(Section):
    """Some of the images below the data folder.

    Attributes:
        folder: below the data folder.
        files: pattern of the names of its files and folders, with * and ?.
        true: along each axis of the file (x, y, z), the part of its k-space that holds detail and not only what a
            scanner or a program interpolated; images are brought to it first.
        share: how many pieces are of this source, relative to the others.
        stored: whether planes are cut as the file stores them only, and never through its slices.
    """

    folder: str
    files: str = "*"
    true: tuple[PositiveShare, PositiveShare, PositiveShare] = (1.0, 1.0, 1.0)
    share: PositiveFloat = 1.0
    stored: bool = False


class ScanConfig(Section):
    """The random scans of training.  Shares are of all scans unless stated otherwise.

    Attributes:
        scale: range of the factor by which the measured matrix is smaller, in each direction.
        one_axis: share of scans of which one direction alone is coarse: slices and 3-D scans.
        one_axis_scale: range of that factor.
        profiled: share of these whose samples are averages over a slice profile, Gaussian or box.
        complex: share of complex scans; the others deliver magnitudes.
        noise: greatest standard deviation of the noise, of full intensity.
        noisy: share of scans with noise.
        denoise: share of the noisy ones whose target is free of it.
        filtered: share of scans with an apodisation filter.
        partial_fourier: share of scans with partial Fourier sampling.
        elliptical: share of scans without the corners of k-space.
        zero_filled: share of scans that the scanner fills up with zeros to a larger matrix.
        unnoticed: share of these of which that is not known.
    """

    scale: Range = (1.2, 4.4)
    one_axis: Share = 0.33
    one_axis_scale: Range = (1.5, 7.0)
    profiled: Share = 0.6
    complex: Share = 0.2
    noise: Annotated[float, Field(ge=0)] = 0.05
    noisy: Share = 0.5
    denoise: Share = 0.3
    filtered: Share = 0.3
    partial_fourier: Share = 0.1
    elliptical: Share = 0.2
    zero_filled: Share = 0.25
    unnoticed: Share = 0.4


class CoreDataConfig(Section):
    """Which pieces of which images.

    Attributes:
        sources: where the images are.
        validation: patterns of files and folders, relative to the data folder, that are kept out of training.
        patch: rows and columns of a piece.
        pieces: pieces that are cut of each plane.
        resample: range of the factor by which a plane's true matrix is brought to a smaller one.
        curves: share of planes whose grey levels go through a random curve.
        bias: greatest relative change of intensity over a plane, in half of the planes.
        scan: the scans.
    """

    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    validation: tuple[str, ...] = ()
    patch: Positive = 80
    pieces: Positive = 2
    resample: Range = (0.4, 1.0)
    curves: Share = 0.5
    bias: Share = 0.3
    scan: ScanConfig = ScanConfig()


class CoreReportConfig(BaseReportConfig):
    """The validation: middle planes of the validation images, scanned as users' images are.

    Attributes:
        planes: how many of each source.
        matrix: the validation planes are brought to this many points along their longer side.
        scales: how many times smaller the scans' matrices are.
    """

    planes: Positive = 3
    matrix: Positive = 160
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (2.0, 4.0)


class CoreTrainingConfig(Section):
    """A whole training run of method "core".

    Attributes:
        initial: packaged model, or folder of a model, whose weights training starts from; random weights if left out.
    """

    method: Literal["core"] = "core"
    initial: str | None = None
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(48, 96, 128))
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class CineCoreDataConfig(CoreDataConfig):
    """Which pieces of which cines, and of which still images that are made to beat.

    Attributes:
        frames: frames of a piece; images of so many or more are cines.
        circles: part of the batches that go once round a whole beat.
        every: a scan keeps one of so many frames; one of these numbers is drawn for each piece.
        photographic: part of the pieces degraded by blur, resizing, noise and JPEG instead of a scan, as in arXiv
            2410.23898; their target is clean.
        photographic_scale: the factor by which these are smaller.
    """

    patch: Positive = 64
    photographic: Share = 0.0
    photographic_scale: Annotated[int, Field(ge=2)] = 4
    frames: Annotated[int, Field(ge=2)] = 10
    circles: Share = 0.5
    every: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 2, 3, 4)


class CineCoreReportConfig(CoreReportConfig):
    """The validation: middle slices of the validation cines; each scale is that of the matrix and of the frames."""

    matrix: Positive = 128


class CineCoreTrainingConfig(Section):
    """A whole training run of method "cine-core".

    Attributes:
        initial: packaged model, or folder of a model, of method core or cine-core, whose weights training starts from.
        changes: weight of the squared error of the changes between frames, beside that of the frames.
    """

    method: Literal["cine-core"] = "cine-core"
    initial: str = "core"
    changes: Annotated[float, Field(ge=0)] = 0.5
    data: CineCoreDataConfig
    network: UNetConfig = UNetConfig(widths=(48, 96, 128))
    optimiser: BaseOptimiserConfig
    report: CineCoreReportConfig = CineCoreReportConfig()


class SharpTrainingConfig(Section):
    """A whole training run of method "sharp".

    Attributes:
        initial: packaged model, or folder of a model, of method sharp, whose weights training starts from; those of the
            core network if left out.
        core: packaged model, or folder of a model, of method core: the mean image that sharp images are made around.
        energy: weight of the divergence of the energy of detail, beside the squared error.
        perceptual: weight of the feature distance to the truth, where SqueezeNet's weights are at hand.
    """

    method: Literal["sharp"] = "sharp"
    energy: Annotated[float, Field(ge=0)] = 2.0
    perceptual: Annotated[float, Field(ge=0)] = 2.0
    initial: str | None = None
    core: str = "core"
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(48, 96, 128))
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class UncertaintyTrainingConfig(Section):
    """A whole training run of the standard deviation of the core network's error.

    Attributes:
        initial: packaged model, or folder of a model, of method uncertainty, whose weights training starts from.
        core: packaged model, or folder of a model, of method core, whose error is learned.
    """

    method: Literal["uncertainty"] = "uncertainty"
    initial: str | None = None
    core: str = "core"
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(24, 48, 64))
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class VDMNetworkConfig(Section):
    """The arguments of `kfine.networks.vdm.VDM`, but for the core network's."""

    widths: Widths = (48, 96, 128)
    blocks: Positive = 2
    gamma_min: float = -13.3
    gamma_max: float = 5.0
    fourier: tuple[int, ...] = (7, 8)
    detail: PositiveFloat = 0.8


class VDMOptimiserConfig(BaseOptimiserConfig):
    """How a VDM is learned.

    Attributes:
        gamma_learning_rate: peak of the noise schedule's.
        weight_centre: gamma below which the bound's loss is faded out (`losses.rising_weight`); absent: the bound
            itself.
        unconditional: part of the pieces whose scan diffusion is not shown.
        level_mean: of the logarithm of the noise level of the others, in standard deviations of what the scan's mean
            image lacks.
        level_std: standard deviation of the same.
    """

    gamma_learning_rate: PositiveFloat = 4e-3
    weight_centre: float | None = None
    unconditional: Share = 0.25
    level_mean: float = -0.4
    level_std: PositiveFloat = 1.0


class VDMTrainingConfig(Section):
    """A whole training run of method "vdm".

    Attributes:
        initial: packaged model, or folder of a model, whose weights training starts from, but for the core network's;
            random weights if left out.
        core: packaged model, or folder of a model, of method core: the mean image that diffusion starts from.
    """

    method: Literal["vdm"] = "vdm"
    initial: str | None = None
    core: str = "core"
    data: CoreDataConfig
    network: VDMNetworkConfig = VDMNetworkConfig()
    optimiser: VDMOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


Config = TypeVar("Config", bound=BaseModel)


def read_training_config(path: Path, kind: type[Config]) -> Config:
    """Return the checked configuration of a TOML file.

    A key `include` at its top names a TOML file beside it, whose tables the file's own keys complete or replace.

    Raises:
        UsageError: no such file, not TOML, an unknown key or a value out of range, each named.
    """
    try:
        return kind.model_validate(_table(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(": ".join(part for part in (path.name, where, what) if part)) from None


def _table(path: Path, *, included: bool = False) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path.name}: cannot be read ({error.strerror}); give a TOML file of configs/"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: expected TOML ({error})") from None
    other = table.pop("include", None)
    if other is None:
        return table
    if included or not isinstance(other, str):
        raise UsageError(f"{path.name}: include: expected the name of one TOML file, which includes no other")
    return _joined(_table(path.parent / other, included=True), table)


def _joined(table: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return `table` with the keys of `own` in it, tables within tables alike."""
    joined = dict(table)
    for key, value in own.items():
        before = joined.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _joined(before, value)
        joined[key] = value
    return joined
