"""The checkpoint of a run: all of it or nothing, of these networks and no others."""

import pytest
import torch

from kfine.errors import ModelError
from kfine.models.tensors import read_tensors
from kfine.networks.space_time import SpaceTimeUNet
from kfine.training.state import Ema, State


def state(*, blocks=1, seed=0, frozen=(), features=None):
    """A network after one update, what is named in `frozen` as it was, and perhaps features, made by a seed."""
    torch.manual_seed(seed)
    network = SpaceTimeUNet(inputs=1, outputs=1, widths=(4, 8), blocks=blocks, levels=False)
    for name in frozen:
        getattr(network, name).requires_grad_(False)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=1e-2, fused=True)
    for p in learning:
        p.grad = torch.randn_like(p)
    optimiser.step()
    modules = {"network": network}
    if features is not None:
        torch.manual_seed(features)
        modules["features"] = torch.nn.Linear(2, 2).requires_grad_(False)
    return State(modules, {"network": optimiser}, Ema(network, 0.9))


def weights(kept):
    return [p.clone() for p in kept.modules["network"].parameters()]


def test_everything_comes_back(tmp_path):
    first, second = state(), state(seed=1)
    first.save(tmp_path / "c.safetensors", step=7)
    assert second.load(tmp_path / "c.safetensors") == 7
    second.save(tmp_path / "d.safetensors", step=7)
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "d.safetensors").read_bytes()


@pytest.mark.parametrize(("there", "here"), [(2, 1), (1, 2)])
def test_a_deeper_or_shallower_network_is_refused_and_left_alone(tmp_path, there, here):
    state(blocks=there).save(tmp_path / "c.safetensors", step=7)
    other = state(blocks=here, seed=1)
    before = weights(other)
    with pytest.raises(ModelError, match="another network"):
        other.load(tmp_path / "c.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, weights(other), strict=True))


def test_other_frozen_parts_are_refused(tmp_path):
    state(frozen=["stem"]).save(tmp_path / "c.safetensors", step=7)
    assert state(frozen=["stem"]).load(tmp_path / "c.safetensors") == 7
    with pytest.raises(ModelError, match="another model of the stage before"):
        state(frozen=["stem"], seed=1).load(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("there", "here", "says"),
    [
        (0, None, "made with features; give them again"),
        (None, 0, "made without features; leave them out"),
        (0, 1, "made with another set of features"),
    ],
)
def test_a_run_goes_on_with_the_features_it_began_with(tmp_path, there, here, says):
    state(features=there).save(tmp_path / "c.safetensors", step=7)
    assert state(features=there).load(tmp_path / "c.safetensors") == 7
    with pytest.raises(ModelError, match=says):
        state(features=here).load(tmp_path / "c.safetensors")


def damaged(path, how):
    """Damage a checkpoint: cut short, other values in the middle, or no safetensors at all."""
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[:-5]
    elif how == "values":
        data[-40] ^= 1
    elif how == "foreign":
        data = bytearray(b"PK\x03\x04" * 100)
    path.write_bytes(data)
    if how == "missing":
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "values", "foreign", "missing"])
def test_the_one_before_is_used_where_the_latest_is_damaged(tmp_path, how):
    latest, before = tmp_path / "c.safetensors", tmp_path / "b.safetensors"
    first = state()
    first.save(before, step=3)
    state(seed=2).save(latest, step=6)
    damaged(latest, how)
    second = state(seed=1)
    with pytest.warns(UserWarning, match="b.safetensors, of update 3, is used"):
        assert second.load_latest(latest, before) == 3
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    with pytest.raises(ModelError, match=r"c\.safetensors"):
        second.load(latest)
    damaged(before, "values")
    with pytest.raises(ModelError, match="both are damaged"):
        state(seed=1).load_latest(latest, before)


def test_another_network_is_no_damage(tmp_path):
    state().save(tmp_path / "b.safetensors", step=3)
    state(blocks=2).save(tmp_path / "c.safetensors", step=6)
    with pytest.raises(ModelError, match="another network"):
        state().load_latest(tmp_path / "c.safetensors", tmp_path / "b.safetensors")


def test_checkpoints_of_earlier_versions_have_no_digest(tmp_path):
    from safetensors.torch import save_file

    first, second = state(), state(seed=1)
    first.save(tmp_path / "c.safetensors", step=7)
    save_file(read_tensors(tmp_path / "c.safetensors"), tmp_path / "d.safetensors")
    assert second.load_latest(tmp_path / "d.safetensors", tmp_path / "none.safetensors") == 7
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
