import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from kfine.errors import ModelError
from kfine.models.checkpoint import load_model, packaged_models, save_model
from kfine.models.tensors import shapes_of
from kfine.networks.vdm import VDM
from tests.conftest import TINY


@pytest.fixture
def folder(tiny_model_folder, tmp_path):
    return shutil.copytree(tiny_model_folder, tmp_path / "copy")


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_saved_model_is_the_model_in_half_precision(tmp_path):
    network = VDM(**TINY)
    save_model(tmp_path / "m", network, {"method": "vdm", "network": TINY})
    loaded = load_model(tmp_path / "m")
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        kept = loaded.network.state_dict()[name]
        assert kept.dtype == torch.float32
        assert torch.equal(kept, tensor.half().float())
    assert load_model(str(tmp_path / "m")).digest == loaded.digest


def damage(folder, what):
    weights = folder / "model.safetensors"
    if what == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:500])
    elif what == "one bit of the weights":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif what == "no weights":
        weights.unlink()
    elif what == "a pickle":
        weights.unlink()
        (folder / "model.pt").write_bytes(pickle.dumps({"weights": 1}))
    elif what == "a pickle named safetensors":
        weights.write_bytes(pickle.dumps({"weights": 1}))
        import hashlib

        edit(folder, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    elif what == "no config":
        (folder / "config.json").unlink()
    elif what == "config of something else":
        (folder / "config.json").write_text('{"architectures": ["UNet"]}')
    elif what == "config that is no JSON":
        (folder / "config.json").write_bytes(b"\xff\xfe{")
    elif what == "config that is a list":
        (folder / "config.json").write_text("[]")
    elif what == "a newer format":
        edit(folder, format=99)
    elif what == "an unknown method":
        edit(folder, method="gan")
    elif what == "another network":
        edit(folder, network=TINY | {"widths": [8, 24]})
    elif what == "an impossible network":
        edit(folder, network=TINY | {"blocks": 1.5})
    elif what == "a network without levels":
        edit(folder, network=TINY | {"widths": []})
    elif what == "settings that are no table":
        edit(folder, sampling=[1])
    elif what == "an unknown argument":
        edit(folder, network={"depth": 9})


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("truncated weights", "copy the model again"),
        ("one bit of the weights", "copy the model again"),
        ("no weights", "expected model.safetensors"),
        ("a pickle", "may be a pickle"),
        ("a pickle named safetensors", "damaged or foreign"),
        ("no config", "expected config.json"),
        ("config of something else", "not a kfine model"),
        ("config that is no JSON", "cannot be read"),
        ("config that is a list", "not a kfine model"),
        ("a newer format", "upgrade kfine"),
        ("an unknown method", "expected one of core, vdm"),
        ("another network", "do not fit"),
        ("an impossible network", "no network that can be built"),
        ("a network without levels", "no network that can be built"),
        ("settings that are no table", "expected a table"),
        ("an unknown argument", "no network that can be built"),
    ],
)
def test_what_is_damaged_or_foreign_is_refused(folder, what, says):
    damage(folder, what)
    with pytest.raises(ModelError, match=says) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), 1e9])  # 1e9 is beyond what float16 holds
def test_weights_of_a_training_that_failed_are_refused(tmp_path, value):
    network = VDM(**TINY)
    torch.nn.init.constant_(network.unet.stem.bias, value)
    save_model(tmp_path / "m", network, {"method": "vdm", "network": TINY})
    with pytest.raises(ModelError, match="NaN or Inf"):
        load_model(tmp_path / "m")


def test_the_folder_one_stands_in_has_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_model(".").name == "copy"
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    assert load_model("..").name == "copy"


def test_a_folder_with_a_packaged_models_name_is_given_as_a_path(folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "core")
    monkeypatch.chdir(tmp_path)
    packaged, own = load_model("core"), load_model("./core")
    assert packaged.digest != own.digest == load_model(Path("core")).digest


def test_unknown_names_and_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="found neither"):
        load_model("brain-gan")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"x")
    with pytest.raises(ModelError, match="expected a folder"):
        load_model(file)


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_models_load_and_are_small(name):
    limit = 30e6 if name.startswith("cine") else 20e6
    model = load_model(name)
    assert model.config["method"] == model.method
    from kfine.models.checkpoint import PACKAGED

    assert sum(f.stat().st_size for f in (PACKAGED / name).iterdir()) <= limit
    assert (PACKAGED / name / "README.md").stat().st_size > 1000


@pytest.fixture
def around(tiny_core_folder, tmp_path, monkeypatch):
    """A model around the packaged tiny core network: the folder of its own."""
    packaged = tmp_path / "packaged"
    shutil.copytree(tiny_core_folder, packaged / "core")
    monkeypatch.setattr("kfine.models.checkpoint.PACKAGED", packaged)
    core = load_model("core")
    network = VDM(**TINY)
    network.core.load_state_dict(core.network.state_dict())
    named = {"name": "core", "sha256": core.digest}
    save_model(tmp_path / "m", network, {"method": "vdm", "network": TINY, "core": named})
    return tmp_path / "m"


def test_a_model_around_a_packaged_core_holds_no_copy_of_it(around):
    assert not [name for name in shapes_in(around) if name.startswith("core.")]
    model, core = load_model(around), load_model("core")
    theirs = core.network.state_dict()
    assert all(torch.equal(model.network.core.state_dict()[name], theirs[name]) for name in theirs)
    assert model.digests == {"name": "m", "sha256": model.digest, "core": core.digest}
    assert model.network_config == TINY
    assert model.is_that_of(model.digests)
    assert not model.is_that_of(model.digests | {"core": "0" * 64})


def test_another_core_is_noted_and_used(around, recwarn):
    assert load_model(around).core is not None
    assert not recwarn.list
    edit(around, core={"name": "core", "sha256": "0" * 64})
    with pytest.warns(UserWarning, match="model m: was trained around another core than the packaged one"):
        assert load_model(around).core.digest == load_model("core").digest


@pytest.mark.parametrize("core", ["core", {"name": "../m"}, {"name": "none", "sha256": ""}, {"sha256": ""}])
def test_a_core_that_is_not_packaged_is_refused(around, core):
    edit(around, core=core)
    with pytest.raises(ModelError, match=r"model m: config\.json: expected the name of a packaged model"):
        load_model(around)


def shapes_in(folder):
    return shapes_of(folder / "model.safetensors")
