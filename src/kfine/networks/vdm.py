"""The variational diffusion model's network: the noise in an image, at any level of noise.

One set of weights can be two models: of images, p(x), and, where trained so, of images given their scan, p(x | y).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kfine.networks.unet import UNet


class Gamma(nn.Module):
    """gamma(t) = gamma_0 + (gamma_1 - gamma_0) u(t), u monotone from u(0) = 0 to u(1) = 1.

    u is the normalised m(t) = l1(t) + l3(2 sigmoid(l2(2t - 1)) - 1) / hidden, whose weights are used by absolute
    value (Kingma et al., Variational Diffusion Models, 2021, appendices H and I).  The end points decide the
    bound, the shape between them only the variance of its estimate: so they are learned apart.

    Args:
        gamma_min: gamma(0) at the start of training, where the image is nearly noise-free.
        gamma_max: gamma(1) at the start of training, where nearly only noise is left.
        hidden: width of the hidden layer.
    """

    def __init__(self, *, gamma_min: float = -13.3, gamma_max: float = 5.0, hidden: int = 1024) -> None:
        super().__init__()
        self.gamma_0 = nn.Parameter(torch.tensor(gamma_min))
        self.gamma_1 = nn.Parameter(torch.tensor(gamma_max))
        self.slope = nn.Parameter(torch.tensor(1.0))
        self.inner_weight = nn.Parameter(torch.randn(hidden))
        self.inner_bias = nn.Parameter(torch.randn(hidden))
        self.outer_weight = nn.Parameter(torch.randn(hidden) / hidden**0.5)

    def forward(self, t: Tensor) -> Tensor:
        """Return gamma (batch,) at times `t` (batch,) in [0, 1]."""
        return self.gamma_0 + self.span * self.shape(t)[0]

    @property
    def span(self) -> Tensor:
        """gamma_1 - gamma_0."""
        return self.gamma_1 - self.gamma_0

    def shape(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return u(t) and its derivative du/dt in closed form, each (batch,)."""
        ends, _ = self._monotone(torch.tensor([0.0, 1.0], device=t.device))
        value, slope = self._monotone(t)
        return (value - ends[0]) / (ends[1] - ends[0]), slope / (ends[1] - ends[0])

    def _monotone(self, t: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.sigmoid((2 * t[:, None] - 1) * self.inner_weight.abs() + self.inner_bias)
        outer = self.outer_weight.abs() / len(self.outer_weight)
        value = self.slope.abs() * t + (2 * inner - 1) @ outer
        slope = self.slope.abs() + (4 * inner * (1 - inner) * self.inner_weight.abs()) @ outer
        return value, slope


class VDM(nn.Module):
    """Predict the noise n in z = alpha x + s n, with alpha^2 = sigmoid(-gamma) and s^2 = sigmoid(gamma).

    With sigma = s / alpha, the condition c and the deviation r = z / alpha - c from it, the image is estimated as

        x = c + d^2 / (d^2 + sigma^2) r + d sigma / (d^2 + sigma^2)^(1/2) F

    where F is the U-Net's output (Karras et al. 2022, equation 7, for the image's difference to c).  The first
    two terms are the best linear estimate when d is the standard deviation of what c lacks: an untrained network
    gives it back, F has unit variance at every noise level, and its error is never magnified.  Without a scan
    c = 0 and d = 1, and F is -v of Salimans and Ho (2022).

    c is what a second U-Net, the predictor, makes of the zero-filled scan: its estimate of E[x | scan], learned
    by least squares (Whang et al., Deblurring via Stochastic Refinement, CVPR 2022).  What diffusion has to
    learn is then only what cannot be known.

    Args:
        widths: channels a level of the U-Net.
        predictor: channels a level of the predictor; none: c is the zero-filled scan itself.
        blocks: residual blocks a level, of both U-Nets.
        gamma_min: least gamma the network is normalised to, and gamma(0) before training.
        gamma_max: greatest gamma the network is normalised to, and gamma(1) before training.
        fourier: exponents n of the features sin(2^n pi z) and cos(2^n pi z).
        detail: d where a scan is given: standard deviation of x - c in model units.
        dropout: probability inside the residual blocks, while training.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 192),
        predictor: Sequence[int] = (),
        blocks: int = 2,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        fourier: Sequence[int] = (7, 8),
        detail: float = 0.06,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.gamma_min, self.gamma_max, self.fourier = gamma_min, gamma_max, tuple(fourier)
        self.detail = detail
        self.gamma = Gamma(gamma_min=gamma_min, gamma_max=gamma_max)
        channels = 2 + 2 * len(self.fourier)
        self.unet = UNet(in_channels=channels, out_channels=1, widths=widths, blocks=blocks, dropout=dropout)
        self.predictor = (
            UNet(in_channels=1, out_channels=1, widths=predictor, blocks=blocks, dropout=dropout)
            if predictor
            else None
        )

    def condition(self, scan: Tensor) -> Tensor:
        """Return the condition c of zero-filled images `scan`, both (batch, 1, row, column) in model units."""
        if self.predictor is None:
            return scan
        clean = torch.zeros(
            len(scan), device=scan.device
        )  # the U-Net's level: there is no noise to tell it of
        return scan + self.detail * self.predictor(scan, clean).float()

    def forward(self, z: Tensor, gamma: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the predicted noise in `z`.

        Args:
            z: (batch, 1, row, column).
            gamma: (batch,).
            condition: what `condition` made of the scan, of the shape of `z`; None, or 0 all over an image, for
                the unconditional model.

        Returns:
            (batch, 1, row, column).
        """
        condition = torch.zeros_like(z) if condition is None else condition
        given = condition.flatten(1).any(1)[:, None, None, None]
        d = torch.where(given, self.detail, 1.0)
        level = gamma[:, None, None, None]
        alpha, _ = signal_and_noise(level)
        sigma = torch.exp(level / 2)
        spread = (d.square() + sigma.square()).sqrt()
        deviation = (z / alpha - condition) / spread
        features = [deviation, condition]
        for n in self.fourier:
            angle = (2.0**n * math.pi) * z
            features += [angle.sin(), angle.cos()]
        normalised = (gamma - self.gamma_min) / (self.gamma_max - self.gamma_min)
        output = self.unet(torch.cat(features, dim=1), normalised).float()
        # n = (z / alpha - x) / sigma with x from above, simplified so that no difference of near equals is left.
        return (sigma * deviation - d * output) / spread


def signal_and_noise(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Return (alpha, s) of z = alpha x + s n: square roots of sigmoid(-gamma) and sigmoid(gamma)."""
    return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
