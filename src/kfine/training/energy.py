"""How much fine detail images have, place by place, and a loss for it that is blind to where within a place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 8  # pixels a side: edges that are drawn rather than known lie some pixels from the truth's
STEPS = (1, 2)  # pixels between a Laplacian's taps: the finest detail, and what is half as fine
FLOOR = 0.02  # of the mean energy: a window with less than that is as good as empty

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def energies(x: Tensor) -> list[Tensor]:
    """Return the mean squared Laplacian of images `x` (image, 1, row, column) in windows of `WINDOW` pixels a side.

    One tensor (image, 1, row / WINDOW, column / WINDOW) for each of `STEPS`, in squared units of x; what is left of a
    window at the end is left out.
    """
    kernel = x.new_tensor(_LAPLACIAN)[None, None]
    filtered = (
        F.conv2d(F.pad(x, (step,) * 4, mode="reflect"), kernel, dilation=step).square() for step in STEPS
    )
    return [F.avg_pool2d(squared, WINDOW) for squared in filtered]


def energy_divergence(drawn: Tensor, x: Tensor) -> Tensor:
    """Return how far the fine detail of images `drawn` is from as much as `x` have (image, 1, row, column), a scalar.

    The generalised Kullback-Leibler divergence d - t - t ln(d / t) of the windows' energies d and t, over the batch's
    mean t.  For random d it is least, over a common factor k, where the mean of k d is the mean of t (the derivative of
    E[k d - t ln k] is 0): what is drawn has as much detail on average, not as the median or the mode has.
    After EnhanceNet's texture loss (Sajjadi, Schölkopf and Hirsch, ICCV 2017, section 4.2.3), which compares the
    features of windows by least squares.
    """
    parts = []
    for d, t in zip(energies(drawn), energies(x), strict=True):
        mean = t.mean().clamp_min(torch.finfo(t.dtype).tiny)
        floor = FLOOR * mean
        ratio = (d + floor) / (t + floor)
        parts.append(((d - t) - (t + floor) * ratio.log()).mean() / mean)
    return torch.stack(parts).sum()
