"""The safetensors format, read in Python: an interruption stays one, and shapes are known before memory is taken."""

from __future__ import annotations

import json
import math
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO

import torch
from torch import Tensor

from kfine.errors import ModelError

_LONGEST = 1 << 26  # bytes of the header
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


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
