"""Operators that torchvision's wheel of PyPI registers only beside a CUDA build of torch: declared, never called.

deepinv imports torchvision for its transforms.  Import this module first.
"""

from contextlib import suppress

import torch

_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    with suppress(RuntimeError):  # there already
        _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
