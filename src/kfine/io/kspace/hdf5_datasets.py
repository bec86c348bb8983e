"""Datasets of HDF5 files, without following links to other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kfine.errors import InputError, KfineError
from kfine.io.kspace.mrd_header import LONGEST
from kfine.text import human_size

_MOST_EXPANDED, _SMALL = 1032, 1 << 26  # ratio of deflate, and bytes: larger datasets are truncated


@contextmanager
def hdf5_errors(name: str) -> Iterator[None]:
    """Turn errors of h5py about a damaged file into `InputError`."""
    try:
        yield
    except KfineError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        raise InputError(
            f"{name}: expected a whole HDF5 file, got one that is truncated, damaged or compressed in a way that is "
            "not installed; copy it again"
        ) from None


def has_own(group: Any, key: str, kind: str) -> bool:
    """Return whether `key` is a member of `group` of this kind ("group" or "dataset"), not a link to elsewhere.

    Links are inspected, not followed: h5py's `in` would open the file of an external link.
    """
    import h5py

    link = group.get(key, getlink=True)
    wanted = h5py.Group if kind == "group" else h5py.Dataset
    return isinstance(link, h5py.HardLink) and isinstance(group[key], wanted)


def dataset_of(group: Any, key: str, name: str) -> Any:
    """Return the dataset `key` of `group`, with its data in this file.

    Raises:
        InputError: a link, not a dataset, or one with data in other files.
    """
    if not has_own(group, key, "dataset"):
        raise InputError(
            f"{name}: expected a dataset {key!r}, got a group or a link to elsewhere; copy the data into the file"
        )
    dataset = group[key]
    if dataset.external or dataset.is_virtual:
        raise InputError(
            f"{name}: expected the data of {key!r} in the file itself, got references to other files; copy them in"
        )
    stored, promised = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
    if promised > _MOST_EXPANDED * stored + _SMALL:
        raise InputError(
            f"{name}: truncated: {key!r} promises {human_size(promised)}, the file has {human_size(stored)}; copy "
            "it again"
        )
    return dataset


def text_of(group: Any, key: str, name: str) -> bytes:
    """Return the text in the dataset `key` of `group`; `name` is that of the file for messages.

    Raises:
        InputError: not a dataset of one string in this file, or longer than any header.
    """
    dataset = dataset_of(group, key, name)
    if dataset.size != 1 or dataset.dtype.kind not in "OS" or dataset.dtype.itemsize > LONGEST:
        raise InputError(f"{name}: expected one text in {key!r}, got {dataset.size} of {dataset.dtype}")
    value = dataset[()] if dataset.shape == () else dataset[:].ravel()[0]
    return value if isinstance(value, bytes) else str(value).encode()
