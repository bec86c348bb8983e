"""A first reading of an HDF5 file in a process of its own, of bounded memory and time.

libhdf5 allocates what a file says, holding the interpreter: a forged length of one text takes all memory, and no signal
ends it.  What a child has read within bounds, the process that asks may read as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import kfine
from kfine.errors import InputError

_MEMORY, _TIMES = 1 << 29, 4  # bytes beside the interpreter's own, and times the size of the file
_SECONDS, _PACE = 60.0, 2e6  # s, and bytes a second
_DAMAGED = 4  # the child's exit status, over what it cannot read


def check_in_child(path: Path, *, name: str) -> None:
    """Raise `InputError` if the headers in `path` cannot be read within bounds of memory and time.

    What else is wrong is left to the reader, which says it.
    """
    if not sys.executable:
        return
    size = path.stat().st_size
    code = (
        "from kfine.io.kspace import hdf5, hdf5_child; "
        f"hdf5_child.read_within({size}, lambda file: hdf5.scan_of(file, 'file', ''))"
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
        return  # no process to be had: the reader goes on alone
    if done.returncode == _DAMAGED or done.returncode < 0:
        raise InputError(
            f"{name}: damaged: its headers cannot be read in the memory of a file of its size; write the file "
            "again"
        )


def read_within(size: int, reader: Callable[[Any], object]) -> None:
    """Read the headers of the file that is the last argument with `reader`; end with a status that says how."""
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
    except InputError as error:
        chain = error.__cause__ or error.__context__
        out = isinstance(chain, MemoryError) or "alloc" in str(chain).lower()
        status = _DAMAGED if out else 0
    except OSError as error:
        status = _DAMAGED if "alloc" in str(error).lower() else 0
    os._exit(status)
