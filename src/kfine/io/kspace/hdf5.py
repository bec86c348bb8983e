"""HDF5 input: fastMRI, ISMRMRD (MRD), CMRxRecon and Calgary-Campinas files, without following links to other files.

A child process with limited memory and time reads the headers first: libhdf5 allocates the sizes stated in the file
while it has the interpreter's lock, so that a forged length could take all memory, and no signal could end the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import kfine
from kfine.errors import InputError, KfineError, ResourceError, UsageError
from kfine.files.contents import digest_of
from kfine.io.kspace.challenges import (
    calgary_campinas_scan,
    cmrxrecon_key,
    cmrxrecon_scan,
    fastmri_scan,
    is_calgary_campinas,
)
from kfine.io.kspace.hdf5_datasets import has_own, hdf5_errors
from kfine.io.kspace.ismrmrd import ismrmrd_scan
from kfine.io.kspace.scan import RawScan
from kfine.text import clean_text


@contextmanager
def hdf5_scan(path: Path, *, contrast: int | None = None) -> Iterator[RawScan]:
    """Yield the scan in `path`; its planes are read within the context.

    contrast: which image of an ISMRMRD file with several contrasts or sets, from 1.

    Raises:
        UsageError: `contrast` for another layout.
        InputError: another layout, damaged, or with data in other files.
        ResourceError: h5py is not installed.
    """
    name = clean_text(path.name)
    try:
        import h5py
    except ImportError:
        raise ResourceError(
            f"{name}: HDF5 needs h5py, which is not installed; install it with: pip install 'kfine[raw]'"
        ) from None
    check_in_child(path, name=name, contrast=contrast)
    digest = digest_of(path)
    with hdf5_errors(name):
        file = h5py.File(path, "r")
    with file:
        yield scan_of(file, name, digest, contrast=contrast)


def scan_of(file: Any, name: str, digest: str, *, contrast: int | None = None) -> RawScan:
    """Return the scan in an open file, see `hdf5_scan`."""
    with hdf5_errors(name):
        # The default name of ISMRMRD's group is "dataset".
        groups = [
            key for key in sorted(file, key=lambda key: key != "dataset")[:16] if has_own(file, key, "group")
        ]
        for group in groups:
            if {"data", "xml"} <= set(file[group]):
                return ismrmrd_scan(file[group], name, digest, contrast=contrast)
        if contrast is not None:
            raise UsageError(
                f"{name}: contrast selects images of ISMRMRD files, and this is none; leave it out"
            )
        key = cmrxrecon_key(file)
        if key is not None:
            return cmrxrecon_scan(file, key, name, digest)
        if "kspace" in list(file):
            scan = calgary_campinas_scan if is_calgary_campinas(file) else fastmri_scan
            return scan(file, name, digest)
    raise InputError(
        f"{name}: expected 'kspace' of fastMRI, CMRxRecon or Calgary-Campinas, or ISMRMRD's 'dataset/data' and "
        "'dataset/xml', got neither; convert the raw data with ismrmrd's tools"
    )


_MEMORY, _TIMES = 1 << 29, 4  # bytes besides those of the interpreter, and multiples of the size of the file
_SECONDS, _PACE = 60.0, 2e6  # s, and bytes a second
_DAMAGED = 4  # exit status of the child for a damaged file


def check_in_child(path: Path, *, name: str, contrast: int | None = None) -> None:
    """Raise `InputError` if the headers in `path` cannot be read within limits of memory and time.

    Other errors are reported by the reader.
    """
    if not sys.executable:
        return
    size = path.stat().st_size
    code = (
        "from kfine.io.kspace import hdf5; "
        f"hdf5.read_within({size}, lambda file: hdf5.scan_of(file, 'file', '', contrast={contrast!r}))"
    )
    package = str(Path(kfine.__file__).parents[1])
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, os.path.abspath(path)],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=_SECONDS + size / _PACE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{name}: damaged: its headers take too long to read; write the file again"
        ) from None
    except OSError:
        return  # no child process possible: the file is read without this check
    if done.returncode == _DAMAGED or done.returncode < 0:
        raise InputError(
            f"{name}: damaged: its headers cannot be read in the memory of a file of its size; write the file "
            "again"
        )


def read_within(size: int, reader: Callable[[Any], object]) -> None:
    """Read the headers of the file in the last argument with `reader`; exit with `_DAMAGED` if memory runs out."""
    import warnings

    import h5py

    warnings.simplefilter("ignore")
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limits
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = used + _MEMORY + _TIMES * size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    status = 0
    try:
        with h5py.File(sys.argv[-1], "r") as file:
            reader(file)
    except MemoryError:
        status = _DAMAGED
    except KfineError as error:
        chain = error.__cause__ or error.__context__
        out = isinstance(chain, MemoryError) or "alloc" in str(chain).lower()
        status = _DAMAGED if out else 0
    except OSError as error:
        status = _DAMAGED if "alloc" in str(error).lower() else 0
    os._exit(status)
