"""What a patch weighs depends on whether diffusion sees its scan; the predictor learns from every patch."""

import pytest
import torch

from kfine.networks.vdm import VDM
from kfine.training.losses.vdm import Objective


def losses_of(kept, *, centre, detail=0.05, predictor=()):
    torch.manual_seed(0)
    network = VDM(widths=(8,), blocks=1, detail=detail, predictor=predictor)
    x, scan, noise, noise_0 = 0.3 * torch.randn(4, 2, 1, 16, 16)
    t = torch.tensor([0.7, 0.8])
    kept = torch.full((2,), float(kept))
    return Objective(network, centre=centre)(x, scan, kept, t, noise, noise_0), network, x - scan


def bound_of(kept, **options):
    return losses_of(kept, **options)[0][0].item()


def test_detail_lifts_the_loss_of_patches_with_their_scan_only():
    assert bound_of(True, centre=-6.0) > 2 * bound_of(True, centre=-6.0, detail=1e3)
    assert bound_of(False, centre=-6.0) == bound_of(False, centre=-6.0, detail=1e3)


def test_without_a_centre_the_loss_is_the_bound():
    assert bound_of(False, centre=None) > bound_of(False, centre=-2.0)
    assert bound_of(False, centre=None) == bound_of(False, centre=None, detail=1e3)


def test_the_untrained_predictor_gives_the_scan_back():
    (_, prediction), _, missing = losses_of(True, centre=-6.0, predictor=(8,))
    assert prediction.item() == pytest.approx(0.5 * (missing / 0.05).square().mean().item(), rel=1e-5)


def test_the_parts_share_no_weights():
    (loss, prediction), network, _ = losses_of(True, centre=-6.0, predictor=(8,))
    predictor, diffusion = list(network.predictor.parameters()), list(network.unet.parameters())
    through = torch.autograd.grad(loss, predictor, allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in through)
    assert all(
        g is None for g in torch.autograd.grad(prediction, diffusion, allow_unused=True, retain_graph=True)
    )
    assert any(
        g is not None and g.any() for g in torch.autograd.grad(prediction, predictor, allow_unused=True)
    )


def test_both_parts_are_learned():
    """LossStep on one batch with one noise: each part falls, the prediction's below what the scan alone gives."""
    torch.manual_seed(0)
    objective = Objective(VDM(widths=(8, 16), predictor=(8, 16), blocks=1), centre=-7.0)
    optimiser = torch.optim.Adam(objective.parameters(), lr=5e-3)
    x = torch.zeros(4, 1, 16, 16)
    x[..., 4:12, 5:11] = torch.rand(4, 1, 1, 1)
    scan = torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
    batch = x, scan, torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.3, 0.6, 0.4, 0.7])
    noises = torch.randn(2, *x.shape)
    history = []
    for _ in range(60):
        loss, prediction = objective(*batch, *noises)
        optimiser.zero_grad()
        (loss + prediction).backward()
        optimiser.step()
        history.append((loss.item(), prediction.item()))
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < 0.5 * history[0][1]
