"""What a training run is: one short TOML file, checked before anything starts."""

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
Width = Annotated[int, Field(ge=8, multiple_of=8)]  # channels are normalised in eight groups
Widths = Annotated[tuple[Width, ...], Field(min_length=1)]


class FocusConfig(Section):
    """Narrower ranges for a share of the patches: what the model will be asked for most.

    Attributes:
        after: updates from which on the share counts.
        share: of the patches.
        voxel_size: see `DataConfig`.
        measured: see `DataConfig`.
    """

    after: Annotated[int, Field(ge=0)] = 0
    share: Share
    voxel_size: Range
    measured: ShareRange


class DataConfig(Section):
    """Which slices, at which voxel sizes.

    Attributes:
        validation: subjects (folder or file name up to the first "_") kept out of training.
        voxel_size: in-plane range in mm; a slice is brought to a size drawn from it through k-space, never
            below its own.
        patch: rows and columns of a training patch.
        flips: whether patches are also mirrored and transposed.
        brightness: greatest factor (and its inverse) by which intensities are scaled.
        measured: range of the part of each k-space direction that the low-resolution scan of a patch holds.
        noise: greatest standard deviation of the noise in one scan out of four, in model units.
        memory_gib: how many GiB of volumes are held in memory at once.
        focus: narrower ranges for a share of the patches.
    """

    validation: tuple[str, ...] = ()
    voxel_size: Range = (0.8, 2.1)
    patch: Positive = 80
    flips: bool = True
    brightness: Annotated[float, Field(ge=1)] = 1.25
    measured: ShareRange = (0.2, 0.75)
    noise: Annotated[float, Field(ge=0)] = 0.1
    memory_gib: PositiveFloat = 4.0
    focus: FocusConfig | None = None


class NetworkConfig(Section):
    """The arguments of `kfine.networks.vdm.VDM`."""

    widths: Widths = (64, 128, 160)
    predictor: tuple[Width, ...] = ()
    blocks: Positive = 2
    gamma_min: float = -13.3
    gamma_max: float = 5.0
    fourier: tuple[int, ...] = (7, 8)
    detail: PositiveFloat = 0.06
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


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
        precision: "float32" or "bfloat16" (autocast).
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
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _restarts_within(self) -> Self:
        if any(step >= self.steps for step in self.restarts):
            raise ValueError(
                f"restarts: expected updates before the last one, {self.steps}, got {max(self.restarts)}"
            )
        return self


class OptimiserConfig(BaseOptimiserConfig):
    """How a VDM is learned.

    Attributes:
        predictor_learning_rate: peak of the predictor's.
        gamma_learning_rate: peak of the noise schedule's.
        weight_centre: gamma below which the loss is faded out (`losses.rising_weight`); absent: the bound itself.
        unconditional: part of the patches whose scan diffusion is not shown.
    """

    predictor_learning_rate: PositiveFloat = 1e-3
    gamma_learning_rate: PositiveFloat = 4e-3
    weight_centre: float | None = None
    unconditional: Annotated[float, Field(ge=0, le=1)] = 1.0


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


class ReportConfig(BaseReportConfig):
    """Of a VDM: the bound and the PSNR of restored slices; samples from pure noise.

    Attributes:
        matrix: (low, high) of the validation restoration.
        slices: how many validation slices are restored.
    """

    matrix: Annotated[tuple[Positive, Positive], AfterValidator(_low_to_high)] = (64, 128)
    slices: Positive = 8


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


class TrainingConfig(Section):
    """A whole training run of method "vdm"."""

    method: Literal["vdm"] = "vdm"
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    optimiser: OptimiserConfig
    report: ReportConfig = ReportConfig()


Config = TypeVar("Config", bound=BaseModel)


def read_training_config(path: Path, kind: type[Config]) -> Config:
    """Return the checked configuration of a TOML file.

    Raises:
        UsageError: no such file, not TOML, an unknown key or a value out of range, each named.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return kind.model_validate(table)
    except OSError as error:
        raise UsageError(
            f"{path.name}: cannot be read ({error.strerror}); give a TOML file of configs/"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name}: expected TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise UsageError(": ".join(part for part in (path.name, where, what) if part)) from None
