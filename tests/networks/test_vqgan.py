import pytest
import torch
from torch.nn import functional as F

from kfine.networks.vqgan import VQGAN


def vqgan(*, trained=True, **changes):
    torch.manual_seed(0)
    options = {"factor": 4, "channels": 3, "widths": (8, 16), "blocks": 1, "codes": 16, "sees": True}
    net = VQGAN(**options | changes)
    for p in net.parameters() if trained else []:
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def images(rows, columns, batch=2):
    return torch.randn(2, batch, 1, rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (16, 24)])
@pytest.mark.parametrize(("factor", "widths"), [(2, (8,)), (4, (8, 16)), (8, (8, 8, 16))])
@pytest.mark.parametrize("sees", [False, True])
def test_any_matrix_and_factor(shape, factor, widths, sees):
    net = vqgan(factor=factor, widths=widths, sees=sees)
    x, conditioning = images(*shape)
    coarse = tuple(-(-n // factor) for n in shape)
    assert net.encode(x, conditioning).shape == (2, 3, *coarse)
    out = net(x, conditioning)
    assert out.x.shape == x.shape
    assert out.quantised.codes.shape == (2, *coarse)


def test_reconstruction_is_decoding_the_codes_of_the_encoding():
    net = vqgan()
    x, conditioning = images(12, 16)
    out, quantised = net(x, conditioning), net.quantise(net.encode(x, conditioning))
    assert torch.equal(out.x, net.decode(quantised.z, conditioning))
    assert torch.equal(out.quantised.codes, quantised.codes)


def test_without_codes_the_latent_stays_as_it_is():
    net, z = vqgan(codes=0), torch.randn(1, 3, 2, 2)
    quantised = net.quantise(z)
    assert quantised.z is z
    assert quantised.codes is None
    assert quantised.commitment == 0


def test_a_fresh_decoder_adds_nothing():
    x, conditioning = images(12, 16)
    for sees in (0, 1):
        assert not vqgan(trained=False, sees=sees)(x, conditioning).x.any()


def test_only_a_network_that_sees_depends_on_what_is_seen():
    x, conditioning = images(12, 16)
    blind, sighted = vqgan(sees=False), vqgan()
    assert torch.equal(blind(x, conditioning).x, blind(x, 0 * conditioning).x)
    z = sighted.encode(x, conditioning)
    assert not torch.allclose(sighted.encode(x, x), z)
    assert not torch.allclose(sighted.decode(z, conditioning), sighted.decode(z, x), atol=1e-3)


def test_several_images_are_shown():
    net, (x, conditioning) = vqgan(sees=2), images(12, 16)
    both = torch.cat([conditioning, x], dim=1)
    assert net(x, both).x.shape == x.shape
    z = net.encode(x, both)
    assert not torch.allclose(net.decode(z, both), net.decode(z, both.flip(1)), atol=1e-3)


def test_a_patch_has_the_latent_that_it_has_within_the_whole():
    net = vqgan(factor=2, widths=(8,))
    x, conditioning = images(48, 48)
    x[0, 0, 40:] += 50  # far away, and so bright that statistics of the whole image would tell
    whole, patch = net.encode(x, conditioning), net.encode(x[..., :32, :32], conditioning[..., :32, :32])
    torch.testing.assert_close(patch[..., :11, :11], whole[..., :11, :11])
    z = net.quantise(whole).z
    decoded = net.decode(z[..., :16, :16], conditioning[..., :32, :32])
    torch.testing.assert_close(decoded[..., :20, :20], net.decode(z, conditioning)[..., :20, :20])


@pytest.mark.parametrize("codes", [0, 16])
@pytest.mark.parametrize("sees", [False, True])
def test_gradients_reach_every_parameter(codes, sees):
    net = vqgan(codes=codes, sees=sees).train()
    x, conditioning = images(16, 16)
    out = net(x, conditioning)
    ((out.x - x).square().mean() + out.quantised.commitment).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert net.last_layer.grad is not None


def test_training_draws_from_the_generator_given():
    x, conditioning = images(16, 16)
    nets = [vqgan().train() for _ in range(3)]
    for net, seed in zip(nets, (5, 5, 6), strict=True):
        net(x, conditioning, torch.Generator().manual_seed(seed))
    books = [net.quantiser.codebook for net in nets]
    assert torch.equal(books[0], books[1])
    assert not torch.equal(books[0], books[2])


@pytest.mark.parametrize("wrong", [{"factor": 3}, {"factor": 8}, {"factor": 1, "widths": ()}])
def test_factors_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match="expected a factor of 2, 4 or 8"):
        vqgan(**wrong)


def test_a_fresh_encoder_sees_what_is_lacking_and_no_brightness():
    """Encoder and conditioning of an image a hundred times as bright as the residual."""
    net = vqgan(trained=False)
    dark, bright = (torch.full((1, 1, 16, 16), value) for value in (-0.9, 0.7))
    for stem, inputs in ((net.encoder.stem, [0 * dark, bright - dark]), (net.look.stem, [bright - dark])):
        h = stem(F.pixel_unshuffle(torch.cat(inputs, 1), 2)) - stem.bias[:, None, None]
        torch.testing.assert_close(
            h[..., 2:-2, 2:-2], torch.zeros_like(h[..., 2:-2, 2:-2]), atol=1e-4, rtol=0
        )
    lacking = 0.02 * torch.randn(1, 1, 64, 64)
    h = net.encoder.stem(F.pixel_unshuffle(torch.cat([lacking, 0.2 * torch.randn(1, 1, 64, 64)], 1), 2))
    assert 0.5 < float(h.detach().std()) < 2
