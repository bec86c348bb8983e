"""LPIPS with its official weights only; SqueezeNet distance of pictures in [0, 1]."""

import sys
import types

import numpy as np
import pytest
import torch

from kfine.errors import ModelError, ResourceError
from kfine.evaluation import metrics
from kfine.networks.perceptual import SqueezeNetFeatures

PICTURES = np.random.default_rng(0).uniform(0, 1, (5, 40, 36))


def test_features_are_compared_frame_by_frame(monkeypatch):
    torch.manual_seed(0)
    network = SqueezeNetFeatures()
    monkeypatch.setattr(SqueezeNetFeatures, "load", lambda path: network)
    distance = metrics.feature_distance("weights")
    other = np.clip(PICTURES + 0.1, 0, 1)
    found = distance(PICTURES, other)
    assert found.shape == (5,)
    assert (found > 0).all()
    np.testing.assert_allclose(distance(PICTURES[3:4], other[3:4]), found[3:4], rtol=1e-4)
    np.testing.assert_allclose(distance(PICTURES, PICTURES + 0.0), 0, atol=1e-6)
    # Beyond white nothing is seen.
    np.testing.assert_allclose(distance(PICTURES, np.where(other == 1, 3, other)), found)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ModelError, match="SqueezeNet"):
        metrics.feature_distance(tmp_path)


def test_lpips_without_its_backbone_is_not_available(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ResourceError, match=r"LPIPS: not available.*vgg16"):
        metrics.lpips_distance()


def test_lpips_without_its_package_is_not_available(tmp_path, monkeypatch):
    backbone(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ResourceError, match="perceptual"):
        metrics.lpips_distance()


def test_lpips_sees_grey_as_three_channels_from_minus_one_to_one(tmp_path, monkeypatch):
    backbone(tmp_path, monkeypatch)

    class Fake(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "vgg"

        def forward(self, a, b):
            assert a.shape[1] == 3
            assert a.min() >= -1
            return (a - b).square().mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Fake))
    zero, one = np.zeros((2, 4, 4)), np.ones((2, 4, 4))
    np.testing.assert_allclose(metrics.lpips_distance()(zero, one), [4, 4])


def backbone(folder, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "vgg16-397923af.pth").write_bytes(b"")
