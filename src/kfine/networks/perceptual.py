"""SqueezeNet feature distance between grey images.

The form is that of LPIPS (Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018, equation 1) without
its learned channel weights.  The values are not LPIPS values and must not be called so.  No weights are packaged: users
supply those of SqueezeNet 1.1 trained on ImageNet (Iandola et al. 2016).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfine.errors import InputError, ModelError
from kfine.networks.blocks import Stem

SMALLEST = 17  # pixels a side that the third pooling needs

# (input, squeezed, expanded) channels of the fire modules by their index in torchvision's `features`; the other
# indices are a convolution and its ReLU (0, 1) and poolings (2, 5, 8).
_FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}
# The compared features, those of LPIPS: after the first ReLU and before each change of size or width.
_COMPARED = (1, 4, 7, 9, 10, 11, 12)
_CLASSIFIER = {"classifier.1.weight": (1000, 512, 1, 1), "classifier.1.bias": (1000,)}
# Mean and standard deviation of red, green and blue in ImageNet, for images in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SqueezeNetFeatures(nn.Module):
    """The convolutional part of SqueezeNet 1.1, frozen, and the distance between two images' features."""

    def __init__(self) -> None:
        super().__init__()
        layers = [_layer(place) for place in range(max(_FIRES) + 1)]
        self.features = nn.ModuleList(layers)
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the features with ImageNet weights.

        Args:
            path: a folder of 52 `.npy` files, or one `.npz` or `.safetensors` file.  Arrays have the names of
                torchvision's squeezenet1_1, or are numbered `conv0_weight`, `conv0_bias`, ..., `conv25_bias` in its
                order, after any prefix.

        Raises:
            ModelError: a missing or unreadable file, or other arrays than these 52 with these shapes.
        """
        path, network = Path(path), cls()
        shapes = {name: tuple(p.shape) for name, p in network.state_dict().items()} | _CLASSIFIER
        arrays = _named(_read(path), list(shapes))
        wrong = [
            name for name, shape in shapes.items() if tuple(arrays.get(name, np.empty(0)).shape) != shape
        ]
        if wrong or len(arrays) != len(shapes):
            raise ModelError(
                f"{path.name}: expected the {len(shapes)} arrays of SqueezeNet 1.1, got {len(arrays)}"
                + (f", {wrong[0]} missing or of another shape" if wrong else "")
                + "; give the folder of torchvision's squeezenet1_1 weights"
            )
        # The classifier identifies the whole network; the distance does not use it.
        features = {
            name: torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in network.state_dict()
        }
        network.load_state_dict(features, strict=True)
        return network

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the compared features of grey images `x` (batch, 1, row, column) in [-1, 1].

        Seven tensors (batch, channel, row, column), each channel vector of unit length.
        """
        if x.ndim != 4 or x.shape[1] != 1 or min(x.shape[-2:]) < SMALLEST:
            raise InputError(
                f"feature distance: expected images (batch, 1, row, column) of at least {SMALLEST}x{SMALLEST}, "
                f"got {tuple(x.shape)}"
            )
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        h, compared = ((x + 1) / 2 - mean) / std, []
        for place, layer in enumerate(self.features):
            h = layer(h)
            if place in _COMPARED:
                compared.append(F.normalize(h, dim=1, eps=1e-10))
        return compared

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the SqueezeNet feature distance of images `a` and `b`, differentiable in both.

        At each of seven layers the squared Euclidean distance between unit feature vectors, averaged over
        positions; then the mean over layers.  0 for equal images, at most 2.

        Args:
            a: (batch, 1, row, column), -1 black and 1 white.
            b: of the shape of `a`.

        Returns:
            (batch,).
        """
        if a.shape != b.shape:
            raise InputError(
                f"feature distance: expected two batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        features = self(torch.cat([a, b]))
        layers = [(f[: len(a)] - f[len(a) :]).square().sum(1).mean((1, 2)) for f in features]
        return torch.stack(layers).mean(0)


class _Fire(nn.Module):
    """Fire module: 1x1 squeeze, then parallel 1x1 and 3x3 expansions (Iandola et al. 2016, section 3.2)."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(h), self.expand3x3(h)], dim=1))


def _layer(place: int) -> nn.Module:
    if place in _FIRES:
        return _Fire(*_FIRES[place])
    if place == 0:
        return Stem(3, 64, 3, stride=2)
    return nn.ReLU() if place == 1 else nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in `path` by their names."""
    try:
        if path.is_dir():
            return {file.stem: np.load(file, allow_pickle=False) for file in path.glob("*.npy")}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
    except Exception as error:  # three formats with different errors
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise ModelError(
            f"{path.name}: expected SqueezeNet weights, they cannot be read ({reason})"
        ) from None
    raise ModelError(f"{path}: expected a folder of .npy files, a .npz or a .safetensors file, found none")


def _named(arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    """Return `arrays` with the `names` of torchvision, which are in its order: weight, bias, weight, bias, ..."""
    named = {}
    for name, array in arrays.items():
        numbered = re.search(r"conv(\d+)_(weight|bias)$", name)
        place = 2 * int(numbered[1]) + (numbered[2] == "bias") if numbered else len(names)
        named[names[place] if place < len(names) else name] = array
    return named
