"""Which configuration class reads which file of configs/; `-base` files are read as the file without."""

from kfine.training.cine_config import (
    CineDecoderTrainingConfig,
    CineLDMTrainingConfig,
    RegressionTrainingConfig,
    VQGANTrainingConfig,
)
from kfine.training.config import TrainingConfig
from kfine.training.core_config import CoreTrainingConfig
from kfine.training.still_config import (
    AutoencoderTrainingConfig,
    DecoderTrainingConfig,
    LDMTrainingConfig,
    SRGANTrainingConfig,
    StillRegressionTrainingConfig,
)

KINDS = {
    "brain-vdm": TrainingConfig,
    "core": CoreTrainingConfig,
    "cine-regression": RegressionTrainingConfig,
    "cine-vqgan": VQGANTrainingConfig,
    "cine-ldm": CineLDMTrainingConfig,
    "srresnet": StillRegressionTrainingConfig,
    "small-unet": StillRegressionTrainingConfig,
    "srgan": SRGANTrainingConfig,
    "autoencoder": AutoencoderTrainingConfig,
    "ldm": LDMTrainingConfig,
    "decoder": DecoderTrainingConfig,
    "cine-decoder": CineDecoderTrainingConfig,
}
