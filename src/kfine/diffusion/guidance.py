"""Guidance of sampling by a measurement y = A x + n.

`measured_state` is the rule of the abstract and changes the state; the others wrap a denoiser and return one.
"""

from __future__ import annotations

from torch import Tensor

from kfine.diffusion.samplers import Correction, Denoiser, Noise
from kfine.operators.base import Operator


def measured_state(operator: Operator, y: Tensor, *, weight: float, noise: Noise) -> Correction:
    """Return a correction that mixes the noised measurement into the state (Jiang, Gao and Sun, ISMRM 2023, 0163).

    Inside the measured block k becomes weight (y + sigma A n) + (1 - weight) k; outside it is unchanged.

    Args:
        operator: A, from images (..., *domain) to the measurement (..., *range).
        y: the measurement of each image.
        weight: lambda of the abstract, from 0 (ignored) to 1 (replaced).
        noise: draws n, of the shape of the image.
    """

    def correct(x: Tensor, sigma: Tensor) -> Tensor:
        return x + weight * operator.pseudo_inverse(y + sigma * operator(noise(x)) - operator(x))

    return correct


def consistent(denoiser: Denoiser, operator: Operator, y: Tensor) -> Denoiser:
    """Return a denoiser whose images are projected onto those that reproduce `y`: new detail lies in the null space."""
    return lambda x, sigma: operator.project(denoiser(x, sigma), y)


def noise_aware(
    denoiser: Denoiser, operator: Operator, y: Tensor, *, noise_std: float, prior_std: float
) -> Denoiser:
    """Return a denoiser whose images are moved towards `y`, with a weight from the noise of both.

    For a Gaussian prior of standard deviation s, the denoised image has variance v = sigma^2 s^2 / (sigma^2 + s^2),
    and E[x | x_sigma, y] = D + v / (v + noise_std^2) A^+ (y - A D) is exact; for other priors it is the Gaussian
    approximation (Song et al., pseudo-inverse-guided diffusion models, 2023, without the gradient).

    Args:
        denoiser: D, independent of y.
        operator: A with A A.H = I.  At the unpaired lines of the even block of a real image A A.H = 1/2 (decision 2):
            the weight is an approximation if the noise there is as strong as elsewhere.
        y: A (x + noise_std n), n white: of unit variance in each pixel of x, for complex x in each part.
        noise_std: in model units.
        prior_std: s, the standard deviation of a pixel of the prior, in model units.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = denoiser(x, sigma)
        variance = sigma**2 * prior_std**2 / (sigma**2 + prior_std**2)
        return denoised + variance / (variance + noise_std**2) * operator.pseudo_inverse(
            y - operator(denoised)
        )

    return denoise
