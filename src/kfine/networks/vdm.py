"""Network of the variational diffusion model: predicts the noise in an image at any noise level.

One set of weights serves two models: of images, p(x), and of images conditioned on their scan, p(x | y), around the
estimate of the core network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kfine.networks.blocks import blind_to_brightness
from kfine.networks.core import CHANNELS, FACTS, Condition, CoreNet, Description
from kfine.networks.space_time import SpaceTimeUNet


class Gamma(nn.Module):
    """gamma(t) = gamma_0 + (gamma_1 - gamma_0) u(t), u monotone from u(0) = 0 to u(1) = 1.

    u is the normalised m(t) = l1(t) + l3(2 sigmoid(l2(2t - 1)) - 1) / hidden, with absolute values of its weights
    (Kingma et al., Variational Diffusion Models, 2021, appendices H and I).  The end points determine the bound, the
    shape between them only the variance of its estimate, so they are learned separately.

    Args:
        gamma_min: gamma(0) at the start of training: nearly noise-free images.
        gamma_max: gamma(1) at the start of training: nearly pure noise.
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
        # Sums, because autocast would compute matrix products in half precision.
        value = self.slope.abs() * t + ((2 * inner - 1) * outer).sum(1)
        slope = self.slope.abs() + (4 * inner * (1 - inner) * self.inner_weight.abs() * outer).sum(1)
        return value, slope


class VDM(nn.Module):
    """Predictor of the noise n in z = alpha x + s n, with alpha^2 = sigmoid(-gamma) and s^2 = sigmoid(gamma).

    With sigma = s / alpha, the mean c of the condition and the deviation r = z / alpha - c from it, the estimate of the
    image is

        x = c + d^2 / (d^2 + sigma^2) r + d sigma / (d^2 + sigma^2)^(1/2) F

    where F is the output of the U-Net (Karras et al. 2022, equation 7, for the difference of the image to c).  If d is
    the standard deviation of the residual of c, the first two terms are the best linear estimate: an untrained network
    returns it, F has unit variance at every noise level, and its error is never magnified.  Without a scan c = 0 and
    d = 1, and F is -v of Salimans and Ho (2022).

    c is the estimate of E[x | scan] by the core network (Whang et al., Deblurring via Stochastic Refinement, CVPR
    2022), and d is `detail` times the unit of detail of the scan.  Diffusion then learns only the unpredictable part,
    in a unit that is independent of contrast and scale.

    Args:
        core: arguments of the core network, which is frozen.
        widths: channels a level of the U-Net, which starts at half resolution.
        blocks: residual blocks a level, on the way down and again on the way up.
        gamma_min: lower end of the normalisation of gamma, and gamma(0) before training.
        gamma_max: upper end of the normalisation of gamma, and gamma(1) before training.
        fourier: exponents n of the features sin(2^n pi z) and cos(2^n pi z).
        detail: standard deviation of x - c, in units of detail of the scan.
    """

    def __init__(
        self,
        *,
        core: Mapping[str, Any],
        widths: Sequence[int] = (48, 96, 128),
        blocks: int = 2,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        fourier: Sequence[int] = (7, 8),
        detail: float = 0.8,
    ) -> None:
        super().__init__()
        self.gamma_min, self.gamma_max, self.fourier = gamma_min, gamma_max, tuple(fourier)
        self.detail = detail
        self.gamma = Gamma(gamma_min=gamma_min, gamma_max=gamma_max)
        images = 3 + 2 * len(self.fourier)
        self.unet = SpaceTimeUNet(
            inputs=images + CHANNELS,
            outputs=1,
            widths=widths,
            blocks=blocks,
            levels=True,
            described=True,
            time=False,
            constant=range(images, images + CHANNELS),
        )
        self.embedding = Description()
        stem = self.unet.stem
        blind_to_brightness(stem.weight[:, 4:8])
        with torch.no_grad():
            stem.weight[:, 4 * images :].normal_(std=0.1)
        self.core = CoreNet(**core).requires_grad_(False)

    @torch.no_grad()
    def condition(self, image: Tensor, unit: Tensor, facts: Tensor) -> Condition:
        """Return the condition from the input of the core network, see `CoreNet.forward`."""
        return Condition(self.core(image, unit, facts), image, unit, facts)

    def spread(self, condition: Condition) -> Tensor:
        """Return d (batch, 1, 1, 1), the standard deviation of the residual of the mean, in model units."""
        return self.detail * condition.unit[:, None, None, None]

    def forward(self, z: Tensor, gamma: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the predicted noise in `z`.

        Args:
            z: (batch, 1, row, column).
            gamma: (batch,).
            condition: condition of the scans; None for the unconditional model.

        Returns:
            (batch, 1, row, column).
        """
        if condition is None:
            d = torch.ones(len(z), 1, 1, 1, device=z.device)
            mean = difference = torch.zeros_like(z)
            facts = torch.zeros(len(z), FACTS, device=z.device)
        else:
            d, mean, facts = self.spread(condition), condition.mean[:, None], condition.facts
            difference = (condition.image[:, None] - mean) / d
        level = gamma[:, None, None, None]
        alpha, _ = signal_and_noise(level)
        sigma = torch.exp(level / 2)
        spread = (d.square() + sigma.square()).sqrt()
        deviation = (z / alpha - mean) / spread
        features = [deviation, mean, difference]
        for n in self.fourier:
            angle = (2.0**n * math.pi) * z
            features += [angle.sin(), angle.cos()]
        normalised = (gamma - self.gamma_min) / (self.gamma_max - self.gamma_min)
        inputs = torch.cat(features, dim=1)[:, :, None]
        description = self.embedding(facts)
        output = self.unet(
            inputs, normalised, cyclic=False, description=description, constants=facts[:, :CHANNELS]
        )[:, :, 0].float()
        # n = (z / alpha - x) / sigma with x from above, simplified without differences of nearly equal numbers.
        return (sigma * deviation - d * output) / spread


def signal_and_noise(gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Return (alpha, s) of z = alpha x + s n: square roots of sigmoid(-gamma) and sigmoid(gamma)."""
    return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()
