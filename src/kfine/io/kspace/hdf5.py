"""HDF5 input: fastMRI and ISMRMRD (MRD) files; links to other files are never followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfine.errors import InputError, ResourceError
from kfine.io.checks import digest_of
from kfine.io.kspace.fastmri import fastmri_scan
from kfine.io.kspace.hdf5_child import check_in_child
from kfine.io.kspace.hdf5_datasets import has_own, hdf5_errors
from kfine.io.kspace.ismrmrd import ismrmrd_scan
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
    check_in_child(path, name=name)
    digest = digest_of(path)
    with hdf5_errors(name):
        file = h5py.File(path, "r")
    with file:
        yield scan_of(file, name, digest)


def scan_of(file: Any, name: str, digest: str) -> RawScan:
    """Return the scan in an open file; `name` is for messages.

    Raises:
        InputError: neither format, damaged, or kept in other files.
    """
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
