import pytest
import torch

from kfine.networks.vqgan import DECAY, VectorQuantiser, codebook_use


@pytest.fixture
def quantiser():
    """Five codes in three dimensions, all in use."""
    torch.manual_seed(0)
    quantiser = VectorQuantiser(size=5, channels=3)
    quantiser.share.fill_(0.2)
    return quantiser


def vectors(seed=1, batch=2):
    return torch.randn(batch, 3, 4, 6, generator=torch.Generator().manual_seed(seed))


def test_each_vector_is_put_on_its_nearest_code(quantiser):
    z = vectors()
    out = quantiser.eval()(z)
    for b, r, c in [(0, 0, 0), (1, 3, 5), (1, 2, 1)]:
        distances = [float((z[b, :, r, c] - code).square().sum()) for code in quantiser.codebook]
        nearest = distances.index(min(distances))
        assert out.codes[b, r, c] == nearest
        torch.testing.assert_close(out.z[b, :, r, c], quantiser.codebook[nearest])


def test_many_vectors_are_compared_in_parts(quantiser, monkeypatch):
    flat = torch.randn(50, 3)
    whole = quantiser.nearest(flat)
    monkeypatch.setattr("kfine.networks.vqgan.ROWS", 7)
    assert torch.equal(quantiser.nearest(flat), whole)


def test_the_gradient_passes_straight_and_the_commitment_is_on_the_encoder(quantiser):
    z = vectors().requires_grad_(True)
    out = quantiser.eval()(z)
    wanted = torch.randn_like(z)
    (straight,) = torch.autograd.grad((out.z * wanted).sum(), z)
    assert torch.equal(straight, wanted)
    chosen = quantiser.codebook[out.codes].movedim(-1, 1)
    torch.testing.assert_close(out.commitment, 0.25 * (z - chosen).square().mean())
    (committed,) = torch.autograd.grad(out.commitment, z)
    torch.testing.assert_close(committed, 0.25 * 2 * (z - chosen).detach() / z.numel())


def test_codes_follow_the_running_means_of_appendix_a1(quantiser):
    """Separate counts and sums, as in the paper, over several batches."""
    codebook = quantiser.codebook.clone()
    counts = quantiser.share * 48  # 2 x 4 x 6 vectors a batch
    sums = counts[:, None] * codebook
    for seed in range(6):
        z = vectors(seed)
        flat = z.movedim(1, -1).reshape(-1, 3)
        codes = torch.cdist(flat, codebook).argmin(1)
        for k in range(5):
            mine = flat[codes == k]
            counts[k] = DECAY * counts[k] + (1 - DECAY) * len(mine)
            sums[k] = DECAY * sums[k] + (1 - DECAY) * mine.sum(0)
        codebook = sums / counts[:, None]
        quantiser.train()(z)
    torch.testing.assert_close(quantiser.codebook, codebook, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(quantiser.share, counts / 48, atol=1e-6, rtol=1e-5)


def test_nothing_moves_in_evaluation(quantiser):
    before = {name: buffer.clone() for name, buffer in quantiser.state_dict().items()}
    assert set(before) == {"codebook", "share"}
    quantiser.eval()(vectors())
    assert all(torch.equal(buffer, before[name]) for name, buffer in quantiser.state_dict().items())


def test_the_first_batch_fills_the_codebook():
    quantiser, z = VectorQuantiser(size=40, channels=3), vectors()
    out = quantiser(z)
    flat = z.movedim(1, -1).reshape(-1, 3)
    assert len(set(out.codes.flatten().tolist())) == 40  # each code sits on a vector of its own
    assert (out.z.movedim(1, -1).reshape(-1, 1, 3) - flat).abs().sum(-1).min(1).values.max() < 1e-5
    assert quantiser.share.sum() == pytest.approx(1.0)


def test_more_codes_than_vectors_are_filled_with_repetition():
    quantiser = VectorQuantiser(size=100, channels=3)
    quantiser(vectors(batch=1))
    assert quantiser.codebook.isfinite().all()
    assert (quantiser.share > 0).all()


def test_a_code_out_of_reach_is_revived_and_then_used(quantiser):
    quantiser.codebook[2] = 1e3
    for seed in range(1000):
        out = quantiser(vectors(seed))
        if (out.codes == 2).any():
            break
    assert quantiser.codebook[2].abs().max() < 10
    assert seed == 349  # 0.99^350 = 0.03
    assert (quantiser.codebook[[0, 1, 3, 4]].abs() < 10).all()


def test_reviving_depends_on_the_seed_alone():
    def codebook(seed, **drawn):
        torch.manual_seed(seed)
        quantiser = VectorQuantiser(size=9, channels=3)
        quantiser(vectors(), **drawn)
        return quantiser.codebook

    assert torch.equal(codebook(0), codebook(0))
    assert not torch.equal(codebook(0), codebook(1))
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    drawn = [codebook(seed, generator=generator) for seed, generator in enumerate(generators)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_use_of_the_codebook():
    even = codebook_use(torch.arange(8).repeat(3), size=8)
    assert (even.used, even.perplexity) == (1.0, pytest.approx(8.0))
    uneven = codebook_use(torch.tensor([0, 0, 0, 1]), size=4)
    assert uneven.used == 0.5
    assert uneven.perplexity == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
