import pytest
import torch
from torch.nn import functional as F

from kfine.networks.blocks import PlaneStem, modulated, no_norm
from kfine.networks.space_time import EMBEDDING, SpaceTimeUNet, Time, TimeStep


def unet(*, levels=False, trained=True, **changes):
    """A small network whose last and time weights are not zero."""
    torch.manual_seed(0)
    net = SpaceTimeUNet(
        **{"inputs": 3, "outputs": 2, "widths": (8, 16), "blocks": 1, "levels": levels} | changes
    )
    for p in net.parameters() if trained else []:
        torch.nn.init.normal_(p, std=0.1)
    return net.eval()


def cine(frames, rows=9, columns=14, batch=1):
    return torch.randn(batch, 3, frames, rows, columns, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_time_step_is_a_convolution_along_time(frames, cyclic):
    """Values and gradients of conv1d over each pixel's frames."""
    torch.manual_seed(0)
    step, h = TimeStep(4), torch.randn(2 * frames, 4, 3, 5, requires_grad=True)
    torch.nn.init.normal_(step.weight)
    series = h.view(2, frames, 4, 15).permute(0, 3, 2, 1).reshape(-1, 4, frames)
    padded = F.pad(series, (1, 1), mode="circular" if cyclic else "replicate")
    along = series + F.conv1d(padded, step.weight.view(4, 3, 4).transpose(1, 2))
    expected = along.view(2, 15, 4, frames).permute(0, 3, 2, 1).reshape(h.shape)
    out, wanted = step(h, Time(frames, cyclic)), torch.randn_like(h)
    torch.testing.assert_close(out, expected)
    parts = [torch.autograd.grad((y * wanted).sum(), (h, step.weight)) for y in (out, expected)]
    torch.testing.assert_close(*parts, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 13), (2, 17, 4), (5, 8, 11)])
@pytest.mark.parametrize("cyclic", [False, True])
def test_any_number_of_frames_and_any_matrix(shape, cyclic):
    assert unet()(cine(*shape, batch=2), cyclic=cyclic).shape == (2, 2, *shape)


def test_shifting_a_cyclic_cine_round_shifts_the_output():
    net, x = unet(), cine(5)
    out = net(x, cyclic=True)
    torch.testing.assert_close(net(x.roll(2, 2), cyclic=True), out.roll(2, 2))
    assert not torch.allclose(net(x.roll(2, 2), cyclic=False), net(x, cyclic=False).roll(2, 2), atol=1e-3)


def test_a_frame_reaches_its_neighbours_in_time_and_only_a_circle_closes():
    """Two levels of one block: four steps along time, so that 4 of 11 frames on either side are reached."""
    net, x = unet(), cine(11)
    changed = x.clone()
    changed[:, :, 0] += 1
    for cyclic, reached in ((True, {0, 1, 2, 3, 4, 7, 8, 9, 10}), (False, {0, 1, 2, 3, 4})):
        moved = (net(changed, cyclic=cyclic) - net(x, cyclic=cyclic)).abs().amax((0, 1, 3, 4)) > 0
        assert set(moved.nonzero().flatten().tolist()) == reached


def test_beyond_the_ends_the_end_frames_are_repeated():
    """An open cine followed by its mirror image is a circle, with each end beside itself."""
    net, x = unet(), cine(4)
    mirrored = torch.cat([x, x.flip(2)], dim=2)
    # Weights symmetric in time commute with the reflection.
    for name, p in net.named_parameters():
        if "between" in name:
            before, own, after = p.data.chunk(3, dim=1)
            p.data = torch.cat([before + after, 2 * own, before + after], dim=1) / 2
    torch.testing.assert_close(net(mirrored, cyclic=True)[:, :, :4], net(x, cyclic=False))


def test_one_frame_is_its_own_neighbour():
    net, x = unet(), cine(1)
    assert torch.equal(net(x, cyclic=True), net(x, cyclic=False))


def test_a_fresh_network_gives_zero_and_its_features_know_no_time():
    fresh = unet(trained=False)
    assert not fresh(cine(3), cyclic=True).any()
    torch.nn.init.normal_(fresh.head[-1].weight)
    torch.nn.init.normal_(fresh.down[0][0].conv2.weight)
    x = cine(3)
    apart = torch.cat([fresh(x[:, :, [t]], cyclic=True) for t in range(3)], dim=2)
    torch.testing.assert_close(fresh(x, cyclic=True), apart)


def test_a_batch_gives_what_its_members_give():
    net, x, level = unet(levels=True), cine(3, batch=3), torch.tensor([-1.0, 0.1, 0.8])
    together = net(x, level, cyclic=True)
    for i in range(3):
        torch.testing.assert_close(net(x[i : i + 1], level[i : i + 1], cyclic=True), together[i : i + 1])
    assert not torch.allclose(net(x, level.flip(0), cyclic=True)[0], together[0])


def test_a_patch_gives_what_the_whole_gives_away_from_its_border():
    """The reach of one level is 12 pixels."""
    net, x = unet(widths=(8,)), cine(2, columns=40)
    whole = net(x, cyclic=True)
    torch.testing.assert_close(net(x[..., 2:38], cyclic=True)[..., 12:24], whole[..., 14:26])


@pytest.mark.parametrize("levels", [False, True])
def test_gradients_reach_every_parameter(levels):
    net, level = unet(levels=levels), torch.tensor([-0.5, 0.5]) if levels else None
    net(cine(3, batch=2), level, cyclic=False).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_level_where_none_is_taken_is_refused():
    with pytest.raises(ValueError, match="expected no noise level"):
        unet()(cine(1), torch.zeros(1), cyclic=False)
    with pytest.raises(ValueError, match="expected a noise level"):
        unet(levels=True)(cine(1), cyclic=False)


@pytest.mark.parametrize("shape", [(2, 2), (4, 8), (6, 2), (14, 10)])
def test_constant_inputs_are_convolved_as_channels(shape):
    """Values and gradients of the convolution of all channels; the constant ones are the second and third of four."""
    torch.manual_seed(0)
    stem = PlaneStem(4, 5, constant=range(1, 3))
    x, constants = torch.randn(2, 2, *shape), torch.randn(2, 2)
    planes = constants[..., None, None].expand(-1, -1, *shape)
    squares = F.pixel_unshuffle(torch.cat([x[:, :1], planes, x[:, 1:]], dim=1), 2)
    expected = F.conv2d(squares, stem.weight, stem.bias, padding=1)
    out = stem(x, constants)
    torch.testing.assert_close(out, expected)
    wanted = torch.randn_like(out)
    parts = [torch.autograd.grad((each * wanted).sum(), (stem.weight, stem.bias)) for each in (out, expected)]
    torch.testing.assert_close(*parts, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("norm", [{}, {"norm": no_norm}])
def test_operations_in_place_change_nothing(precision, norm):
    """The output without gradients is that with them, and the input is unchanged."""
    net, x, description = unet(described=True, **norm), cine(3), torch.randn(1, EMBEDDING)
    before, found = x.clone(), []
    for gradients in (True, False):
        with (
            torch.set_grad_enabled(gradients),
            torch.autocast("cpu", precision, enabled=precision != torch.float32),
        ):
            found.append(net(x, cyclic=True, description=description))
    assert torch.equal(*found)
    assert torch.equal(x, before)


def test_film_scales_and_shifts_channels():
    torch.manual_seed(0)
    h, scale, shift = torch.randn(2, 3, 4, 5), torch.randn(2, 3), torch.randn(2, 3)
    expected = h * (1 + scale[..., None, None]) + shift[..., None, None]
    torch.testing.assert_close(modulated(h, scale, shift), expected)


def test_gradients_in_bfloat16_are_those_of_float32():
    net, x, description = unet(described=True), cine(3), torch.randn(1, EMBEDDING)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = net(x, cyclic=True, description=description).float().square().mean()
        found.append(torch.autograd.grad(loss, list(net.parameters())))
    for exact, rounded in zip(*found, strict=True):
        assert (rounded - exact).norm() <= 0.05 * exact.norm() + 1e-6
