"""The checkpoint of a run: all of it or nothing, of these networks and no others."""

import pytest
import torch

from kfine.errors import ModelError
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
