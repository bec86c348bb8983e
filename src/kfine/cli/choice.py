"""The options that choose one image of a DICOM folder, shared by the commands that read one."""

from __future__ import annotations

import re

from kfine.cli.parameters import Echo, Part, Series
from kfine.io.dicom.images import Wanted

ImageChoice = str | Wanted | None


def wanted_of(*, series: Series = None, echo: Echo = None, part: Part = None) -> ImageChoice:
    """Return what the options ask for, as `kfine.read` takes its argument `series`."""
    return series if echo is None and part is None else Wanted(series, echo, part)


def ending_of(choice: ImageChoice) -> str:
    """Return what the name of a result says of the image that was chosen.

    >>> ending_of(Wanted(echo=2, part="mag")), ending_of(None)
    ('_echo-2_mag', '')
    """
    if not isinstance(choice, Wanted):
        return ""
    part = re.sub(r"[^A-Za-z0-9_-]+", "-", choice.part or "")
    return (f"_echo-{choice.echo}" if choice.echo is not None else "") + (f"_{part}" if part else "")
