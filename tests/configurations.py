"""Which configuration class reads which file of configs/; `-base` files are read as the file without."""

from kfine.training.config import (
    CineCoreTrainingConfig,
    CoreTrainingConfig,
    SharpTrainingConfig,
    SRGANTrainingConfig,
    SRResNetTrainingConfig,
    UncertaintyTrainingConfig,
    VDMTrainingConfig,
)
from kfine.training.ldm_config import (
    AutoencoderTrainingConfig,
    CineDecoderTrainingConfig,
    CineLDMTrainingConfig,
    DecoderTrainingConfig,
    LDMTrainingConfig,
    RegressionTrainingConfig,
    VQGANTrainingConfig,
)

KINDS = {
    "vdm": VDMTrainingConfig,
    "core": CoreTrainingConfig,
    "core-continued": CoreTrainingConfig,
    "core-final": CoreTrainingConfig,
    "core-further": CoreTrainingConfig,
    "core-longer": CoreTrainingConfig,
    "core-low-rate": CoreTrainingConfig,
    "cine-core": CineCoreTrainingConfig,
    "cine-photographic": CineCoreTrainingConfig,
    "cine-photographic-continued": CineCoreTrainingConfig,
    **dict.fromkeys(
        (
            "sharp",
            "sharp-continued",
            "sharp-textured",
            "sharp-final",
            "sharp-longer",
            "sharp-corners",
            "sharp-falling",
        ),
        SharpTrainingConfig,
    ),
    "uncertainty": UncertaintyTrainingConfig,
    "cine-regression": RegressionTrainingConfig,
    "cine-vqgan": VQGANTrainingConfig,
    "cine-ldm": CineLDMTrainingConfig,
    "srresnet": SRResNetTrainingConfig,
    "srgan": SRGANTrainingConfig,
    "autoencoder": AutoencoderTrainingConfig,
    "ldm": LDMTrainingConfig,
    "decoder": DecoderTrainingConfig,
    "cine-decoder": CineDecoderTrainingConfig,
}
