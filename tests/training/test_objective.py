"""What a patch weighs depends on whether it comes with its scan."""

import torch

from kfine.networks.vdm import VDM
from kfine.training.objective import Objective


def loss_of(condition, *, centre, detail=0.05):
    torch.manual_seed(0)
    network = VDM(widths=(8,), blocks=1)
    x, noise, noise_0 = 0.3 * torch.randn(3, 2, 1, 16, 16)
    t = torch.tensor([0.7, 0.8])
    return Objective(network, centre=centre, detail=detail)(x, condition, t, noise, noise_0).item()


def test_detail_lifts_the_loss_of_patches_with_their_scan_only():
    without, given = torch.zeros(2, 1, 16, 16), torch.full((2, 1, 16, 16), 0.1)
    assert loss_of(given, centre=-6.0) > 2 * loss_of(given, centre=-6.0, detail=1e3)
    assert loss_of(without, centre=-6.0) == loss_of(without, centre=-6.0, detail=1e3)


def test_without_a_centre_the_loss_is_the_bound():
    without = torch.zeros(2, 1, 16, 16)
    assert loss_of(without, centre=None) > loss_of(without, centre=-2.0)
    assert loss_of(without, centre=None) == loss_of(without, centre=None, detail=1e3)
