"""The files below a folder, each once: through links, but never round in circles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


def files_below(
    top: Path, *, leave: Sequence[Path] = (), on_error: Callable[[Path, OSError], None]
) -> Iterator[Path]:
    """Yield the files below `top`, in the order of their names; hidden ones are left out.

    Links to folders are followed, each folder is entered once, and a link to a folder that holds `top` is not.

    Args:
        top: an existing folder.
        leave: folders that are not entered.
        on_error: called with a folder that cannot be listed, and why.
    """
    root = Path(os.path.realpath(top))
    # By their real paths: a link into a circle leads to one of them.
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
