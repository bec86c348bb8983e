"""Small beating phantoms on disk, and the smallest configurations that train on them."""

from pathlib import Path

import numpy as np
from PIL import Image as Picture

from kfine.image import Image
from kfine.io import write
from kfine.training.ldm_config import (
    CineDecoderTrainingConfig,
    CineLDMTrainingConfig,
    RegressionTrainingConfig,
    VQGANTrainingConfig,
)

FRAMES, SIDE = 8, 32
DATA = {"validation": ["patient-2"], "patch": 16, "frames": 4, "stills": 0.3, "every": [1, 2]}
OPTIMISER = {"steps": 4, "batch": 2, "warmup": 1, "learning_rate": 5e-3}
REPORT = {
    "checkpoint": 2, "validate_every": 4, "picture": 4,
    "slices": 1, "patch": 24, "steps": 2, "samples": 2,
}  # fmt: skip
UNET = {"widths": [8, 16], "blocks": 1}
VQGAN = {"factor": 2, "channels": 2, "widths": [8], "blocks": 1, "codes": 16}


def beating(seed=0, frames=FRAMES, slices=2, side=SIDE):
    """Return (frame, slice, row, column): a bright pool that shrinks and grows in a body with texture."""
    rng = np.random.default_rng(seed)
    r, c = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    body = (r / 0.8) ** 2 + (c / 0.7) ** 2 < 1
    texture = 60 * rng.standard_normal((slices, side, side)) * body
    voxels = np.empty((frames, slices, side, side), np.float32)
    for frame in range(frames):
        radius = 0.4 + 0.12 * np.cos(2 * np.pi * frame / frames)
        pool = r**2 + (c + 0.1) ** 2 < radius**2
        voxels[frame] = 300.0 * body + 500.0 * pool + texture
    return voxels.clip(0)


def cine(seed=0, **shape):
    voxels = beating(seed, **shape)
    times = tuple(0.1 * frame for frame in range(len(voxels)))
    return Image(voxels, np.diag([8.0, 1.5, 1.5, 1.0]), frame_times=times, period=0.1 * len(voxels))


def write_cines(folder: Path) -> list[Path]:
    """Write three cines and four pictures; return the two folders."""
    cines, pictures = folder / "cines", folder / "pictures"
    cines.mkdir(parents=True)
    pictures.mkdir()
    for number in range(3):
        write(cine(number), cines / f"patient-{number}.nii.gz")
    for number in range(4):
        grey = (beating(10 + number, frames=1, slices=1)[0, 0] / 4).clip(0, 255).astype(np.uint8)
        colours = np.repeat(grey[..., None], 3, axis=2)
        Picture.fromarray(colours).save(pictures / f"heart-{number}-IM-0001.png")
    return [cines, pictures]


def regression_config(**changes):
    return RegressionTrainingConfig.model_validate(_tables(UNET) | changes)


def vqgan_config(**changes):
    adversary = {"widths": [8, 8], "after": 2, "images": 3}
    return VQGANTrainingConfig.model_validate(_tables(VQGAN) | {"adversary": adversary} | changes)


def ldm_config(**changes):
    return CineLDMTrainingConfig.model_validate(
        _tables(UNET) | {"diffusion": {"measured": 4, "levels": 2}} | changes
    )


def decoder_config(**changes):
    tables = {name: table for name, table in _tables({}).items() if name != "network"}
    adversary = {"adversary": {"widths": [8, 8], "images": 3}, "drawing": {"steps": 2}}
    return CineDecoderTrainingConfig.model_validate(tables | adversary | changes)


def _tables(network):
    return {"data": DATA, "network": network, "optimiser": OPTIMISER, "report": REPORT}
