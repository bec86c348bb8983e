"""Small brains and hearts on disk, and the smallest configurations of the still methods that train on them."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Picture

from kfine.io import write
from kfine.training.stage_config import (
    AutoencoderTrainingConfig,
    DecoderTrainingConfig,
    LDMTrainingConfig,
    SRGANTrainingConfig,
    StillRegressionTrainingConfig,
)
from tests.conftest import phantom
from tests.training.cines import beating, cine

DATA = {"validation": ["sub-2", "heart-3"], "patch": 16, "noise": 0.05}
OPTIMISER = {"steps": 4, "batch": 2, "warmup": 1, "learning_rate": 5e-3}
REPORT = {
    "checkpoint": 2, "validate_every": 4, "picture": 4,
    "slices": 2, "patch": 24, "scales": [2.0, 3.0], "steps": 2, "samples": 2,
}  # fmt: skip
SRRESNET = {"kind": "srresnet", "width": 4, "blocks": 2}
UNET = {"kind": "unet", "widths": [4, 8], "blocks": 1}
VQGAN = {"factor": 2, "channels": 2, "widths": [8], "blocks": 1, "codes": 16}


def write_stills(folder: Path) -> list[Path]:
    """Write three brains, a cine and four pictures; return the folders of brains and hearts."""
    brains, hearts = folder / "brains", folder / "hearts"
    brains.mkdir(parents=True)
    hearts.mkdir()
    for number in range(3):
        voxels = phantom((1, 3, 32, 28), seed=number)[0].transpose(2, 1, 0)
        nibabel.save(
            nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), brains / f"sub-{number}_T1w.nii.gz"
        )
    write(cine(0, frames=2), hearts / "patient-0.nii.gz")
    for number in range(4):
        grey = (beating(10 + number, frames=1, slices=1)[0, 0] / 4).clip(0, 255).astype(np.uint8)
        Picture.fromarray(grey).save(hearts / f"heart-{number}-IM-0001.png")
    return [brains, hearts]


def regression_config(network=SRRESNET, **changes):
    return StillRegressionTrainingConfig.model_validate(_tables(network) | changes)


def srgan_config(**changes):
    tables = {name: table for name, table in _tables({}).items() if name != "network"}
    return SRGANTrainingConfig.model_validate(tables | {"adversary": {"width": 4}} | changes)


def autoencoder_config(**changes):
    adversary = {"widths": [8, 8], "after": 2, "images": 3}
    return AutoencoderTrainingConfig.model_validate(_tables(VQGAN) | {"adversary": adversary} | changes)


def ldm_config(**changes):
    network = {"widths": [8, 16], "blocks": 1}
    return LDMTrainingConfig.model_validate(
        _tables(network) | {"diffusion": {"measured": 4, "levels": 2}} | changes
    )


def decoder_config(**changes):
    tables = {name: table for name, table in _tables({}).items() if name != "network"}
    adversary = {"adversary": {"widths": [8, 8], "images": 3}, "drawing": {"steps": 2}}
    return DecoderTrainingConfig.model_validate(tables | adversary | changes)


def _tables(network):
    return {"data": DATA, "network": network, "optimiser": OPTIMISER, "report": REPORT}
