"""Small heads and knees on disk, and the smallest configurations of the still methods that train on them."""

from pathlib import Path

import numpy as np

import kfine
from kfine.image import Image
from kfine.training.config import SRGANTrainingConfig, SRResNetTrainingConfig
from kfine.training.ldm_config import AutoencoderTrainingConfig, DecoderTrainingConfig, LDMTrainingConfig
from tests.conftest import phantom

DATA = {
    "sources": [{"folder": "heads"}, {"folder": "knees", "true": (0.75, 1.0, 1.0)}],
    "validation": ["heads/b*"],
    "patch": 32,
}
OPTIMISER = {"steps": 4, "batch": 2, "warmup": 1, "learning_rate": 5e-3}
REPORT = {"checkpoint": 2, "validate_every": 4, "picture": 4, "planes": 1, "matrix": 48, "scales": [2.0, 3.0]}
SRRESNET = {"width": 4, "blocks": 2}
VQGAN = {"factor": 2, "channels": 2, "widths": [8], "blocks": 1, "codes": 16}


def write_planes(root: Path) -> Path:
    """Write two heads and a knee below `root`, and return it."""
    for name, seed in (("heads/a.nii", 1), ("heads/b.nii", 2), ("knees/c.nii", 3)):
        (root / name).parent.mkdir(exist_ok=True)
        kfine.write(Image(phantom((1, 4, 48, 48), seed=seed), np.diag([3.0, 1.0, 1.0, 1.0])), root / name)
    return root


def srresnet_config(**changes):
    return SRResNetTrainingConfig.model_validate(_tables() | {"network": SRRESNET} | changes)


def srgan_config(initial, **changes):
    own = {"initial": str(initial), "adversary": {"width": 4}}
    return SRGANTrainingConfig.model_validate(_tables() | own | changes)


def autoencoder_config(core, **changes):
    own = {"core": str(core), "network": VQGAN, "adversary": {"widths": [8, 8], "after": 2}}
    return AutoencoderTrainingConfig.model_validate(_tables() | own | changes)


def ldm_config(**changes):
    own = {"network": {"widths": [8, 16], "blocks": 1}, "diffusion": {"measured": 4, "levels": 2}}
    return LDMTrainingConfig.model_validate(_tables() | own | changes)


def decoder_config(**changes):
    own = {"adversary": {"widths": [8, 8], "mean": 1.0}, "drawing": {"steps": 2}}
    return DecoderTrainingConfig.model_validate(_tables() | own | changes)


def _tables():
    return {"data": DATA, "optimiser": OPTIMISER, "report": REPORT}
