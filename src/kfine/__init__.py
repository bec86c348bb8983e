"""kfine ("k-space, finer"): low-resolution MR images in, high-resolution ones out, and how far to trust each voxel.

>>> import kfine
>>> restored = kfine.restore("low.nii.gz", scale=2)     # doctest: +SKIP
>>> restored.save("high.nii.gz", figure="high.png")     # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kfine._version import __version__ as __version__

if TYPE_CHECKING:
    from kfine.batches.run import batch
    from kfine.degradation.kspace import degrade
    from kfine.image import Image
    from kfine.io import read, write
    from kfine.models.checkpoint import load_model
    from kfine.restoration.facts import info
    from kfine.restoration.restore import restore
    from kfine.restoration.result import Restoration

__all__ = ["Image", "Restoration", "batch", "degrade", "info", "load_model", "read", "restore", "write"]

# Loaded on first use: `import kfine` must not pay for torch.
_HOMES = {
    "Image": "kfine.image",
    "Restoration": "kfine.restoration.result",
    "batch": "kfine.batches.run",
    "degrade": "kfine.degradation.kspace",
    "info": "kfine.restoration.facts",
    "load_model": "kfine.models.checkpoint",
    "read": "kfine.io",
    "restore": "kfine.restoration.restore",
    "write": "kfine.io",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kfine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
