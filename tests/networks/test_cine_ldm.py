import pytest
import torch

from kfine.errors import ModelError
from kfine.models.checkpoint import load_model, save_model
from kfine.networks.ldm import CineLDM

UNET = {"widths": [8, 16], "blocks": 1}
VQ = {"factor": 4, "channels": 3, "widths": [8, 16], "blocks": 1, "codes": 16, "sees": True}
PARTS = {
    "cine-regression": {"regressor": UNET, "autoencoder": None, "denoiser": None},
    "vqgan": {"regressor": UNET, "autoencoder": VQ, "denoiser": None},
    "cine-ldm": {"regressor": UNET, "autoencoder": VQ, "denoiser": UNET},
}


def network(method="cine-ldm", *, trained=True):
    torch.manual_seed(0)
    net = CineLDM(**PARTS[method])
    for p in net.parameters() if trained else []:
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def test_an_untrained_regressor_gives_the_blend():
    guide = torch.randn(2, 5, 2, 9, 10)
    guide[:, 2] = torch.tensor([0.0, 0.25])[:, None, None]
    predicted = network(trained=False).predict(guide, cyclic=True)
    torch.testing.assert_close(predicted[:, 0], guide[:, 0, 0])
    torch.testing.assert_close(predicted[:, 1], 0.75 * guide[:, 0, 1] + 0.25 * guide[:, 1, 1])
    assert not torch.allclose(network().predict(guide, cyclic=True), predicted, atol=1e-3)


def test_latents_are_normalised_outside_and_put_on_codes_when_decoded():
    net, (x, conditioning) = network(), torch.randn(2, 2, 5, 9, 13)
    plain = net.encode(x, conditioning)
    assert plain.shape == (2, 3, 5, 3, 4)
    mean, std = plain.mean((0, 2, 3, 4)), plain.std((0, 2, 3, 4))
    before = net.decode(plain, conditioning)
    net.set_latent_statistics(mean, std)
    z = net.encode(x, conditioning)
    torch.testing.assert_close(z.mean((0, 2, 3, 4)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3, 4)), torch.ones(3), atol=1e-4, rtol=0)
    decoded = net.decode(z, conditioning)
    torch.testing.assert_close(decoded, before)
    assert decoded.shape == conditioning.shape
    one = net.reconstruct(x[1, 2][None, None], conditioning[1, 2][None, None])[0][0, 0]
    torch.testing.assert_close(decoded[1, 2], one)


def test_statistics_that_cannot_be_are_refused():
    for mean, std in ((torch.zeros(3), torch.zeros(3)), (torch.full((3,), torch.nan), torch.ones(3))):
        with pytest.raises(ValueError, match="positive"):
            network().set_latent_statistics(mean, std)
    with pytest.raises(ValueError, match="shape"):
        network().set_latent_statistics(torch.zeros(1), torch.ones(1))


def test_the_condition_is_the_prediction_what_differs_from_it_and_the_facts():
    net, predicted, facts = network(), torch.randn(2, 2, 8, 12), torch.rand(2, 3, 2)
    images = torch.randn(2, 2, 2, 8, 12)
    guide = torch.cat([images, facts[..., None, None].expand(-1, -1, -1, 8, 12)], dim=1)
    condition = net.condition(predicted, guide)
    assert condition.shape == (2, 51, 2, 2, 3)
    for row, column in ((0, 0), (1, 2), (3, 3)):
        place = 4 * row + column
        torch.testing.assert_close(condition[:, place], predicted[..., row::4, column::4])
        for number in range(2):
            apart = 8 * (images[:, number] - predicted)[..., row::4, column::4]
            torch.testing.assert_close(condition[:, 16 * (1 + number) + place], apart)
    torch.testing.assert_close(condition[:, 48:, :, 1, 2], facts)
    assert net.condition(predicted[..., :7, :9], guide[..., :7, :9]).shape == (2, 51, 2, 2, 3)


def test_the_regressor_goes_without_the_scale():
    net, guide = network(), torch.rand(1, 5, 2, 8, 12)
    other = torch.cat([guide[:, :3], torch.rand(1, 2, 2, 8, 12)], dim=1)
    assert torch.equal(net.predict(guide, cyclic=True), net.predict(other, cyclic=True))


def test_an_untrained_denoiser_gives_the_linear_estimate():
    """The best linear estimate of a latent of unit variance is z / (1 + sigma^2)."""
    net, z = network(trained=False), torch.randn(2, 3, 2, 3, 5)
    condition, sigma = torch.randn(2, 51, 2, 3, 5), torch.tensor([0.5, 3.0])
    expected = z / (1 + sigma.square())[:, None, None, None, None]
    torch.testing.assert_close(net.denoise(z, sigma, condition, cyclic=True), expected)
    torch.nn.init.ones_(net.denoiser.head[-1].bias)  # F = 1
    moved = net.denoise(z, sigma, condition, cyclic=True) - expected
    by = (sigma / (1 + sigma.square()).sqrt())[:, None, None, None, None]
    torch.testing.assert_close(moved, by.expand_as(z), atol=1e-6, rtol=1e-5)


def test_the_denoiser_is_shown_scaled_input_condition_and_level():
    net, z, condition = network(), torch.randn(1, 3, 2, 3, 5), torch.randn(1, 51, 2, 3, 5)
    sigma = torch.tensor(2.0, dtype=torch.float64)  # as schedules hold them
    inputs = torch.cat([z / 5**0.5, condition], dim=1)
    output = net.denoiser(inputs, torch.tensor([2.0]).log() / 4, cyclic=False)
    torch.testing.assert_close(net.denoise(z, sigma, condition, cyclic=False), z / 5 + 2 / 5**0.5 * output)


def test_parts_that_are_not_there_are_missed():
    net = network("cine-regression")
    with pytest.raises(ValueError, match="autoencoder"):
        net.encode(*torch.zeros(2, 1, 1, 4, 4))
    with pytest.raises(ValueError, match="denoiser"):
        network("vqgan").denoise(*torch.zeros(3, 1, 3, 1, 1, 1), cyclic=True)
    with pytest.raises(ValueError, match="autoencoder"):
        CineLDM(regressor=UNET, autoencoder=None, denoiser=UNET)


@pytest.mark.parametrize("method", list(PARTS))
def test_a_stored_model_is_the_model_in_half_precision(method, tmp_path):
    net = network(method)
    if net.autoencoder is not None:
        net.autoencoder.quantiser.train()(50 * torch.randn(4, 3, 8, 8))
        net.eval().set_latent_statistics(torch.tensor([-20.0, 0.0, 30.0]), torch.tensor([0.01, 1.0, 300.0]))
    save_model(tmp_path / "m", net, {"method": method, "network": PARTS[method]})
    loaded = load_model(tmp_path / "m").network
    assert list(loaded.state_dict()) == list(net.state_dict())
    for name, tensor in net.state_dict().items():
        kept = loaded.state_dict()[name]
        assert kept.dtype == torch.float32
        assert kept.isfinite().all()
        torch.testing.assert_close(kept, tensor, atol=1e-7, rtol=5e-4)
    if net.autoencoder is not None:
        # The codes are the vectors that were stored, to the last bit: the rounding happens once.
        quantised = loaded.autoencoder.quantise(torch.randn(1, 3, 4, 4))
        chosen = loaded.autoencoder.quantiser.codebook[quantised.codes].movedim(-1, 1)
        torch.testing.assert_close(quantised.z, chosen)
        assert torch.equal(chosen, chosen.half().float())


@pytest.mark.parametrize(
    ("method", "parts", "message"),
    [("cine-ldm", "vqgan", "needs its denoiser"), ("vqgan", "cine-regression", "needs its autoencoder")],
)
def test_a_model_without_what_its_method_needs_is_refused(method, parts, message, tmp_path):
    save_model(tmp_path / "m", network(parts), {"method": method, "network": PARTS[parts]})
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "m")
