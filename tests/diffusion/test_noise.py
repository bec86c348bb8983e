import pytest
import torch

from kfine.diffusion.samplers import SeededNoise, spread


def test_noise_belongs_to_its_image_and_not_to_the_batch():
    seeds = [(0, 1, 2), (0, 2, 1), (5, 1, 2)]
    together = SeededNoise(seeds)
    first, second = together(torch.zeros(3, 4, 4)), together(torch.zeros(3, 4, 4))
    for i, seed in enumerate(seeds):
        alone = SeededNoise([seed])
        assert torch.equal(alone(torch.zeros(1, 4, 4))[0], first[i])
        assert torch.equal(alone(torch.zeros(1, 4, 4))[0], second[i])
    assert len({float(x) for x in first[:, 0, 0]}) == 3
    assert not torch.equal(first, second)


def test_complex_noise_has_unit_noise_in_each_part():
    n = SeededNoise([(0,)])(torch.zeros(1, 100, 100, dtype=torch.complex64))
    assert n.real.std().item() == pytest.approx(1, rel=0.03)
    assert n.imag.std().item() == pytest.approx(1, rel=0.03)


def test_pairs_are_opposite_and_pairs_differ():
    seeds = [(7, sample) for sample in range(5)]
    noise = SeededNoise(seeds, pairs=True)
    for _ in range(2):
        a, b, c, d, lone = noise(torch.zeros(5, 8, 8))
        assert torch.equal(a, -b)
        assert torch.equal(c, -d)
        assert len({float(x[0, 0].abs()) for x in (a, c, lone)}) == 3
    even, odd = (SeededNoise([(7, sample)], pairs=True)(torch.zeros(1, 8, 8)) for sample in (2, 3))
    assert torch.equal(even, -odd)


@pytest.mark.parametrize("count", [4, 5, 8])
@pytest.mark.parametrize("curvature", [0.0, 0.5, 3.0])
def test_spread_is_that_of_one_sample(count, curvature):
    """For samples n + c n^2, whose variance is 1 + 2 c^2, of pairs n and -n; curvature makes pairs differ."""
    generator = torch.Generator().manual_seed(0)
    n = torch.randn(200_000, (count + 1) // 2, 1, generator=generator, dtype=torch.float64)
    n = torch.cat([n, -n], dim=2).flatten(1)[:, :count]
    variance = spread(n + curvature * n.square()).square().mean().item()
    assert variance == pytest.approx(1 + 2 * curvature**2, rel=0.03)


def test_spread_of_one_pair_is_half_its_difference():
    samples = torch.tensor([[[3.0, 1.0], [1.0, 1.0]]])
    torch.testing.assert_close(spread(samples), torch.tensor([[1.0, 0.0]]))
    assert spread(1j * samples).tolist() == [[1.0, 0.0]]
