"""The learned noise schedule of the variational diffusion model: gamma(t) = -log SNR(t), monotone in t."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
