"""The variational diffusion model's network: the noise in an image, at any level of noise.

One set of weights can be two models: of images, p(x), and, where trained so, of images given their scan, p(x | y).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kfine.networks.gamma import Gamma
from kfine.networks.unet import UNet


class VDM(nn.Module):
    """Predict the noise n in z = alpha x + s n, with alpha^2 = sigmoid(-gamma) and s^2 = sigmoid(gamma).

    The U-Net sees z, its Fourier features, the condition and the normalised gamma, and gives
    v = alpha n - s x, from which n = s z + alpha v (Salimans and Ho 2022): predicting n itself would magnify
    its error by 1 / alpha in the image at high noise.  What the condition says of v, -s times itself, is added
    to the U-Net's output: an untrained network gives back the scan, and only what the scan lacks is learned.

    Args:
        widths: channels a level of the U-Net.
        blocks: residual blocks a level.
        gamma_min: least gamma the network is normalised to, and gamma(0) before training.
        gamma_max: greatest gamma the network is normalised to, and gamma(1) before training.
        fourier: exponents n of the features sin(2^n pi z) and cos(2^n pi z).
        dropout: probability inside the residual blocks, while training.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 192),
        blocks: int = 2,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        fourier: Sequence[int] = (7, 8),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.gamma_min, self.gamma_max, self.fourier = gamma_min, gamma_max, tuple(fourier)
        self.gamma = Gamma(gamma_min=gamma_min, gamma_max=gamma_max)
        channels = 2 + 2 * len(self.fourier)
        self.unet = UNet(in_channels=channels, out_channels=1, widths=widths, blocks=blocks, dropout=dropout)

    def forward(self, z: Tensor, gamma: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the predicted noise in `z`.

        Args:
            z: (batch, 1, row, column).
            gamma: (batch,).
            condition: the zero-filled image of the scan, of the shape of `z` in model units; None, or 0 all over
                an image, for the unconditional model.

        Returns:
            (batch, 1, row, column).
        """
        condition = torch.zeros_like(z) if condition is None else condition
        features = [z, condition]
        for n in self.fourier:
            angle = (2.0**n * math.pi) * z
            features += [angle.sin(), angle.cos()]
        level = (gamma - self.gamma_min) / (self.gamma_max - self.gamma_min)
        alpha, s = signal_and_noise(gamma[:, None, None, None])
        v = self.unet(torch.cat(features, dim=1), level).float() - s * condition
        return s * z + alpha * v


def signal_and_noise(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Return (alpha, s) of z = alpha x + s n: square roots of sigmoid(-gamma) and sigmoid(gamma)."""
    return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
