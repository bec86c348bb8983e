"""The options that choose one image of a DICOM folder, shared by the commands that read one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kfine.cli.parameters import Echo, Part, Series

if TYPE_CHECKING:
    from kfine.io.dicom.images import Wanted

    ImageChoice = str | Wanted | None
else:  # the class loads numpy, --help does without
    ImageChoice = Any


def wanted_of(*, series: Series = None, echo: Echo = None, part: Part = None) -> ImageChoice:
    """Return what the options ask for, as `kfine.read` takes its argument `series`."""
    from kfine.io.dicom.images import Wanted

    return series if echo is None and part is None else Wanted(series, echo, part)


def ending_of(choice: ImageChoice) -> str:
    """Return what the name of a result says of the image that was chosen.

    >>> from kfine.io.dicom.images import Wanted
    >>> ending_of(Wanted(echo=2, part="mag")), ending_of(None)
    ('_echo-2_mag', '')
    """
    if choice is None or isinstance(choice, str):
        return ""
    part = re.sub(r"[^A-Za-z0-9_-]+", "-", choice.part or "")
    return (f"_echo-{choice.echo}" if choice.echo is not None else "") + (f"_{part}" if part else "")
