"""Configurations of training runs: TOML files, validated before the run; those of the core networks, VDM and SRGAN."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kfine.errors import UsageError

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of a configuration; unknown keys are errors."""

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
    """Optimisation, common to all tasks.

    Attributes:
        steps: number of updates.
        batch: items per update, over all devices together.
        learning_rate: peak rate of the (diffusion) network, after linear warm-up.
        schedule: "cosine", down to a hundredth at `steps`; "constant", until the last `decay` updates, over which the
            rate falls linearly to 0: such a run can be continued from any checkpoint before them.
        decay: see `schedule`.
        warmup: updates of linear warm-up.
        restarts: updates after which warm-up and cosine restart, to continue a finished run.
        kind: "adam", or "muon", with orthogonalised updates of filters (`kfine.training.muon`), if the task allows it.
        clip: greatest norm of the gradient of each parameter group.
        ema: decay of the running mean of the weights, reached gradually.
        precision: "float32", "bfloat16" (autocast), or "auto": bfloat16 if the hardware supports it.
        compile: whether to compile the network (useful on a GPU).
        seed: of all random numbers.
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
    """Intervals, in updates, of the reports of a run.

    Attributes:
        checkpoint: of checkpoints to resume from.
        validate_every: of validation figures, appended to log.csv.
        picture: of PNG pictures of validation results.
    """

    checkpoint: Positive = 250
    validate_every: Positive = 500
    picture: Positive = 2000


class RunConfig(Protocol):
    """The part of a configuration that the loop needs."""

    @property
    def optimiser(self) -> BaseOptimiserConfig:
        """The optimisation."""
        ...

    @property
    def report(self) -> BaseReportConfig:
        """The intervals of reports."""
        ...


class PieceConfig(Section):
    """Training pieces and their degradation.

    Attributes:
        validation: subjects left out of training: names of folders or beginnings of file names.
        patch: rows and columns of a piece.
        stored: fraction of the items on the pixel grid of the file, which the scanner may have interpolated; the others
            are resampled to `resample` times the measured matrix, equally in both directions.
        resample: range of that factor.
        flips: whether pieces are also mirrored and turned.
        brightness: intensities are scaled by factors from its inverse to it.
        scale: range of the factor by which a scan's matrix is smaller.
        noise: greatest standard deviation of the noise in one scan out of four, in model units.
        photographic: fraction of the items degraded by blur, resizing, noise and JPEG instead of a scan.
        photographic_scale: the factor by which these are smaller.
        memory_gib: GiB of images that each data worker caches.
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
    """A space-time U-Net: channels and residual blocks per level."""

    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (48, 96, 128)
    blocks: Positive = 2


class SourceConfig(Section):
    """A source of images below the data folder.

    Attributes:
        folder: below the data folder.
        files: pattern of the names of its files and folders, with * and ?.
        true: along each axis of the file (x, y, z), the fraction of its k-space with measured detail, not only
            interpolation by a scanner or a program; images are first resampled to it.
        acquired: whether DICOM images are resampled to the matrix that their header says was acquired, in the place of
            `true`.
        share: number of pieces from this source, relative to the others.
        stored: whether planes are only taken as stored in the file, never across its slices.
    """

    folder: str
    files: str = "*"
    true: tuple[PositiveShare, PositiveShare, PositiveShare] = (1.0, 1.0, 1.0)
    acquired: bool = True
    share: PositiveFloat = 1.0
    stored: bool = False


class ScanConfig(Section):
    """The random scans of training.  Shares are of all scans unless stated otherwise.

    Attributes:
        scale: range of the factor by which the measured matrix is smaller, in each direction.
        one_axis: share of scans that are coarse in one direction only: slices and 3-D scans.
        one_axis_scale: range of that factor.
        profiled: share of these whose samples are averages over a slice profile, Gaussian or box.
        complex: share of complex scans; the others are magnitudes.
        noise: greatest standard deviation of the noise, as a fraction of full intensity.
        noisy: share of scans with noise.
        denoise: share of the noisy scans with a noise-free target.
        filtered: share of scans with an apodisation filter.
        partial_fourier: share of scans with partial Fourier sampling.
        elliptical: share of scans without the corners of k-space.
        zero_filled: share of scans that the scanner zero-fills to a larger matrix.
        unnoticed: share of these whose measured block is unknown.
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
    """Training pieces and their scans.

    Attributes:
        sources: of the images.
        validation: patterns of files and folders, relative to the data folder, that are left out of training.
        patch: rows and columns of a piece.
        pieces: number of pieces cut from each plane.
        resample: range of the factor by which a plane's true matrix is reduced.
        curves: share of planes whose grey levels are transformed by a random curve.
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
    """The validation: middle planes of the validation images, scanned like users' images.

    Attributes:
        planes: number of planes of each source.
        matrix: points along the longer side that validation planes are resampled to.
        scales: factors by which the scans' matrices are smaller.
    """

    planes: Positive = 3
    matrix: Positive = 160
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (2.0, 4.0)


class CoreTrainingConfig(Section):
    """A whole training run of method "core".

    Attributes:
        initial: packaged model, or folder of a model, that training starts from; None: random weights.
    """

    method: Literal["core"] = "core"
    initial: str | None = None
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(48, 96, 128))
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class CineCoreDataConfig(CoreDataConfig):
    """Training pieces of cines, and of still images with simulated heart motion.

    Attributes:
        frames: frames of a piece; images with at least so many frames are cines.
        circles: fraction of the batches that cover one whole beat.
        every: a scan measures one of so many frames; one of these numbers is drawn for each piece.
        photographic: fraction of the pieces degraded by blur, resizing, noise and JPEG instead of a scan, as in arXiv
            2410.23898; their target is clean.
        photographic_scale: the factor by which these are smaller.
        same_matrix: whether the target of these has their matrix, for method "cine-photographic": the network cleans
            them, and does not enlarge them.
    """

    patch: Positive = 64
    photographic: Share = 0.0
    photographic_scale: Annotated[int, Field(ge=2)] = 4
    same_matrix: bool = False
    frames: Annotated[int, Field(ge=2)] = 10
    circles: Share = 0.5
    every: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 2, 3, 4)

    @model_validator(mode="after")
    def _photographs(self) -> Self:
        if self.same_matrix and (self.photographic < 1 or set(self.every) != {1}):
            raise ValueError("same_matrix: expected photographic = 1 and every = [1]")
        return self


class CineCoreReportConfig(CoreReportConfig):
    """The validation: middle slices of the validation cines; each scale applies to the matrix and the frames."""

    matrix: Positive = 128


class CineCoreTrainingConfig(Section):
    """A whole training run of method "cine-core".

    Attributes:
        initial: packaged model, or folder of a model, of method core or cine-core, that training starts from.
        changes: weight of the squared error of frame-to-frame differences, relative to that of the frames.
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
        initial: packaged model, or folder of a model, of method sharp, that training starts from; None: the weights of
            the core network.
        core: packaged model, or folder of a model, of method core, which estimates the mean image.
        energy: weight of the divergence of the energy of detail, relative to the squared error.
        texture: weight of the distance of the distributions of texture.
        perceptual: weight of the feature distance to the truth, if SqueezeNet's weights are available.
    """

    method: Literal["sharp"] = "sharp"
    energy: Annotated[float, Field(ge=0)] = 2.0
    texture: Annotated[float, Field(ge=0)] = 2.0
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


class SRResNetConfig(Section):
    """The arguments of `kfine.networks.srresnet.SRResNet`."""

    width: Positive = 64
    blocks: Positive = 16


class SRResNetTrainingConfig(Section):
    """A whole training run of method "srresnet".

    Attributes:
        initial: packaged model, or folder of a model, that training starts from; None: random weights.
    """

    method: Literal["srresnet"] = "srresnet"
    initial: str | None = None
    data: CoreDataConfig
    network: SRResNetConfig = SRResNetConfig()
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class VGGAdversaryConfig(Section):
    """The discriminator of SRGAN, and the weights of the parts of the generator's loss relative to L1.

    Attributes:
        width: channels of the discriminator's first convolution; 64 in the paper.
        weight: of the adversarial loss, times its adaptive weight.
        features: weight of the SqueezeNet feature distance, if its arrays are available.
        learning_rate: peak rate of the discriminator.
    """

    width: Positive = 32
    weight: Annotated[float, Field(ge=0)] = 0.3
    features: Annotated[float, Field(ge=0)] = 1.0
    learning_rate: PositiveFloat = 4e-4


class SRGANTrainingConfig(Section):
    """A whole training run of method "srgan".

    Attributes:
        initial: packaged model, or folder of a model, of method srresnet or srgan, that training starts from.
    """

    method: Literal["srgan"] = "srgan"
    initial: str = "srresnet"
    data: CoreDataConfig
    adversary: VGGAdversaryConfig = VGGAdversaryConfig()
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()

    @model_validator(mode="after")
    def _whole_pieces(self) -> Self:
        if self.data.patch % 16:
            raise ValueError(
                f"data.patch: expected a multiple of 16, as often as the discriminator halves it, got {self.data.patch}"
            )
        return self


class VDMNetworkConfig(Section):
    """The arguments of `kfine.networks.vdm.VDM`, except those of the core network."""

    widths: Widths = (48, 96, 128)
    blocks: Positive = 2
    gamma_min: float = -13.3
    gamma_max: float = 5.0
    fourier: tuple[int, ...] = (7, 8)
    detail: PositiveFloat = 0.8


class VDMOptimiserConfig(BaseOptimiserConfig):
    """Optimisation of a VDM.

    Attributes:
        gamma_learning_rate: peak rate of the noise schedule.
        weight_centre: gamma below which the loss of the bound fades out (`kfine.diffusion.losses.rising_weight`);
            None: the bound itself.
        unconditional: fraction of the pieces that are trained without their scan.
        level_mean: mean of the logarithm of the noise level of the others, in standard deviations of the residual of
            the mean image.
        level_std: standard deviation of the same logarithm.
    """

    gamma_learning_rate: PositiveFloat = 4e-3
    weight_centre: float | None = None
    unconditional: Share = 0.25
    level_mean: float = -0.4
    level_std: PositiveFloat = 1.0


class VDMTrainingConfig(Section):
    """A whole training run of method "vdm".

    Attributes:
        initial: packaged model, or folder of a model, that training starts from, except for the core network; None:
            random weights.
        core: packaged model, or folder of a model, of method core, which estimates the mean image.
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
    """Return the validated configuration of a TOML file.

    A key `include` at its top names a TOML file beside it; the keys of the including file extend or override it.

    Raises:
        UsageError: the file is missing or not TOML, or a key is unknown or its value out of range.
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


def _joined(table: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Return `table` updated with the keys of `override`, recursively."""
    joined = dict(table)
    for key, value in override.items():
        before = joined.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _joined(before, value)
        joined[key] = value
    return joined
