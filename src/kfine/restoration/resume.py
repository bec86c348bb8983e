"""Finished slices on disk, so that an interrupted restoration goes on where it ended."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfine.errors import ResourceError
from kfine.files.atomic import atomic_file


class ResumeStore:
    """A folder with one file a slice, each marked with what decides its voxels.

    A file that bears another mark, or that is damaged, counts as not there.

    Args:
        folder: where; made with the first slice.
        recipe: JSON-ready, everything that decides the voxels.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self.folder = folder
        self.key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def load(self, number: int) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of slice `number`, or None where it is still to be restored.

        Warns:
            UserWarning: a file is there and cannot be read.
        """
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception:  # numpy, zipfile and zlib have many ways to say that a file is damaged
            warnings.warn(
                f"slice {number} is restored anew: the file kept of it is damaged", UserWarning, stacklevel=2
            )
            return None
        return arrays if str(arrays.pop("mark", "")) == self._mark(arrays) else None

    def save(self, number: int, arrays: dict[str, NDArray[Any]]) -> None:
        """Keep the arrays of slice `number`.

        Raises:
            ResourceError: the disk is full or the folder is read-only.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{self.folder}: cannot be made ({error.strerror})") from None
        with atomic_file(self._path(number), overwrite=True) as partial, partial.open("wb") as file:
            np.savez(file, mark=np.array(self._mark(arrays)), **arrays)  # type: ignore[arg-type]

    def _mark(self, arrays: dict[str, NDArray[Any]]) -> str:
        """Return what says that these are all arrays of a slice, made by this recipe."""
        return " ".join([self.key, *sorted(arrays)])

    def _path(self, number: int) -> Path:
        return self.folder / f"slice-{number:05}.npz"
