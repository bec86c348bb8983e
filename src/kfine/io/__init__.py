"""Files in and out: `read` and `write`."""

from kfine.io.reading import read
from kfine.io.writing import write

__all__ = ["read", "write"]
