"""The losses of both models: the bound without scans, the squared error with them."""

import pytest
import torch

from kfine.networks.core import FACTS
from kfine.networks.vdm import VDM
from kfine.training.data.core_patches import Sample
from kfine.training.losses.vdm import Objective

CORE = {"widths": (8,), "blocks": 1}


def batch(size=4):
    torch.manual_seed(1)
    x = 0.3 * torch.randn(size, 16, 16)
    image = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    return Sample(image, x, torch.full((size,), 0.2), torch.zeros(size, FACTS), torch.ones(size))


def draws(size=4, count=2):
    torch.manual_seed(2)
    noise = torch.randn(size, 1, 16, 16)
    return torch.linspace(0.6, 0.8, count), noise, torch.randn(count, 1, 16, 16), torch.randn(size - count)


def losses(*, count=2, centre=-6.0, mean=-0.4, **options):
    torch.manual_seed(0)
    network = VDM(**{"core": CORE, "widths": (8,), "blocks": 1, **options})
    objective = Objective(network, centre=centre, mean=mean, std=1.0)
    return objective(batch(), count, *draws(count=count)), network


def test_pieces_are_of_one_model_or_the_other():
    assert set(losses(count=0)[0]) == {"loss", "given_scan"}
    assert set(losses(count=4)[0]) == {"loss", "bound"}
    both, _ = losses()
    assert float(both["loss"]) == pytest.approx(float(both["bound"] + both["given_scan"]))


def test_the_centre_fades_out_the_bound_alone():
    (whole, _), (faded, _) = losses(centre=None), losses(centre=-2.0)
    assert whole["bound"] > faded["bound"]
    assert whole["given_scan"] == faded["given_scan"]


def test_an_untrained_network_errs_by_what_the_scan_lacks():
    """F = 0: at high noise the loss is the variance of what the mean lacks over d^2 + the error of zero filling."""
    figures, network = losses(count=0, mean=6.0)
    sample = batch()
    lacking = (sample.target - sample.image).square().mean()
    d2 = (network.detail * 0.2) ** 2
    assert float(figures["given_scan"]) == pytest.approx(float(lacking) / (d2 + 1.0), rel=0.02)


def test_the_core_network_learns_nothing():
    figures, network = losses()
    figures["loss"].backward()
    assert all(p.grad is None for p in network.core.parameters())
    assert any(p.grad is not None and p.grad.any() for p in network.unet.parameters())


def test_both_models_are_learned():
    """Descent on one batch with one noise: each loss falls."""
    torch.manual_seed(0)
    network = VDM(core=CORE, widths=(8, 16), blocks=1)
    objective = Objective(network, centre=-7.0, mean=-0.4, std=1.0)
    optimiser = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=5e-3)
    history = []
    for _ in range(60):
        figures = objective(batch(), 2, *draws())
        optimiser.zero_grad()
        figures["loss"].backward()
        optimiser.step()
        history.append((figures["bound"].item(), figures["given_scan"].item()))
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]
