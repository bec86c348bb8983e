"""Text for messages: clean, short and printable."""

from __future__ import annotations

import unicodedata
from pathlib import Path

_LONGEST_TEXT = 64


def clean_text(text: object) -> str:
    """Return `text` from a file as one short printable line: it may carry terminal escapes or be endless.

    >>> clean_text("t2\\x1b[31m tse\\n")
    't2[31m tse'
    """
    # Categories C* are controls, bidirectional overrides and surrogates; Zl and Zp break lines.
    kept = "".join(
        " " if char.isspace() else char
        for char in str(text)[: 4 * _LONGEST_TEXT]
        if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    line = " ".join(kept.split())
    return line if len(line) <= _LONGEST_TEXT else line[: _LONGEST_TEXT - 1] + "…"


def display_name(path: Path) -> str:
    """Return the name of the file or folder at `path`, fit for messages, also where it is "." or ".."."""
    return clean_text(path.name or path.resolve().name)


def human_size(n_bytes: int) -> str:
    """Return a size for people.

    >>> human_size(1536), human_size(12)
    ('1.5 kB', '12 bytes')
    """
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min((n_bytes.bit_length() - 1) // 10, 4)
    return f"{n_bytes / 1024**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"
