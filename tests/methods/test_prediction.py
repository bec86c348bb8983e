import pytest
import torch

from kfine.methods.vdm import predict
from kfine.networks.vdm import VDM


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = VDM(widths=(8,), predictor=(8, 16), blocks=1).eval()
    for parameter in net.predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def answer(network, scan, **options):
    with torch.inference_mode():
        return predict(network, scan, run=lambda f: f, **{"turned": True, "at_once": 2, **options})


def turn(x):
    return torch.rot90(x, 1, (-2, -1))


def test_a_turned_scan_gives_the_turned_answer(network):
    scan = torch.randn(3, 1, 12, 16)
    torch.testing.assert_close(answer(network, turn(scan)), turn(answer(network, scan)), atol=1e-5, rtol=1e-5)
    plain = answer(network, turn(scan), turned=False) - turn(answer(network, scan, turned=False))
    assert plain.abs().max() > 1e-3


def test_the_batch_does_not_matter(network):
    scan = torch.randn(3, 1, 13, 9)
    torch.testing.assert_close(answer(network, scan, at_once=1), answer(network, scan, at_once=8))


def test_without_a_predictor_the_scan_is_the_condition():
    scan = torch.randn(2, 1, 6, 6)
    assert answer(VDM(widths=(8,), blocks=1), scan) is scan
