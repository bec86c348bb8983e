"""Where figures are measured, in one line."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from kfine._version import __version__


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
