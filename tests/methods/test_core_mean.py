import pytest
import torch

from kfine.methods.core import CoreOptions, core_mean, scan_input
from kfine.networks.core import CoreNet
from kfine.operators.kspace import KSpaceCrop

HIGH, LOW = (24, 32), (12, 20)
CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = CoreNet(widths=(8, 16), blocks=1).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


def input_of(x, *, low=LOW):
    operator = KSpaceCrop(tuple(x.shape), low, real=True)
    return scan_input(operator, operator(x), CoreOptions(noise=0.05), signed=False)


def answer(network, scans, **options):
    with torch.inference_mode():
        return core_mean(
            network, scans, **{"symmetries": 4, "device": CPU, "precision": torch.float32, **options}
        )


def test_a_turned_scan_gives_the_turned_answer(network):
    x = torch.rand(25, 31) - 1  # odd sides: their middle stays where it is
    one, other = input_of(x, low=(13, 21)), input_of(torch.rot90(x), low=(21, 13))
    assert torch.allclose(other.facts.tensor(), one.facts.turned().tensor(), atol=1e-3)
    for symmetries, close in ((1, False), (4, True), (8, True)):
        straight, turned = (answer(network, [each], symmetries=symmetries)[0] for each in (one, other))
        assert torch.allclose(turned, torch.rot90(straight), atol=1e-3) == close


def test_a_mirrored_scan_gives_the_mirrored_answer(network):
    x = torch.rand(25, 31) - 1
    one, other = input_of(x, low=(13, 21)), input_of(x.flip(-1), low=(13, 21))
    for symmetries, close in ((4, False), (8, True)):
        straight, mirrored = (answer(network, [each], symmetries=symmetries)[0] for each in (one, other))
        assert torch.allclose(mirrored, straight.flip(-1), atol=1e-3) == close


def test_the_batch_does_not_matter(network):
    scans = [input_of(torch.rand(HIGH) - 1) for _ in range(3)]
    together = answer(network, scans)
    torch.testing.assert_close(torch.cat([answer(network, [each]) for each in scans]), together)
