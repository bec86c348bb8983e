"""Safetensors files and the networks built from them, both bounded by the size of the file.

The reader is in Python so that KeyboardInterrupt passes through it and shapes are known before memory is allocated.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from kfine.errors import ModelError

_LONGEST = 1 << 26  # bytes of the header
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

_PARTS = (
    20  # layers, parameters or buffers per tensor of the weights; some parameters are replaced after creation
)
_TIMES = 4  # elements allocated per element of the weights: some are recreated, some are temporary
_SMALL = 1 << 20  # elements that are always allowed
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye)
_LINES = (torch.arange, torch.linspace)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, or raise `ModelError` when it is not one."""
    try:
        with path.open("rb") as file:
            entries, _ = _header(file, path.stat().st_size)
            content = bytearray(file.read())
        return {name: _tensor(entry, content) for name, entry in entries.items()}
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        RecursionError,
        OverflowError,
        RuntimeError,
    ) as error:
        raise _damaged(path, error) from None


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a safetensors file by its header, or raise `ModelError`."""
    try:
        with path.open("rb") as file:
            entries, _ = _header(file, path.stat().st_size)
        return {name: tuple(entry["shape"]) for name, entry in entries.items()}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from None


def metadata_of(path: Path) -> dict[str, Any]:
    """Return the metadata in the header of a safetensors file, or raise `ModelError`."""
    try:
        with path.open("rb") as file:
            return _header(file, path.stat().st_size)[1]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from None


def _header(file: BinaryIO, size: int) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the entries of the tensors in the header of `file`, checked against its size, and the metadata."""
    start = file.read(8)
    length = unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(size - 8, _LONGEST):
        raise ValueError("no header")
    entries = json.loads(file.read(length))
    if not isinstance(entries, dict):
        raise ValueError("the header is no table")
    metadata = entries.pop("__metadata__", None)
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: entry["data_offsets"]):
        first, last = entry["data_offsets"]
        shape, kind = entry["shape"], _TYPES[entry["dtype"]]
        if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)):
            raise ValueError("a shape of other than numbers")
        if first != end or last - first != math.prod(shape) * kind.itemsize:
            raise ValueError("shapes that do not fit their bytes")
        end = last
    if end != size - 8 - length:
        raise ValueError(f"expected {end} bytes of tensors, got {size - 8 - length}")
    return entries, metadata if isinstance(metadata, dict) else {}


def _tensor(entry: dict[str, Any], content: bytearray) -> Tensor:
    first, last = entry["data_offsets"]
    kind, shape = _TYPES[entry["dtype"]], entry["shape"]
    if first == last:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(content, dtype=kind, count=math.prod(shape), offset=first).reshape(shape)


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = (str(error) or type(error).__name__).splitlines()[0][:100]
    return ModelError(f"{path.name}: expected a safetensors file, it is damaged or foreign ({reason})")


@contextmanager
def bounded_by(shapes: Collection[tuple[int, ...]]) -> Iterator[None]:
    """Limit the number and size of layers and tensors of a network built in the block to what `shapes` can fill.

    Raises:
        ValueError: in the block, when a limit is exceeded.
    """
    most, counts = _PARTS * (len(shapes) + 1), Counter[str]()

    def counted(kind: str) -> Callable[..., None]:
        def count(*_: Any) -> None:
            counts[kind] += 1
            if counts[kind] > most:
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
    """Raise `ValueError` once tensors of more than `left` elements in total have been created."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the elements that `func` allocates before it is called."""
        if func in _MAKERS or func in _LINES:
            self._left -= _elements(func, args, kwargs or {})
            if self._left < 0:
                raise ValueError("larger than its weights")
        return func(*args, **(kwargs or {}))


def _elements(func: Any, args: Any, kwargs: dict[str, Any]) -> int:
    """Return the number of elements of the tensor that `func(*args, **kwargs)` creates, or an upper bound."""
    numbers = (*args, kwargs.get("size", ()), kwargs.get("steps", ()), kwargs.get("end", ()))
    flat = [n for size in numbers for n in (size if isinstance(size, (tuple, list, torch.Size)) else [size])]
    counts = [
        abs(int(n))
        for n in flat
        if isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)
    ]
    if func in _LINES:
        return max(counts, default=0)
    if func is torch.full:
        counts = [abs(int(n)) for n in (args[0] if args else kwargs.get("size", ()))]
    if func is torch.eye:
        return math.prod([*counts, *counts][:2])
    return math.prod(counts)
