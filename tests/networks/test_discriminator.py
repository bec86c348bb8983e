import pytest
import torch

from kfine.networks.discriminator import (
    MOST,
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
)
from kfine.training.ldm_config import check_discriminator_size


def test_each_image_is_judged_by_itself_patch_by_patch():
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(4, 8, 16), sees=True).eval()
    x, conditioning = torch.randn(2, 3, 1, 33, 50)
    scores = net(x, conditioning)
    assert scores.shape == (3, 1, 6, 10)
    torch.testing.assert_close(net(x[1:2], conditioning[1:2]), scores[1:2])
    x[0, 0, :4, :4] += 1  # far from the last patch
    torch.testing.assert_close(net(x, conditioning)[0, 0, -1, -1], scores[0, 0, -1, -1])
    assert not torch.allclose(net(x, conditioning)[0, 0, 0, 0], scores[0, 0, 0, 0])


@pytest.mark.parametrize("widths", [(4, 8), (4, 8, 8), (4, 4, 8, 8)])
def test_the_least_piece_that_a_configuration_takes_has_one_verdict(widths):
    net, least = PatchDiscriminator(widths=widths), 3 * 2 ** (len(widths) - 1)
    assert net(torch.randn(1, 1, least, least)).shape[2:] == (1, 1)
    check_discriminator_size(least, widths)
    with pytest.raises(ValueError, match=f"at least {least}"):
        check_discriminator_size(least - 1, widths)
    with pytest.raises(RuntimeError):
        net(torch.randn(1, 1, least - 1, least - 1))


def test_what_the_decoder_saw_counts_where_it_is_shown():
    torch.manual_seed(0)
    x, conditioning = torch.randn(2, 1, 1, 32, 32)
    net = PatchDiscriminator(widths=(4, 8), sees=True).eval()
    assert not torch.allclose(net(x, conditioning), net(x, conditioning + 1))
    with pytest.raises(ValueError, match="conditioning image"):
        net(x)
    assert torch.equal((blind := PatchDiscriminator(widths=(4, 8)).eval())(x), blind(x, conditioning))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(4, 8), sees=True)
    discriminator_loss(
        *(net(torch.randn(2, 1, 24, 24), torch.randn(2, 1, 24, 24)) for _ in range(2))
    ).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_layers_do_not_stretch():
    """Spectral normalisation: the largest singular value of each weight is about 1."""
    torch.manual_seed(0)
    net = PatchDiscriminator(widths=(8, 16))
    for _ in range(30):
        net(torch.randn(1, 1, 32, 32))
    for layer in net.eval().layers[::2]:
        stretch = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(stretch) == pytest.approx(1, abs=0.02)


def test_hinge_losses():
    real, decoded = torch.tensor([3.0, 0.5]), torch.tensor([-2.0, 1.0])
    assert discriminator_loss(real, decoded) == 0.5 * (0.5 / 2 + 2 / 2)
    assert adversarial_loss(decoded) == 0.5


def test_the_adaptive_weight_is_the_ratio_of_gradients():
    last = torch.tensor([3.0, 4.0], requires_grad=True)
    reconstruction, adversarial = last.square().sum() / 2, (last * torch.tensor([0.0, 0.5])).sum()
    weight = adaptive_weight(reconstruction, adversarial, last=last)
    assert float(weight) == pytest.approx(5 / (0.5 + 1e-4))
    assert not weight.requires_grad
    (reconstruction + weight * adversarial).backward()  # the graphs are still there
    assert float(adaptive_weight(last.sum() * 1e6, (last * 0).sum(), last=last)) == MOST
