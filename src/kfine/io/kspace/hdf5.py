"""HDF5 in: fastMRI's files, and ISMRMRD (MRD).  No other file is ever opened on the word of one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfine.errors import InputError, KfineError, ResourceError
from kfine.io.checks import digest_of
from kfine.io.kspace.mrd_header import LONGEST
from kfine.io.kspace.scan import RawScan
from kfine.text import clean_text


@contextmanager
def hdf5_scan(path: Path) -> Iterator[RawScan]:
    """Give the scan in `path`; its planes are read while the context lasts.

    Raises:
        InputError: neither format, damaged, or kept in other files.
        ResourceError: h5py is not installed.
    """
    name = clean_text(path.name)
    try:
        import h5py
    except ImportError:
        raise ResourceError(
            f"{name}: HDF5 needs h5py, which is not installed; install it with: pip install 'kfine[raw]'"
        ) from None
    digest = digest_of(path)
    with hdf5_errors(name):
        file = h5py.File(path, "r")
    with file:
        yield _scan(file, name, digest)


def _scan(file: Any, name: str, digest: str) -> RawScan:
    from kfine.io.kspace.fastmri import fastmri_scan
    from kfine.io.kspace.ismrmrd import ismrmrd_scan

    with hdf5_errors(name):
        if "kspace" in list(file):
            return fastmri_scan(file, name, digest)
        # ISMRMRD's group is called "dataset" unless its writer says otherwise.
        groups = [
            key for key in sorted(file, key=lambda key: key != "dataset")[:16] if has_own(file, key, "group")
        ]
        for group in groups:
            if {"data", "xml"} <= set(file[group]):
                return ismrmrd_scan(file[group], name, digest)
    raise InputError(
        f"{name}: expected fastMRI's dataset 'kspace' or ISMRMRD's 'dataset/data' and 'dataset/xml', got neither; "
        "convert the raw data with ismrmrd's tools"
    )


@contextmanager
def hdf5_errors(name: str) -> Iterator[None]:
    """Turn what h5py raises over a damaged file into `InputError`."""
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
    """Return whether `group` itself holds `key`, which is then a "group" or "dataset", and not a link to elsewhere.

    Links are looked at, not followed: h5py's `in` would open the file that an external one names.
    """
    import h5py

    link = group.get(key, getlink=True)
    wanted = h5py.Group if kind == "group" else h5py.Dataset
    return isinstance(link, h5py.HardLink) and isinstance(group[key], wanted)


def dataset_of(group: Any, key: str, name: str) -> Any:
    """Return the dataset `key` of `group`, whose data are in this file.

    Raises:
        InputError: a link, no dataset, or one whose data are in other files.
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
    return dataset


def text_of(group: Any, key: str, name: str) -> bytes:
    """Return the text in the dataset `key` of `group`; `name` is the file's, for messages.

    Raises:
        InputError: no dataset of one string in this file, or a longer one than any header.
    """
    dataset = dataset_of(group, key, name)
    if dataset.size != 1 or dataset.dtype.kind not in "OS" or dataset.dtype.itemsize > LONGEST:
        raise InputError(f"{name}: expected one text in {key!r}, got {dataset.size} of {dataset.dtype}")
    value = dataset[()] if dataset.shape == () else dataset[:].ravel()[0]
    return value if isinstance(value, bytes) else str(value).encode()
