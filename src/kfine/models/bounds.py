"""A bound on what building a network may take: no more tensors, and no larger ones, than its weights can fill."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

_PARTS = 20  # layers that a network may have for each of its tensors; parameters, if some are replaced
_TIMES = 4  # the size of its weights: some are made anew, or hold what they do not keep
_SMALL = 1 << 20  # elements
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye)
_LINES = (torch.arange, torch.linspace)


@contextmanager
def bounded_by(shapes: Collection[tuple[int, ...]]) -> Iterator[None]:
    """Let networks that are built within have no more and no larger parts than tensors of the `shapes` can be of.

    Raises:
        ValueError: from within, where one has.
    """
    most, made = _PARTS * (len(shapes) + 1), Counter[str]()

    def counted(kind: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            made[kind] += 1
            if made[kind] > most:
                raise ValueError(f"more {kind} than the {len(shapes)} tensors of its weights can be of")

        return count

    hooks = [
        register_module_parameter_registration_hook(counted("parameters")),
        register_module_buffer_registration_hook(counted("buffers")),
        register_module_module_registration_hook(counted("layers")),
    ]
    try:
        with _Sized(_TIMES * sum(map(math.prod, shapes)) + _SMALL):
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Sized(TorchFunctionMode):
    """Refuses to make tensors of more than `left` elements in all."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what `func` makes before it does."""
        if func in _MAKERS or func in _LINES:
            self._left -= _elements(func, args, kwargs or {})
            if self._left < 0:
                raise ValueError("larger than its weights")
        return func(*args, **(kwargs or {}))


def _elements(func: Any, args: Any, given: dict[str, Any]) -> int:
    numbers = (*args, given.get("size", ()), given.get("steps", ()), given.get("end", ()))
    flat = [n for size in numbers for n in (size if isinstance(size, (tuple, list, torch.Size)) else [size])]
    counts = [
        abs(int(n))
        for n in flat
        if isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)
    ]
    if func in _LINES:
        return max(counts, default=0)
    if func is torch.full:
        counts = [abs(int(n)) for n in (args[0] if args else given.get("size", ()))]
    if func is torch.eye:
        return math.prod([*counts, *counts][:2])
    return math.prod(counts)
