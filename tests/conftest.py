"""Shared pieces of tests: a phantom with detail, and a tiny untrained model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kfine.checkpoint import load_model, save_model
from kfine.image import Image
from kfine.networks.vdm import VDM

TINY = {"widths": [8, 16], "predictor": [8, 16], "blocks": 1}
SAMPLING = {"steps": 3, "samples": 2, "conditioned": True}


@pytest.fixture(autouse=True)
def _two_threads():
    torch.set_num_threads(2)


def phantom(shape=(1, 3, 32, 32), seed=0):
    """Return (frame, slice, row, column) float32: bright ellipses on air, positive, with some texture."""
    rng = np.random.default_rng(seed)
    frames, slices, rows, columns = shape
    r, c = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    voxels = np.zeros(shape, np.float32)
    for place in np.ndindex(frames, slices):
        a, b, tilt = rng.uniform(0.5, 0.8, 3)
        body = (r / a) ** 2 + (c / b) ** 2 < 1
        core = ((r - 0.1 * tilt) / (a / 2)) ** 2 + ((c + 0.1) / (b / 3)) ** 2 < 1
        voxels[place] = 600.0 * body + 300.0 * core + 40.0 * body * rng.standard_normal((rows, columns))
    return voxels.clip(0)


@pytest.fixture
def image():
    affine = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [4, 0, 0, 7], [0, 0, 0, 1]], float)
    return Image(phantom(), affine)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> Path:
    """A model folder whose network is random: it restores nothing well, and must still contradict nothing."""
    torch.manual_seed(0)
    network = VDM(**TINY)
    for parameter in (*network.unet.parameters(), *network.predictor.parameters()):
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, network, {"method": "vdm", "network": TINY, "sampling": SAMPLING})
    return folder


@pytest.fixture
def tiny_model(tiny_model_folder):
    return load_model(tiny_model_folder)
