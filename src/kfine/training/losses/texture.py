"""How much detail and motion images have, place by place, and a loss for it that is blind to where within a place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kfine.training.stage_config import WINDOW

STEPS = (1, 2)  # pixels between a Laplacian's taps: the finest detail, and what is half as fine
FLOOR = 0.02  # of the mean energy: a window with less than that is as good as empty
LEAST = 1e-4  # least mean, squared model units: half a percent of the range, which is noise

_LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def detail(x: Tensor) -> list[Tensor]:
    """Return the mean squared Laplacian of images `x` (image, 1, row, column) in windows of `WINDOW` pixels a side.

    One tensor (image, 1, row / WINDOW, column / WINDOW) for each of `STEPS`, in squared units of x; what is left of a
    window at the end is left out.
    """
    x = x.float()
    kernel = x.new_tensor(_LAPLACIAN)[None, None]
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would leave little of small differences
        filtered = [F.conv2d(F.pad(x, (step,) * 4, mode="reflect"), kernel, dilation=step) for step in STEPS]
    return [F.avg_pool2d(values.square(), WINDOW) for values in filtered]


def motion(x: Tensor) -> list[Tensor]:
    """Return the mean squared change between frames of clips `x` (clip, frame, row, column) in the same windows.

    One tensor, (clip, frame - 1, row / WINDOW, column / WINDOW); none of single frames.
    """
    return [F.avg_pool2d(x.diff(dim=1).square(), WINDOW)] if x.shape[1] > 1 else []


def energy_divergence(drawn: Tensor, x: Tensor) -> Tensor:
    """Return how far clips `drawn` are from as much detail and motion as `x` have (clip, frame, row, column), a scalar.

    The generalised Kullback-Leibler divergence d - t - t ln(d / t) of the windows' energies d and t, over the batch's
    mean t.  For random d it is least, over a common factor k, where the mean of k d is the mean of t (the derivative of
    E[k d - t ln k] is 0): what is drawn has as much on average, not as the median or the mode has.  After EnhanceNet's
    texture loss (Sajjadi, Schölkopf and Hirsch, ICCV 2017, section 4.2.3), which compares the features of windows by
    least squares.
    """
    ours, true = ([*detail(clips.flatten(0, 1)[:, None]), *motion(clips)] for clips in (drawn, x))
    return torch.stack([_divergence(d, t) for d, t in zip(ours, true, strict=True)]).sum()


def _divergence(d: Tensor, t: Tensor) -> Tensor:
    mean = t.mean().clamp_min(LEAST)
    floor = FLOOR * mean
    return ((d - t) - (t + floor) * ((d + floor) / (t + floor)).log()).mean() / mean
