"""Numbers that JSON lacks."""

from __future__ import annotations

import math
from typing import Any


def json_ready(value: Any) -> Any:
    """Return `value`, dictionaries, lists and tuples within, without the numbers that JSON lacks.

    >>> json_ready({"psnr": math.inf, "ssim": [math.nan, 0.5]})
    {'psnr': 'inf', 'ssim': [None, 0.5]}
    """
    if isinstance(value, dict):
        return {key: json_ready(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
