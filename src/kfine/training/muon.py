"""Muon: orthogonalised momentum for the filters of a convolutional network; Adam for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients and number of the quintic iterations (Jordan et al., Muon, 2024).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Makes updates as large as Adam's (Liu et al., Muon is Scalable for LLM Training, arXiv 2502.16982, equation 4).
_ADAM_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Descend along the orthogonal matrix nearest to the momentum; filters (output, input, row, column) as matrices.

    The entry "orthogonal" of a parameter group chooses between Muon and Adam.  Filters of one shape are orthogonalised
    together.

    Args:
        groups: parameter groups, each with "params", "lr" and "orthogonal".
        momentum: of the filters' gradients (Nesterov).
        decay: decoupled weight decay of the filters, times the rate.
        betas: Adam's.
        eps: Adam's.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        momentum: float = 0.95,
        decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        self.momentum, self.decay, self.betas, self.eps = momentum, decay, betas, eps
        super().__init__(groups, {"lr": 1e-3, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            (self._orthogonal if group["orthogonal"] else self._adam)(parameters, group["lr"])

    def _orthogonal(self, parameters: list[Tensor], rate: float) -> None:
        updates: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(gradient, 1 - self.momentum)
            nesterov = gradient.lerp(state["momentum"], self.momentum).flatten(1)
            updates.setdefault(nesterov.shape, []).append((parameter, nesterov))
        for shape, pairs in updates.items():
            turned = orthogonalised(torch.stack([update for _, update in pairs]))
            for (parameter, _), update in zip(pairs, turned, strict=True):
                parameter.mul_(1 - rate * self.decay)
                parameter.sub_(update.view(parameter.shape), alpha=rate * _ADAM_RMS * max(shape) ** 0.5)

    def _adam(self, parameters: list[Tensor], rate: float) -> None:
        first, second = self.betas
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter) for _ in range(2))
            state["step"] += 1
            state["exp_avg"].lerp_(gradient, 1 - first)
            state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
            count = float(state["step"])
            scale = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(self.eps)
            parameter.addcdiv_(state["exp_avg"], scale, value=-rate / (1 - first**count))


def orthogonalised(matrices: Tensor) -> Tensor:
    """Return an approximation of the (semi-)orthogonal matrix nearest to each of `matrices` (batch, row, column).

    A quintic iteration maps X to p(X X^T) X.  All steps are polynomials of the Gram matrix X X^T, so they are computed
    on this smaller matrix, and X is multiplied once.
    """
    a, b, c = _QUINTIC
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = identity.expand_as(gram)
    for _ in range(_ITERATIONS):
        step = a * identity + b * gram + c * (gram @ gram)
        product = step @ product
        gram = step @ gram @ step
    x = product @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT


def filters_of(network: nn.Module, *, without: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return the filters of the convolutions in `network`, except those in the modules `without`."""
    left_out = {id(p) for module in without for p in module.parameters()}
    return [p for p in network.parameters() if p.ndim == 4 and id(p) not in left_out]
