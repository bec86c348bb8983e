"""Restorations that run out of memory: smaller batches, then tiles, the same voxels, and a record."""

import json

import numpy as np
import pytest
import torch

import kfine
from kfine.cli import run
from kfine.models.checkpoint import save_model
from kfine.networks.core import CoreNet
from tests.conftest import phantom

ERRORS = [
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried ..."
    ),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
]


@pytest.fixture(scope="module")
def core_folder(tmp_path_factory):
    """A small core network with random weights."""
    torch.manual_seed(0)
    network = CoreNet(widths=[8], blocks=1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("models") / "core"
    save_model(folder, network, {"method": "core", "network": {"widths": [8], "blocks": 1}})
    return folder


@pytest.fixture
def scarce(monkeypatch):
    """Let the core network end with an error for more than a number of pixels; return the sizes that it took."""
    plain, taken = CoreNet.forward, []

    def limit(pixels, error):
        def forward(self, image, *rest):
            if image.numel() > pixels:
                raise error
            taken.append(tuple(image.shape))
            return plain(self, image, *rest)

        monkeypatch.setattr(CoreNet, "forward", forward)
        return taken

    return limit


def same(a, b):
    np.testing.assert_allclose(a.mean.voxels, b.mean.voxels, atol=1e-4 * float(np.abs(b.mean.voxels).max()))


@pytest.mark.filterwarnings("ignore:out of memory")
@pytest.mark.parametrize("error", ERRORS, ids=["python", "processor", "device"])
@pytest.mark.parametrize(("slices", "most", "planes"), [(5, 2, 2), (4, 1, 1)])
def test_smaller_batches(core_folder, scarce, error, slices, most, planes):
    image = kfine.Image(phantom((1, slices, 24, 20), 1))
    options = {"scale": 2, "model": core_folder, "precision": "float32", "seed": 3}
    plenty = kfine.restore(image, **options)
    assert "out_of_memory" not in plenty.provenance
    steps = []
    taken = scarce(most * 48 * 40, error)
    short = kfine.restore(image, **options, on_progress=lambda *step: steps.append(step))
    same(short, plenty)
    assert short.provenance["out_of_memory"] == {"planes_a_call": planes}
    assert {shape[0] for shape in taken} <= {1, planes}
    assert steps[-1][0] == steps[-1][1] == max(done for done, _ in steps)


@pytest.mark.parametrize("error", ERRORS[:2], ids=["python", "processor"])
def test_then_tiles(core_folder, scarce, error):
    image = kfine.Image(phantom((1, 2, 110, 75), 1))  # 220 x 150
    options = {"scale": 2, "model": core_folder, "precision": "float32", "effort": "fast"}
    plenty = kfine.restore(image, **options)
    taken = scarce(220 * 150 - 1, error)
    with pytest.warns(UserWarning, match="out of memory") as notes:
        short = kfine.restore(image, **options)
    same(short, plenty)
    shown = [str(note.message) for note in notes if "out of memory" in str(note.message)]
    assert shown == [
        "out of memory: continues with one plane a call",
        "out of memory: continues with tiles of 128x128 pixels",
    ]
    assert short.provenance["out_of_memory"] == {"planes_a_call": 1, "tile_side": 128}
    assert len(taken) == 2 * 4


@pytest.mark.filterwarnings("ignore:out of memory")
@pytest.mark.parametrize("options", [{"isotropic": True, "method": "core"}, {"scale": 2, "slice_scale": 2}])
def test_finer_slices(core_folder, scarce, options):
    image = kfine.Image(phantom((1, 6, 20, 16), 1), np.diag([4.0, 1.0, 1.0, 1.0]))
    options = options | {"model": core_folder, "precision": "float32"}
    plenty = kfine.restore(image, **options)
    largest = max(shape[1] * shape[2] for shape in _sizes(scarce, image, options))
    scarce(largest, MemoryError())
    short = kfine.restore(image, **options)
    same(short, plenty)
    assert short.provenance["out_of_memory"] == {"planes_a_call": 1}


def _sizes(scarce, image, options):
    taken = scarce(1 << 30, MemoryError())
    kfine.restore(image, **options)
    return taken


@pytest.mark.filterwarnings("ignore:out of memory")
def test_samples(tiny_model_folder, scarce):
    image = kfine.Image(phantom((1, 3, 24, 20), 1))
    options = {"scale": 2, "model": tiny_model_folder, "precision": "float32"}
    plenty = kfine.restore(image, **options)
    scarce(48 * 40, MemoryError())
    short = kfine.restore(image, **options)
    same(short, plenty)
    assert short.provenance["out_of_memory"] == {"planes_a_call": 1}


@pytest.mark.parametrize("error", ERRORS, ids=["python", "processor", "device"])
def test_too_little_memory_for_one_tile(core_folder, scarce, tmp_path, error, capsys):
    kfine.write(kfine.Image(phantom((1, 2, 24, 20), 1)), tmp_path / "low.nii.gz")
    scarce(10, error)
    call = ["restore", tmp_path / "low.nii.gz", "--scale", 2, "--model", core_folder]
    assert run([*map(str, call)]) == 6
    assert "out of memory" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii.gz"]


@pytest.mark.filterwarnings("ignore:out of memory")
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd"])
def test_the_record_beside_the_result_says_so(core_folder, scarce, tmp_path, suffix):
    kfine.write(kfine.Image(phantom((1, 4, 24, 20), 1)), tmp_path / "low.nii.gz")
    scarce(2 * 48 * 40, MemoryError())
    call = [
        "restore",
        tmp_path / "low.nii.gz",
        "-o",
        tmp_path / f"out.{suffix}",
        "--scale",
        2,
        "--model",
        core_folder,
    ]
    assert run([*map(str, call)]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["out_of_memory"] == {"planes_a_call": 2}


def test_other_errors_are_not_tried_again(core_folder, scarce):
    image = kfine.Image(phantom((1, 2, 24, 20), 1))
    for error in (RuntimeError("shapes do not match"), ValueError("memory")):
        taken = scarce(10, error)
        with pytest.raises(type(error), match=str(error)):
            kfine.restore(image, scale=2, model=core_folder)
        assert not taken
