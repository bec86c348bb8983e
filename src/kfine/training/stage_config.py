"""Configurations of the stages of latent diffusion models (regression, autoencoder, diffusion, decoder); of SRGAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kfine.training.config import (
    BaseOptimiserConfig,
    BaseReportConfig,
    CoreDataConfig,
    CoreReportConfig,
    PieceConfig,
    Positive,
    PositiveFloat,
    Section,
    Share,
    UNetConfig,
)

WINDOW = 8  # pixels a side, of places compared by energy: drawn edges lie some pixels from the truth's


class CineDataConfig(PieceConfig):
    """Which pieces of which cines, and how they are degraded.

    Attributes:
        frames: frames of a clip; an item of stills holds as many single frames.
        stills: part of the batches that are single frames, where there are any; they train space alone.
        circles: part of the clips' batches that go once round a whole heart beat, in as large steps as it takes.
        every: a scan keeps one of so many frames; one of these numbers is drawn for each item.
        time_only: part of the scans with fewer frames whose matrix is whole.
    """

    frames: Annotated[int, Field(ge=2)] = 10
    stills: Share = 0.25
    circles: Share = 0.5
    every: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 8)
    time_only: Share = 0.15

    @model_validator(mode="after")
    def _two_kept(self) -> Self:
        if min(self.every) > max(1, self.frames // 2):
            raise ValueError(
                f"every: expected at least one number that keeps two of {self.frames} frames, got {self.every}"
            )
        return self


class VQGANConfig(Section):
    """The arguments of `kfine.networks.vqgan.VQGAN`; `codes = 0` leaves latents as they are."""

    factor: Literal[2, 4, 8] = 4
    channels: Positive = 4
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128)
    blocks: Positive = 2
    codes: Annotated[int, Field(ge=0)] = 2048
    sees: bool = True

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self.widths, self.factor)
        return self


def check_levels(widths: Sequence[int], factor: int) -> None:
    """Raise `ValueError` if an autoencoder has not a width for each halving of the grid."""
    if 2 ** len(widths) != factor:
        raise ValueError(
            f"widths: expected one for each halving of the grid by the factor {factor}, got {len(widths)}"
        )


def check_whole_latents(patch: int, factor: int) -> None:
    """Raise `ValueError` if a piece has no whole number of latents."""
    if patch % factor:
        raise ValueError(f"data.patch: expected a multiple of the autoencoder's factor {factor}, got {patch}")


def check_discriminator_size(patch: int, widths: Sequence[int], *, least: int = 0) -> None:
    """Raise `ValueError` if a patch is smaller than `least`, or than the view of a discriminator of these `widths`."""
    # Halved all but once, then two 4x4 convolutions with padding 1.
    least = max(least, 3 * 2 ** (len(widths) - 1))
    if patch < least:
        raise ValueError(
            f"data.patch: expected at least {least} for a discriminator of {len(widths)} widths, got {patch}; "
            "give adversary.widths fewer"
        )


class DiscriminatorConfig(Section):
    """The discriminator, and what the parts of the loss weigh against L1.

    Attributes:
        widths: channels a convolution of the discriminator.
        sees: whether the discriminator sees the prediction beside the image.
        weight: of the adversarial loss, times its adaptive weight.
        features: weight of the SqueezeNet feature distance, where its arrays are given.
        learning_rate: the discriminator's peak.
    """

    widths: Annotated[tuple[Positive, ...], Field(min_length=2)] = (32, 64, 128)
    sees: bool = True
    weight: Annotated[float, Field(ge=0)] = 0.1
    features: Annotated[float, Field(ge=0)] = 0.5
    learning_rate: PositiveFloat = 4e-4


class AdversaryConfig(DiscriminatorConfig):
    """Of the autoencoder.

    Attributes:
        after: updates before the discriminator begins.
    """

    after: Annotated[int, Field(ge=0)] = 1500


class CineAdversaryConfig(AdversaryConfig):
    """Of the autoencoder of cines.

    Attributes:
        images: how many frames of a batch the autoencoder sees, on each device.
    """

    images: Positive = 16


class DecoderAdversaryConfig(DiscriminatorConfig):
    """Of the decoder of drawn latents.

    Attributes:
        energy: weight of `kfine.training.losses.decoder.energy_divergence`.
        mean: weight of the squared error of the mean of drawn images, relative to the prediction's.
    """

    energy: Annotated[float, Field(ge=0)] = 1.0
    mean: Annotated[float, Field(ge=0)] = 0.0


class CineDecoderAdversaryConfig(DecoderAdversaryConfig):
    """Of cines.

    Attributes:
        images: how many frames of a batch the decoder makes, on each device; of a clip frames that follow one another.
    """

    images: Positive = 16


class DrawingConfig(Section):
    """How the decoder's latents are drawn, see `kfine.methods.ldm.LDMOptions`: the nearer to its use the better."""

    steps: Positive = 15
    start: PositiveFloat | None = 10.0


class DiffusionConfig(Section):
    """Noise while training: ln sigma is normal (Karras et al. 2022, table 1, for latents of unit variance).

    Attributes:
        mean: of ln sigma; the paper's -1.2 is for images of standard deviation 0.5.
        std: of ln sigma.
        levels: how many levels of noise each clip is seen with in one update; guide, prediction and latents are
            made once for all of them.
        measured: how many items the latents' mean and standard deviation are measured on.
    """

    mean: float = -0.5
    std: PositiveFloat = 1.2
    levels: Positive = 1
    measured: Positive = 48


class CineReportConfig(BaseReportConfig):
    """The validation of a cine model: slices of the validation cines, scanned and restored.

    Attributes:
        slices: how many.
        patch: rows and columns of their middle that are taken for the image.
        scale: how many times smaller the scan's matrix is.
        every: which frames it keeps: one of so many.
        steps: evaluations of the denoiser a sample.
        samples: how many samples their mean is of.
    """

    slices: Positive = 3
    patch: Positive = 128
    scale: PositiveFloat = 2.0
    every: Positive = 2
    steps: Positive = 10
    samples: Positive = 4


class RegressionTrainingConfig(Section):
    """A whole training run of method "cine-regression"."""

    method: Literal["cine-regression"] = "cine-regression"
    data: CineDataConfig = CineDataConfig()
    network: UNetConfig = UNetConfig()
    optimiser: BaseOptimiserConfig
    report: CineReportConfig = CineReportConfig()


class VQGANTrainingConfig(Section):
    """A whole training run of the autoencoder."""

    method: Literal["vqgan"] = "vqgan"
    data: CineDataConfig = CineDataConfig()
    network: VQGANConfig = VQGANConfig()
    adversary: CineAdversaryConfig = CineAdversaryConfig()
    optimiser: BaseOptimiserConfig
    report: CineReportConfig = CineReportConfig()

    @model_validator(mode="after")
    def _whole_latents(self) -> Self:
        check_whole_latents(self.data.patch, self.network.factor)
        check_discriminator_size(self.data.patch, self.adversary.widths)
        return self


class CineLDMTrainingConfig(Section):
    """A whole training run of method "cine-ldm"."""

    method: Literal["cine-ldm"] = "cine-ldm"
    data: CineDataConfig = CineDataConfig()
    network: UNetConfig = UNetConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    optimiser: BaseOptimiserConfig
    report: CineReportConfig = CineReportConfig()


class DecoderStageConfig(Section):
    """What the last stages of stills and of cines have in common."""

    data: PieceConfig | CoreDataConfig
    adversary: DecoderAdversaryConfig = DecoderAdversaryConfig()
    drawing: DrawingConfig = DrawingConfig()
    optimiser: BaseOptimiserConfig

    @model_validator(mode="after")
    def _judged(self) -> Self:
        check_discriminator_size(self.data.patch, self.adversary.widths, least=WINDOW)
        return self


class CineDecoderTrainingConfig(DecoderStageConfig):
    """A whole training run of the decoder of a "cine-ldm"."""

    method: Literal["cine-ldm"] = "cine-ldm"
    adversary: CineDecoderAdversaryConfig = CineDecoderAdversaryConfig()
    data: CineDataConfig = CineDataConfig()
    report: CineReportConfig = CineReportConfig()


class StillVQGANConfig(Section):
    """The arguments of `kfine.networks.vqgan.VQGAN` in a still model; `codes = 0` leaves latents as they are."""

    factor: Literal[2, 4, 8] = 4
    channels: Positive = 4
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128)
    blocks: Positive = 2
    codes: Annotated[int, Field(ge=0)] = 2048

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self.widths, self.factor)
        return self


class SRResNetConfig(Section):
    """The arguments of `kfine.networks.srresnet.SRResNet`."""

    width: Positive = 64
    blocks: Positive = 16


class SRResNetTrainingConfig(Section):
    """A whole training run of method "srresnet".

    Attributes:
        initial: packaged model, or folder of a model, whose weights training starts from; random weights if left out.
    """

    method: Literal["srresnet"] = "srresnet"
    initial: str | None = None
    data: CoreDataConfig
    network: SRResNetConfig = SRResNetConfig()
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class VGGAdversaryConfig(Section):
    """The discriminator of SRGAN, and what the parts of the generator's loss weigh against L1.

    Attributes:
        width: channels of the discriminator's first convolution; 64 in the paper.
        weight: of the adversarial loss, times its adaptive weight.
        features: weight of the SqueezeNet feature distance, where its arrays are given.
        learning_rate: the discriminator's peak.
    """

    width: Positive = 32
    weight: Annotated[float, Field(ge=0)] = 0.3
    features: Annotated[float, Field(ge=0)] = 1.0
    learning_rate: PositiveFloat = 4e-4


class SRGANTrainingConfig(Section):
    """A whole training run of method "srgan".

    Attributes:
        initial: packaged model, or folder of a model, of method srresnet or srgan: the generator at the start.
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


class AutoencoderTrainingConfig(Section):
    """A whole training run of the autoencoder of stills.

    Attributes:
        core: packaged model, or folder of a model, of method core: the mean image that latents complete.
        detail: the unit of what the mean image lacks, see `kfine.networks.ldm.StillLDM`.
    """

    method: Literal["autoencoder"] = "autoencoder"
    core: str = "core"
    detail: PositiveFloat = 0.8
    data: CoreDataConfig
    network: StillVQGANConfig = StillVQGANConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()

    @model_validator(mode="after")
    def _whole_latents(self) -> Self:
        check_whole_latents(self.data.patch, self.network.factor)
        check_discriminator_size(self.data.patch, self.adversary.widths)
        return self


class LDMTrainingConfig(Section):
    """A whole training run of method "ldm"."""

    method: Literal["ldm"] = "ldm"
    data: CoreDataConfig
    network: UNetConfig = UNetConfig(widths=(64, 96, 128, 160))
    diffusion: DiffusionConfig = DiffusionConfig()
    optimiser: BaseOptimiserConfig
    report: CoreReportConfig = CoreReportConfig()


class DecoderTrainingConfig(DecoderStageConfig):
    """A whole training run of the decoder of an "ldm"."""

    method: Literal["ldm"] = "ldm"
    data: CoreDataConfig
    report: CoreReportConfig = CoreReportConfig()
