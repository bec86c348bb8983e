"""Choice of device and precision."""

from __future__ import annotations

import torch

from kfine.errors import ResourceError, UsageError


def choose_device(name: str) -> torch.device:
    """Return the device called "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        UsageError: any other name.
        ResourceError: the machine does not have this device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.split(":")[0]
    if kind not in {"cpu", "cuda", "mps"}:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or mps")
    try:
        if _is_there(name, kind):
            return torch.device(name)
    except (ValueError, RuntimeError):
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or mps") from None
    raise ResourceError(f"device {name}: this machine or this build of torch has none; use device='cpu'")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the autocast type called "auto", "float32" or "bfloat16".

    "auto" is bfloat16 if the hardware supports it, else float32: emulated bfloat16 is several times slower.

    Raises:
        UsageError: any other name.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    if name not in types:
        raise UsageError(f"precision {name!r}: expected auto, float32 or bfloat16")
    return types[name]


def _is_there(name: str, kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available() and int(name.partition(":")[2] or 0) < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return False
