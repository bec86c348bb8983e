"""Loss of the decoder: latents drawn as by the method, of the frames chosen, and projected onto the scan."""

import pytest
import torch

from kfine.methods.ldm import LDMOptions
from kfine.networks.discriminator import PatchDiscriminator
from kfine.networks.ldm import CineLDM
from kfine.training.data.patches import Item
from kfine.training.ldm_config import DecoderAdversaryConfig
from kfine.training.losses.decoder import DecoderObjective
from kfine.training.losses.ldm import FLOOR, conditioning, projected_on_scan

PARTS = {"widths": [8, 16], "blocks": 1}
VQGAN = {"factor": 2, "channels": 2, "widths": [8], "blocks": 1, "codes": 16, "sees": True}
CLIPS, FRAMES, SIDE = 2, 4, 24


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = CineLDM(regressor=PARTS, autoencoder=VQGAN, denoiser=PARTS).eval()
    with torch.no_grad():
        for weight in made.parameters():  # fresh networks add nothing
            weight.add_(0.1 * torch.randn_like(weight))
    made.requires_grad_(False)
    for part in (made.autoencoder.from_latent, made.autoencoder.look, made.autoencoder.decoder):
        part.requires_grad_(True)
    return made


@pytest.fixture
def item():
    torch.manual_seed(1)
    x = torch.rand(CLIPS, FRAMES, SIDE, SIDE) * 2 - 1
    guide = torch.rand(CLIPS, 5, FRAMES, SIDE, SIDE)
    kept = torch.tensor([[True, False, True, False], [True, True, True, True]])
    return Item(x, guide, kept, torch.tensor([[0.5, 0.5], [0.6, 0.4]]), torch.tensor([True, True]), False)


@pytest.fixture
def discriminator():
    torch.manual_seed(2)
    return PatchDiscriminator(widths=(8, 8), sees=True).requires_grad_(False).eval()


def objective(network, **weights):
    options = {"widths": (8, 8), "weight": 0.0, "energy": 1.0} | weights
    return DecoderObjective(
        network, None, DecoderAdversaryConfig.model_validate(options), LDMOptions(steps=3, start=5.0)
    )


CHOSEN = torch.tensor([[1, 2], [4, 5]])  # of the second clip the first frames


def test_what_is_judged_was_drawn_as_samples_are(network, item, discriminator):
    noise = torch.randn(1, CLIPS, 2, FRAMES, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(3))
    result = objective(network)(item, noise, CHOSEN, discriminator)
    with torch.no_grad():
        seen = conditioning(network, item)
        condition = network.condition(seen, item.guide)
        # DPM-Solver++ 2M is exact for a denoiser that does not change; here its three evaluations by hand.
        s = LDMOptions(steps=3, start=5.0).sigmas()
        z = network.encode(seen, seen) + s[0] * noise[0]
        a = network.denoise(z, s[0], condition, cyclic=False)
        z = s[1] / s[0] * z + (1 - s[1] / s[0]) * a
        b = network.denoise(z, s[1], condition, cyclic=False)
        ratio = torch.log(s[1] / s[2]) / (2 * torch.log(s[0] / s[1]))
        z = s[2] / s[1] * z + (1 - s[2] / s[1]) * (b + ratio * (b - a))
        z = network.denoise(z, s[2], condition, cyclic=False)
        drawn = projected_on_scan(network.decode(z, seen), item).flatten(0, 1)[CHOSEN.flatten()]
        true = projected_on_scan(item.x, item).flatten(0, 1)[CHOSEN.flatten()]
    torch.testing.assert_close(result.decoded[:, 0], drawn, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.x[:, 0], true)
    torch.testing.assert_close(result.seen[:, 0], seen.flatten(0, 1)[CHOSEN.flatten()])
    assert "mean" not in result.figures


def test_mean_is_the_product_of_the_errors_of_two_drawn_images(network, item, discriminator):
    noise = torch.randn(2, CLIPS, 2, FRAMES, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(3))
    one, other = (objective(network)(item, n[None], CHOSEN, discriminator) for n in noise)
    errors = (one.decoded - one.x) * (other.decoded - one.x)
    lacking = (one.seen - one.x).square()
    by_hand = (errors.mean((1, 2, 3)) / (lacking.mean((1, 2, 3)) + FLOOR)).mean()
    both = objective(network, mean=1.0)(item, noise, CHOSEN, discriminator)
    torch.testing.assert_close(both.figures["mean"], by_hand)
    assert by_hand.abs() > 1e-3


@pytest.mark.parametrize("part", ["energy", "weight", "mean"])
def test_energy_judge_and_mean_each_teach_the_decoder_alone(network, item, discriminator, part):
    noise = torch.randn(2, CLIPS, 2, FRAMES, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(3))
    gradients = []
    for value in (0.0, 2.0):
        network.zero_grad()
        weights = {"energy": 0.0, "weight": 0.0} | {part: value}
        objective(network, **weights)(item, noise, CHOSEN, discriminator).loss.backward()
        gradients.append(network.autoencoder.decoder.last.weight.grad.clone())
    assert not torch.allclose(gradients[0], gradients[1], rtol=1e-3)
    learned = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert learned
    assert all(
        name.startswith(("autoencoder.from_latent", "autoencoder.look", "autoencoder.decoder"))
        for name in learned
    )


def test_what_a_piece_projection_takes_gives_no_drawn_image_away(network, item, discriminator):
    """Low frequencies of the truth and of the drawn image less what was seen: nothing in either."""
    noise = torch.randn(1, CLIPS, 2, FRAMES, SIDE // 2, SIDE // 2)
    chosen = torch.tensor([[4, 5, 6, 7]])
    result = objective(network)(item, noise, chosen, discriminator)
    clip = Item(item.x[1:], item.guide[1:], item.kept[1:], item.parts[1:], item.exact[1:], False)
    again = [projected_on_scan(image[:, 0][None], clip)[0] for image in (result.x, result.decoded)]
    torch.testing.assert_close(again[0], result.x[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(again[1], result.decoded[:, 0], atol=1e-5, rtol=0)
