import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

from kfine.errors import InputError, ModelError
from kfine.networks.perceptual import SMALLEST, SqueezeNetFeatures

# Channels of SqueezeNet 1.1's convolutions 1-24 by fire module: (input, squeezed, expanded).
FIRES = [(64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128)]
FIRES += [(256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256)]


def numbered_arrays():
    rng, shapes = np.random.default_rng(0), [(64, 3, 3, 3)]
    for i, s, e in FIRES:
        shapes += [(s, i, 1, 1), (e, s, 1, 1), (e, s, 3, 3)]
    arrays = {}
    for n, shape in enumerate([*shapes, (1000, 512, 1, 1)]):
        scale = (2 / np.prod(shape[1:])) ** 0.5
        arrays[f"net_conv{n}_weight"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        arrays[f"net_conv{n}_bias"] = (0.1 * rng.standard_normal(shape[0])).astype(np.float32)
    return arrays


ARRAYS = numbered_arrays()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squeezenet")
    for name, array in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture(scope="module")
def features(folder):
    return SqueezeNetFeatures.load(folder)


def convolve(h, n, **options):
    weight, bias = (torch.from_numpy(ARRAYS[f"net_conv{n}_{part}"]) for part in ("weight", "bias"))
    return F.relu(F.conv2d(h, weight, bias, **options))


def direct_distance(a, b):
    """The definition, one image after the other, from the numbered arrays."""
    described = []
    for x in (a, b):
        rgb = ((x + 1) / 2).repeat(1, 3, 1, 1)
        h = (rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        h = convolve(h, 0, stride=2)
        layers = [h]
        for fire in range(8):
            if fire in {0, 2, 4}:
                h = F.max_pool2d(h, 3, stride=2, ceil_mode=True)
            squeezed = convolve(h, 3 * fire + 1)
            h = torch.cat([convolve(squeezed, 3 * fire + 2), convolve(squeezed, 3 * fire + 3, padding=1)], 1)
            if fire not in {0, 2}:
                layers.append(h)
        described.append([layer / layer.norm(dim=1, keepdim=True).clamp_min(1e-10) for layer in layers])
    pairs = zip(*described, strict=True)
    return torch.stack([(p - q).square().sum(1).mean((1, 2)) for p, q in pairs]).mean(0)


def test_the_distance_is_its_definition(features):
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 1, 40, 51) * 2 - 1
    torch.testing.assert_close(features.distance(a, b), direct_distance(a, b), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(features.distance(a, b)[1:2], features.distance(a[1:2], b[1:2]))


def test_equal_images_are_at_distance_zero_and_order_does_not_matter(features):
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 1, SMALLEST, 33) * 2 - 1
    assert features.distance(a, a).tolist() == [0.0]
    assert features.distance(a, b) > 0
    torch.testing.assert_close(features.distance(a, b), features.distance(b, a))


def test_gradients_reach_the_images_and_not_the_weights(features):
    torch.manual_seed(0)
    a, b = (torch.rand(2, 1, 32, 32) * 2 - 1 for _ in range(2))
    a.requires_grad_(True)
    features.distance(a, b).sum().backward()
    assert a.grad.abs().sum() > 0
    assert all(p.grad is None for p in features.parameters())


def test_gradients_are_finite_where_nothing_differs(features):
    air = torch.full((1, 1, 32, 32), -1.0, requires_grad=True)
    features.distance(air, torch.full((1, 1, 32, 32), -1.0)).sum().backward()
    assert air.grad.isfinite().all()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_one_file_and_torchvisions_names_serve_too(features, tmp_path, suffix):
    tensors = {name: p.numpy() for name, p in features.state_dict().items()}
    tensors |= {f"classifier.1.{part}": ARRAYS[f"net_conv25_{part}"] for part in ("weight", "bias")}
    file = tmp_path / f"squeezenet{suffix}"
    if suffix == ".npz":
        np.savez(file, **tensors)
    else:
        save_file(tensors, file)
    for name, p in SqueezeNetFeatures.load(file).state_dict().items():
        assert torch.equal(p, features.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net_conv3_weight": None}, "got 51, features.3.expand3x3.weight missing"),
        ({"net_conv3_weight": np.zeros((64, 16, 1, 1), np.float32)}, "of another shape"),
        ({"stray": np.zeros(1, np.float32)}, "got 53"),
        ({"net_conv26_bias": np.zeros(1, np.float32)}, "got 53"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, message):
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(ModelError, match=message):
        SqueezeNetFeatures.load(tmp_path / "w.npz")


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    for path, message in ((tmp_path / "w.safetensors", "cannot be read"), (tmp_path / "none", "found none")):
        with pytest.raises(ModelError, match=message) as caught:
            SqueezeNetFeatures.load(path)
        assert "\n" not in str(caught.value)


def test_images_that_do_not_fit_are_refused(features):
    with pytest.raises(InputError, match="at least 17x17"):
        features.distance(*torch.zeros(2, 1, 1, SMALLEST - 1, 40))
    with pytest.raises(InputError, match="of one shape"):
        features.distance(torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 33))
