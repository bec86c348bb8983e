"""Perceptual distances: SqueezeNet features, and LPIPS with its official weights.

Neither set of weights is packaged or downloaded; without its weights a distance is "not available".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kfine.errors import ResourceError
from kfine.networks.perceptual import SqueezeNetFeatures

# From two stacks of pictures (frame, row, column) in [0, 1] to one distance per frame.
Distance = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]

# torchvision's file names of the backbones to which the linear weights of LPIPS were fitted.
_BACKBONES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
_AT_ONCE = 4


def feature_distance(weights: str | Path) -> Distance:
    """Return the SqueezeNet feature distance with the ImageNet weights in `weights` (not LPIPS).

    Raises:
        ModelError: `weights` contains no such weights.
    """
    network = SqueezeNetFeatures.load(weights).eval()
    return lambda a, b: _batched(network.distance, a, b)


def lpips_distance(backbone: str = "vgg") -> Distance:
    """Return LPIPS (Zhang et al., CVPR 2018, version 0.1) with its official weights.

    Raises:
        ResourceError: the package `lpips` (extra "perceptual") cannot be loaded, or the backbone's ImageNet
            weights are not in torch's cache.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONES[backbone]
    if not file.is_file():
        raise ResourceError(
            f"LPIPS: not available, expected its official backbone {file.name} in torch's cache ({file.parent})"
        )
    try:
        import lpips
    except (ImportError, RuntimeError) as error:  # torchvision breaks beside some builds of torch
        reason = (str(error).splitlines() or ["cannot be loaded"])[0]
        raise ResourceError(
            f"LPIPS: not available ({reason}); pip install 'kfine[perceptual]' with a torchvision that fits torch"
        ) from None
    network = lpips.LPIPS(net=backbone, verbose=False).eval()

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return network(*(x.expand(-1, 3, -1, -1) for x in (a, b))).flatten()

    return lambda a, b: _batched(distance, a, b)


def _batched(
    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], a: NDArray[Any], b: NDArray[Any]
) -> NDArray[np.float64]:
    """Return one distance per frame; both stacks are clipped to [0, 1] and mapped to [-1, 1]."""
    stacks = [torch.from_numpy(2 * np.clip(x, 0, 1).astype(np.float32) - 1)[:, None] for x in (a, b)]
    with torch.inference_mode():
        parts = [distance(*pair) for pair in zip(*(x.split(_AT_ONCE) for x in stacks), strict=True)]
    return torch.cat(parts).double().numpy()
