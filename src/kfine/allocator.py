"""Memory allocator of the process: whether freed memory is reused or returned to the system."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

# Parameters of mallopt, <malloc.h> of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER, _LARGE = 2**31 - 1, 2**30  # bytes


def reuse_freed_memory() -> None:
    """Let the GNU C library reuse freed memory instead of returning it to the system; elsewhere without effect.

    A network call allocates and frees tens of megabytes for each layer.  By default the system gets them back, and
    clears every page that it gives out again.
    """
    with suppress(OSError, AttributeError):
        if sys.platform == "linux":
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, _LARGE)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)


def return_freed_memory() -> None:
    """Return freed memory to the system, as far as the GNU C library can; elsewhere without effect."""
    with suppress(OSError, AttributeError):
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
