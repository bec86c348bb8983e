"""The core network of cines: initial weights, and dependence of frames on each other."""

import pytest
import torch

from kfine.networks.core import FACTS, CineCoreNet, CoreNet, Facts, cine_network, of_slice, start_from_core

SIZE = {"widths": (8, 16), "blocks": 2}


@pytest.fixture
def core():
    torch.manual_seed(0)
    network = CoreNet(**SIZE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "conv2.weight" in name or "head" in name:  # which a fresh network has at 0
                weight.normal_(std=0.1)
    return network.eval()


def inputs(frames=6, side=16):
    generator = torch.Generator().manual_seed(1)
    blend, difference = (0.3 * torch.randn(2, frames, side, side, generator=generator) for _ in range(2))
    part = torch.tensor([0.0, 0.5]).repeat(frames // 2).expand(2, -1)
    return blend, difference, part, torch.tensor([0.1, 0.2]), torch.randn(2, FACTS, generator=generator)


def moving(core):
    """A network with non-zero steps along time."""
    network = CineCoreNet(**SIZE).eval()
    start_from_core(network, core.state_dict())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "between" in name or name == "unet.stem.weight":
                weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    return network


@torch.no_grad()
def test_it_starts_as_the_core_network_of_each_frame(core):
    network = cine_network(core, SIZE)
    assert not network.training
    blend, difference, part, unit, facts = inputs()
    ours = network(blend, difference, part, unit, facts, cyclic=True)
    theirs = core(blend.flatten(0, 1), unit.repeat_interleave(6), facts.repeat_interleave(6, 0))
    assert (ours - blend).abs().max() > 1e-3
    assert torch.allclose(ours, theirs.view_as(ours), atol=1e-5)


def test_a_core_network_of_another_size_is_refused(core):
    with pytest.raises(RuntimeError):
        start_from_core(CineCoreNet(widths=(8, 24), blocks=2), core.state_dict())


@torch.no_grad()
def test_a_beat_has_no_first_frame(core):
    network = moving(core)
    blend, difference, part, unit, facts = inputs()
    whole = network(blend, difference, part, unit, facts, cyclic=True)
    rolled = network(*(x.roll(2, 1) for x in (blend, difference, part)), unit, facts, cyclic=True)
    assert torch.allclose(rolled, whole.roll(2, 1), atol=1e-5)
    open_ended = network(blend, difference, part, unit, facts, cyclic=False)
    assert not torch.allclose(open_ended[:, 0], whole[:, 0], atol=1e-4)


@torch.no_grad()
def test_a_frame_sees_its_neighbours_and_whether_it_was_measured(core):
    network = moving(core)
    blend, difference, part, unit, facts = inputs()
    first = network(blend, difference, part, unit, facts, cyclic=True)
    other = blend.clone()
    other[:, 3] += 0.1
    assert not torch.allclose(network(other, difference, part, unit, facts, cyclic=True)[:, 2], first[:, 2])
    assert not torch.allclose(network(blend, difference, 0 * part, unit, facts, cyclic=True), first)


def test_a_slice_has_one_unit_and_one_description():
    one = Facts((0.5, 0.5), noise=0.2, histogram=(1.0,) * 16)
    other = one._replace(noise=0.1, histogram=(3.0,) * 16)
    unit, facts = of_slice([(0.3, one), (0.4, other)])
    assert unit == pytest.approx((0.125) ** 0.5)
    assert facts.noise * unit == pytest.approx((0.06 + 0.04) / 2)  # in model units the mean
    assert facts.histogram == (2.0,) * 16
    assert of_slice([(0.3, one)]) == (pytest.approx(0.3), one._replace(noise=pytest.approx(0.2)))
