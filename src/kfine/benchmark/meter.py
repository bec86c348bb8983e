"""Time, memory and machine of a piece of work."""

from __future__ import annotations

import ctypes
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from kfine._version import __version__

_PROCESS = Path("/proc/self")
_MIB = 2**20


@dataclass
class Cost:
    """What a block of code took.

    Attributes:
        seconds: wall clock.
        memory: greatest resident memory during the block above that at its start, MiB; likewise of a GPU's own
            allocator where one is at work.  nan where the system does not tell (other than Linux).
    """

    seconds: float = math.nan
    memory: float = math.nan


@contextmanager
def metered() -> Iterator[Cost]:
    """Yield the cost of the block, filled in when it ends."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    before = _forget_peak()
    cost, began = Cost(), time.perf_counter()
    yield cost
    if on_gpu:
        torch.cuda.synchronize()
    cost.seconds = time.perf_counter() - began
    cost.memory = max(_resident("VmHWM") - before, 0.0)
    if on_gpu and torch.cuda.max_memory_allocated() > held:
        cost.memory = (torch.cuda.max_memory_allocated() - held) / _MIB


def _forget_peak() -> float:
    """Let the kernel measure the greatest resident memory anew, and return the present one in MiB, or nan.

    What earlier work freed goes back to the system first: taken from there, it would not be counted.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return math.nan
    return _resident("VmRSS")


def _resident(field: str) -> float:
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), math.nan)


def machine() -> str:
    """Return the versions, the threads and the processor."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"kfine {__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, {_processor()}{gpu}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
