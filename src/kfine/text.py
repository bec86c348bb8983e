"""Text for messages and JSON: clean, short and printable."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from pathlib import Path
from typing import Any

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


def printable(text: object) -> str:
    """Return `text` on one line: "?" for what a terminal would obey or cannot show.

    >>> printable("a/b\\x1b[31m.nii")
    'a/b?[31m.nii'
    """
    return "".join(c if c.isprintable() else "?" for c in str(text))


def literal(text: object) -> str:
    """Return `printable` text in the encoding of stdout.

    >>> literal("scan\\x1b[31m\\n.nii")
    'scan?[31m?.nii'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return printable(text).encode(encoding, "replace").decode(encoding)


def one_line(text: str) -> str:
    """Return `text` on one line: spaces for what cannot be printed.

    >>> one_line("a\\n b")
    'a b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def human_size(n_bytes: int) -> str:
    """Return a size for people.

    >>> human_size(1536), human_size(12)
    ('1.5 kB', '12 bytes')
    """
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min((n_bytes.bit_length() - 1) // 10, 4)
    return f"{n_bytes / 1024**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def json_ready(value: Any) -> Any:
    """Return `value`, dictionaries, lists and tuples within, without the numbers that JSON lacks.

    >>> json_ready({"psnr": math.inf, "ssim": [math.nan, 0.5]})
    {'psnr': 'inf', 'ssim': [None, 0.5]}
    """
    if isinstance(value, dict):
        return {key: json_ready(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def to_json(value: Any) -> str:
    """Return `value` as strict, indented JSON."""
    return json.dumps(value, indent=2, allow_nan=False)


def json_text(value: Any) -> str:
    """Return what a JSON file of `value` holds."""
    return to_json(value) + "\n"
