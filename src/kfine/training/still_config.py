"""The configurations of the still methods: regression (srresnet, small-unet), srgan, autoencoder, ldm."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kfine.training.cine_config import (
    AdversaryConfig,
    DecoderStageConfig,
    DiffusionConfig,
    UNetConfig,
    VQGANConfig,
    check_judged,
    check_whole_latents,
)
from kfine.training.config import (
    BaseOptimiserConfig,
    BaseReportConfig,
    Positive,
    PositiveFloat,
    Range,
    Section,
)
from kfine.training.piece_config import PieceConfig


class StillDataConfig(PieceConfig):
    """Which pieces of which images; every folder of --data counts alike, whatever it holds."""

    resample: Range = (0.4, 1.0)
    scale: Range = (1.5, 4.5)


class SRResNetConfig(Section):
    """The arguments of `kfine.networks.srresnet.SRResNet`."""

    kind: Literal["srresnet"] = "srresnet"
    width: Positive = 64
    blocks: Positive = 16


class StillUNetConfig(UNetConfig):
    """A U-Net of single images: channels a level, residual blocks a level."""

    kind: Literal["unet"]


class StillReportConfig(BaseReportConfig):
    """The validation of a still model: slices of the validation images, scanned at several scales and restored.

    Attributes:
        slices: how many, over all folders together.
        patch: rows and columns of their middle that are taken for the image.
        scales: how many times smaller the scans' matrices are.
        steps: evaluations of the denoiser a sample.
        samples: how many samples their mean is of.
    """

    slices: Positive = 6
    patch: Positive = 192
    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (2.0, 4.0)
    steps: Positive = 10
    samples: Positive = 4


class StillRegressionTrainingConfig(Section):
    """A whole training run of a regression, named by its network."""

    data: StillDataConfig = StillDataConfig()
    network: Annotated[SRResNetConfig | StillUNetConfig, Field(discriminator="kind")] = SRResNetConfig()
    optimiser: BaseOptimiserConfig
    report: StillReportConfig = StillReportConfig()

    @property
    def method(self) -> str:
        """The method that the model will serve."""
        return "srresnet" if self.network.kind == "srresnet" else "small-unet"


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
    """A whole training run of method "srgan"."""

    method: Literal["srgan"] = "srgan"
    data: StillDataConfig = StillDataConfig()
    adversary: VGGAdversaryConfig = VGGAdversaryConfig()
    optimiser: BaseOptimiserConfig
    report: StillReportConfig = StillReportConfig()

    @model_validator(mode="after")
    def _whole_pieces(self) -> Self:
        if self.data.patch % 16:
            raise ValueError(
                f"data.patch: expected a multiple of 16, as often as the discriminator halves it, got {self.data.patch}"
            )
        return self


class AutoencoderTrainingConfig(Section):
    """A whole training run of the autoencoder of stills."""

    method: Literal["autoencoder"] = "autoencoder"
    data: StillDataConfig = StillDataConfig()
    network: VQGANConfig = VQGANConfig()
    adversary: AdversaryConfig = AdversaryConfig()
    optimiser: BaseOptimiserConfig
    report: StillReportConfig = StillReportConfig()

    @model_validator(mode="after")
    def _whole_latents(self) -> Self:
        check_whole_latents(self.data.patch, self.network.factor)
        check_judged(self.data.patch, self.adversary.widths)
        return self


class LDMTrainingConfig(Section):
    """A whole training run of method "ldm"."""

    method: Literal["ldm"] = "ldm"
    data: StillDataConfig = StillDataConfig()
    network: UNetConfig = UNetConfig(widths=(64, 96, 128, 160))
    diffusion: DiffusionConfig = DiffusionConfig()
    optimiser: BaseOptimiserConfig
    report: StillReportConfig = StillReportConfig()


class DecoderTrainingConfig(DecoderStageConfig):
    """A whole training run of the decoder of an "ldm"."""

    method: Literal["ldm"] = "ldm"
    data: StillDataConfig = StillDataConfig()
    report: StillReportConfig = StillReportConfig()
