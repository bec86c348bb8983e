"""Configurations of the stages of latent diffusion models: regression, autoencoder, diffusion, decoder."""

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

WINDOW = 8  # side of the windows whose energies are compared: drawn edges are some pixels off the true ones


class CineDataConfig(PieceConfig):
    """Training pieces of cines and their degradation.

    Attributes:
        frames: frames of a clip; an item of stills has the same number of single frames.
        stills: fraction of the batches that are single frames, if there are any; these train only space.
        circles: fraction of the clips' batches that cover one whole heart beat, in steps of several frames if needed.
        every: a scan measures one of so many frames; one of these numbers is drawn for each item.
        time_only: fraction of the scans with fewer frames that have the full matrix.
    """

    frames: Annotated[int, Field(ge=2)] = 10
    stills: Share = 0.25
    circles: Share = 0.5
    every: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 8)
    time_only: Share = 0.15

    @model_validator(mode="after")
    def _two_measured(self) -> Self:
        if min(self.every) > max(1, self.frames // 2):
            raise ValueError(
                f"every: expected at least one number that keeps two of {self.frames} frames, got {self.every}"
            )
        return self


class VQGANConfig(Section):
    """The arguments of `kfine.networks.vqgan.VQGAN`; `codes = 0`: no quantisation."""

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
    """Raise `ValueError` unless an autoencoder has one width for each halving of the grid."""
    if 2 ** len(widths) != factor:
        raise ValueError(
            f"widths: expected one for each halving of the grid by the factor {factor}, got {len(widths)}"
        )


def check_whole_latents(patch: int, factor: int) -> None:
    """Raise `ValueError` unless a piece has a whole number of latents."""
    if patch % factor:
        raise ValueError(f"data.patch: expected a multiple of the autoencoder's factor {factor}, got {patch}")


def check_discriminator_size(patch: int, widths: Sequence[int], *, least: int = 0) -> None:
    """Raise `ValueError` if a patch is smaller than `least` or than a discriminator of these `widths` needs."""
    # Each width but the last halves the grid; two 4x4 convolutions with padding 1 follow.
    least = max(least, 3 * 2 ** (len(widths) - 1))
    if patch < least:
        raise ValueError(
            f"data.patch: expected at least {least} for a discriminator of {len(widths)} widths, got {patch}; "
            "give adversary.widths fewer"
        )


class DiscriminatorConfig(Section):
    """The discriminator, and the weights of the parts of the loss relative to L1.

    Attributes:
        widths: channels of each convolution of the discriminator.
        sees: whether the prediction is an input of the discriminator, beside the image.
        weight: of the adversarial loss, times its adaptive weight.
        features: weight of the SqueezeNet feature distance, if its arrays are available.
        learning_rate: peak rate of the discriminator.
    """

    widths: Annotated[tuple[Positive, ...], Field(min_length=2)] = (32, 64, 128)
    sees: bool = True
    weight: Annotated[float, Field(ge=0)] = 0.1
    features: Annotated[float, Field(ge=0)] = 0.5
    learning_rate: PositiveFloat = 4e-4


class AdversaryConfig(DiscriminatorConfig):
    """The discriminator of the autoencoder.

    Attributes:
        after: number of updates without the discriminator.
    """

    after: Annotated[int, Field(ge=0)] = 1500


class CineAdversaryConfig(AdversaryConfig):
    """The discriminator of the autoencoder of cines.

    Attributes:
        images: number of frames of a batch that the autoencoder is trained on, on each device.
    """

    images: Positive = 16


class DecoderAdversaryConfig(DiscriminatorConfig):
    """The discriminator of the decoder of drawn latents.

    Attributes:
        energy: weight of `kfine.training.losses.decoder.energy_divergence`.
        mean: weight of the squared error of the mean of drawn images, relative to that of the prediction.
    """

    energy: Annotated[float, Field(ge=0)] = 1.0
    mean: Annotated[float, Field(ge=0)] = 0.0


class CineDecoderAdversaryConfig(DecoderAdversaryConfig):
    """The same for cines.

    Attributes:
        images: number of frames of a batch that are decoded, on each device; frames of a clip are consecutive.
    """

    images: Positive = 16


class DrawingConfig(Section):
    """Sampling of the decoder's latents, see `kfine.methods.ldm.LDMOptions`; it should be that of the method."""

    steps: Positive = 15
    start: PositiveFloat | None = 10.0


class DiffusionConfig(Section):
    """Noise while training: ln sigma is normal (Karras et al. 2022, table 1, for latents of unit variance).

    Attributes:
        mean: of ln sigma; the paper's -1.2 is for images of standard deviation 0.5.
        std: of ln sigma.
        levels: number of noise levels of each clip in one update; guide, prediction and latents are computed once for
            all of them.
        measured: number of items from which mean and standard deviation of the latents are estimated.
    """

    mean: float = -0.5
    std: PositiveFloat = 1.2
    levels: Positive = 1
    measured: Positive = 48


class CineReportConfig(BaseReportConfig):
    """The validation of a cine model: slices of the validation cines, scanned and restored.

    Attributes:
        slices: number of slices.
        patch: rows and columns of the central part that is used.
        scale: factor by which the scan's matrix is smaller.
        every: the scan measures one of so many frames.
        steps: evaluations of the denoiser per sample.
        samples: number of samples that are averaged.
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
    """Configuration common to the last stages of stills and cines."""

    data: PieceConfig | CoreDataConfig
    adversary: DecoderAdversaryConfig = DecoderAdversaryConfig()
    drawing: DrawingConfig = DrawingConfig()
    optimiser: BaseOptimiserConfig

    @model_validator(mode="after")
    def _large_enough(self) -> Self:
        check_discriminator_size(self.data.patch, self.adversary.widths, least=WINDOW)
        return self


class CineDecoderTrainingConfig(DecoderStageConfig):
    """A whole training run of the decoder of a "cine-ldm"."""

    method: Literal["cine-ldm"] = "cine-ldm"
    adversary: CineDecoderAdversaryConfig = CineDecoderAdversaryConfig()
    data: CineDataConfig = CineDataConfig()
    report: CineReportConfig = CineReportConfig()


class StillVQGANConfig(Section):
    """The arguments of `kfine.networks.vqgan.VQGAN` in a still model; `codes = 0`: no quantisation."""

    factor: Literal[2, 4, 8] = 4
    channels: Positive = 4
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 128)
    blocks: Positive = 2
    codes: Annotated[int, Field(ge=0)] = 2048

    @model_validator(mode="after")
    def _levels(self) -> Self:
        check_levels(self.widths, self.factor)
        return self


class AutoencoderTrainingConfig(Section):
    """A whole training run of the autoencoder of stills.

    Attributes:
        core: packaged model, or folder of a model, of method core, which estimates the mean image.
        detail: the unit of the residual of the mean image, see `kfine.networks.ldm.StillLDM`.
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
