"""Shared pieces of tests: a phantom with detail, and a tiny untrained model."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from kfine.image import Image
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.core import CoreNet
from kfine.networks.ldm import CineLDM, StillLDM
from kfine.networks.vdm import VDM
from kfine.operators.fourier import centre_crop, centre_pad, fft2c, ifft2c

TINY = {"core": {"widths": [8, 16], "blocks": 1}, "widths": [8, 16], "blocks": 1}
TINY_CINE = {
    "regressor": {"widths": [4, 8], "blocks": 1},
    "autoencoder": {"factor": 4, "channels": 2, "widths": [4, 8], "blocks": 1, "codes": 0, "sees": True},
    "denoiser": {"widths": [4, 8], "blocks": 1},
}
TINY_STILL = {
    "core": TINY["core"],
    "autoencoder": {"factor": 4, "channels": 2, "widths": [4, 8], "blocks": 1, "codes": 0},
    "denoiser": {"widths": [4, 8], "blocks": 1},
}
CINE_SAMPLING = {"steps": 3, "samples": 2, "start": 2.0}
SAMPLING = {"steps": 3, "samples": 2, "conditioned": True}

# A busy machine is slow, not wrong.
settings.register_profile("kfine", deadline=None)
settings.load_profile("kfine")


# Tests that train, start processes or restore whole images, which `make check` skips: folders and files below tests/.
SLOW = (
    "batches", "benchmark", "benchmarks", "cli/test_batch", "cli/test_benchmark", "cli/test_degrade", "cli/test_demo",
    "cli/test_evaluate", "cli/test_facts", "cli/test_hostile", "cli/test_interruption", "cli/test_restore",
    "cli/test_train", "files/test_locks", "files/test_staging", "io/test_damage", "io/test_dicom_oracles",
    "io/test_dicom_out_numbers", "io/test_dicom_out_tools", "laws", "restoration/test_inputs",
    "restoration/test_intervals", "restoration/test_restoration", "restoration/test_resume", "restoration/test_save",
    "restoration/test_verification", "serve", "test_fuzz", "test_golden", "test_readme", "training",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    tests = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(tests) and item.path.relative_to(tests).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-seconds", type=float, default=40.0, help="how long damaged files are made and read, in all"
    )


# For the session: fixtures of a module train runs that tests repeat to the last bit.  One thread beside other processes
# of tests: threads that wait for a core make a test up to thirty times as slow.
@pytest.fixture(autouse=True, scope="session")
def _threads():
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


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


def beating(frames=6, *, slices=2, matrix=(32, 28), period=0.9, first=0.02):
    """Return a cine of a disc that swells and shrinks once a period, in a body with some texture."""
    rows, columns = matrix
    r, c = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    body = np.hypot(r / 0.9, c / 0.8) < 1
    texture = 40 * body * np.random.default_rng(0).standard_normal(matrix)
    times = tuple(first + period * frame / frames for frame in range(frames))
    voxels = np.empty((frames, slices, *matrix), np.float32)
    for frame, slice in np.ndindex(frames, slices):
        radius = 0.35 + 0.05 * slice + 0.12 * np.cos(2 * np.pi * frame / frames)
        disc = 1 / (1 + np.exp((np.hypot(r, c + 0.1) - radius) * 20))
        voxels[frame, slice] = 300 * body + 500 * disc + texture
    affine = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [8, 0, 0, 7], [0, 0, 0, 1]], float)
    return Image(voxels.clip(0), affine, frame_times=times, period=period)


@pytest.fixture
def cine():
    return beating()


@pytest.fixture
def image():
    affine = np.array([[0, 0, -2, 30], [0, 2, 0, -28], [4, 0, 0, 7], [0, 0, 0, 1]], float)
    return Image(phantom(), affine)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory) -> Path:
    """A model folder whose network is random: it restores nothing well, and must still contradict nothing."""
    torch.manual_seed(0)
    network = VDM(**TINY)
    for parameter in (*network.unet.parameters(), *network.core.parameters()):
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, network, {"method": "vdm", "network": TINY, "sampling": SAMPLING})
    return folder


@pytest.fixture(scope="session")
def tiny_cine_folder(tmp_path_factory) -> Path:
    """The same for cines: all three networks, random."""
    torch.manual_seed(0)
    network = CineLDM(**TINY_CINE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "tiny-cine"
    save_model(folder, network, {"method": "cine-ldm", "network": TINY_CINE, "sampling": CINE_SAMPLING})
    return folder


@pytest.fixture(scope="session")
def tiny_still_folder(tmp_path_factory) -> Path:
    """The same for stills."""
    torch.manual_seed(0)
    network = StillLDM(**TINY_STILL)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "tiny-still"
    save_model(
        folder,
        network,
        {"method": "ldm", "network": TINY_STILL, "sampling": CINE_SAMPLING | {"turned": True}},
    )
    return folder


@pytest.fixture(scope="session")
def tiny_still(tiny_still_folder):
    return load_model(tiny_still_folder)


@pytest.fixture(scope="session")
def tiny_core_folder(tmp_path_factory) -> Path:
    """The same of a core network."""
    torch.manual_seed(0)
    network = CoreNet(**TINY["core"])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "tiny-core"
    save_model(folder, network, {"method": "core", "network": TINY["core"]})
    return folder


@pytest.fixture
def tiny_cine(tiny_cine_folder):
    return load_model(tiny_cine_folder)


@pytest.fixture
def tiny_model(tiny_model_folder):
    return load_model(tiny_model_folder)


def scanned(
    matrix: tuple[int, int], block: tuple[int, int], *, sigma: float = 0.01, seed: int = 0
) -> np.ndarray:
    """Return the magnitude of an image with edges, measured in a block with noise and filled up to `matrix`."""
    rng = np.random.default_rng(seed)
    r, c = np.meshgrid(*(np.linspace(-1, 1, 256) for _ in range(2)), indexing="ij")
    image = (np.hypot(r / 0.8, c / 0.7) < 1) + 0.5 * (np.hypot(r - 0.2, c) < 0.3) + 0.3 * (abs(r + c) < 0.1)
    kspace = centre_crop(fft2c(torch.from_numpy(image * np.exp(0.5j * r))), block).numpy()
    kspace = kspace + sigma * 20 * (rng.normal(size=block) + 1j * rng.normal(size=block))
    return ifft2c(centre_pad(torch.from_numpy(kspace), matrix)).abs().numpy()[None, None]


def tree(folder):
    """Return the contents of all files below a folder, without wall times."""
    return {
        p.relative_to(folder).as_posix(): re.sub(rb'"wall_time_s": [0-9.]+', b"", p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
    }


def random_core(folder, network=CoreNet, *, std=0.2, **config):
    """Return the model of a small core network with a random last layer, saved to `folder`."""
    torch.manual_seed(0)
    built = network(widths=(8, 16), blocks=1)
    with torch.no_grad():
        built.unet.head[-1].weight.normal_(std=std)
    save_model(folder, built, {"network": {"widths": [8, 16], "blocks": 1}, **config})
    return load_model(folder)
