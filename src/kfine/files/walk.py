"""Files below a folder, each once; links are followed without loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def files_below(
    top: Path, *, leave: Sequence[Path] = (), on_error: Callable[[Path, OSError], None]
) -> Iterator[Path]:
    """Yield the files below `top` in the order of their names, without hidden ones.

    Links to folders are followed.  Each folder is entered once, and no link leads back to a parent of `top`.

    Args:
        top: an existing folder.
        leave: folders that are skipped.
        on_error: called with a folder that cannot be listed, and the error.
    """
    root = Path(os.path.realpath(top))
    # Real paths: a link that makes a loop leads to one of them.
    seen = {root, *root.parents, *(Path(os.path.realpath(folder)) for folder in leave)}
    ahead = [top]
    while ahead:
        folder = ahead.pop()
        try:
            entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            on_error(folder, error)
            continue
        inner = []
        for entry in entries:
            if not os.path.isdir(entry):
                yield entry
            elif (real := Path(os.path.realpath(entry))) not in seen:
                seen.add(real)
                inner.append(entry)
        ahead.extend(reversed(inner))
