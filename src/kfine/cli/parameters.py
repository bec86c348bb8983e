"""Options that several commands share, and how commands take them; those of a restoration: `restore_options`."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kfine.io.dicom.images import Wanted

    ImageChoice = str | Wanted | None
else:  # the class loads numpy, --help does without
    ImageChoice = Any

MODEL, TIME, RAW = "Method and model", "Frames of a cine", "Raw k-space"
MACHINE, OUTPUT, SLICES, TRUST = "Machine", "Output", "Slice direction", "Trust"
# Flags take no value; without this, --help shows them as if they took a bool.
FLAG = ""

Slices = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Only slices A to B, counted from 0, B excluded; all if left out."),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Which DICOM series of a folder, by its number or UID; the only one if left out.",
    ),
]
Echo = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Which echo of a DICOM series, from 1 in the order of echo times; the only one if left out.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which image of a DICOM series otherwise: mag, phase, real, imag, complex, or as kfine info lists it; the "
        "only one if left out.",
    ),
]
Plane = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|AxB",
        help="Which plane of a NIfTI file is the slices': axial, coronal, sagittal, or the file's axes of rows and "
        "columns, such as 2x1; found from header and voxel sizes if left out.",
    ),
]
CoilAxis = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=RAW,
        help="Which axis of a .npy file holds the coils, from 0; none if left out.",
    ),
]
Contrast = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=RAW,
        help="Which image of an ISMRMRD file with several contrasts or sets, from 1; the only one if left out.",
    ),
]
Combine = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        rich_help_panel=RAW,
        help="Coils by their sensitivities, which keeps measured k-space, or rss (root sum of squares), which does "
        "not; the first if left out.",
    ),
]
Nan = Annotated[
    str,
    typer.Option(
        "--nan",
        metavar="air|refuse",
        help="NaN outside the field of view of a resampled NIfTI image: air (0), with a note, or refused.",
    ),
]
Period = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=TIME,
        help="After which the frames begin again, of a cine whose file does not say it; the file's own if left out.",
    ),
]
Periodic = Annotated[
    bool,
    typer.Option(
        "--periodic",
        metavar=FLAG,
        rich_help_panel=TIME,
        help="The first frame follows the last one, a frame time later: a heart beat whose period the file does not "
        "say.  Otherwise time ends with the last frame.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        metavar=FLAG,
        rich_help_panel=OUTPUT,
        help="Replace outputs that exist; refused if left out.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", metavar=FLAG, rich_help_panel=OUTPUT, help="Print nothing but errors."),
]
AsJson = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print JSON instead of a table.")]


def wanted_of(*, series: Series = None, echo: Echo = None, part: Part = None) -> ImageChoice:
    """Return what the options ask for, as `kfine.read` takes its argument `series`."""
    from kfine.io.dicom.images import Wanted

    return series if echo is None and part is None else Wanted(series, echo, part)


def ending_of(choice: ImageChoice, contrast: int | None = None) -> str:
    """Return what the name of a result says of the image that was chosen.

    >>> from kfine.io.dicom.images import Wanted
    >>> ending_of(Wanted(echo=2, part="mag")), ending_of(None), ending_of(None, 3)
    ('_echo-2_mag', '', '_contrast-3')
    """
    if contrast is not None:
        return f"_contrast-{contrast}"
    if choice is None or isinstance(choice, str):
        return ""
    part = re.sub(r"[^A-Za-z0-9_-]+", "-", choice.part or "")
    return (f"_echo-{choice.echo}" if choice.echo is not None else "") + (f"_{part}" if part else "")


def takes(**makers: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let commands take the options of others' signatures: `@takes(run=Run)` makes the argument `run` a `Run`.

    typer reads a command's options from its signature. In the one that it sees here, each argument named in
    `makers` gives way to the arguments of its maker, which is called with their values.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = {name: _options(maker) for name, maker in makers.items()}
        seen: list[inspect.Parameter] = []
        for option in _options(command):
            seen += shared.get(option.name, [option])

        @functools.wraps(command)
        def taking(**given: Any) -> None:
            for name, maker in makers.items():
                given[name] = maker(**{option.name: given.pop(option.name) for option in shared[name]})
            command(**given)

        taking.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
        taking.__annotations__ = {option.name: option.annotation for option in seen}
        return taking

    return wrap


def _options(function: Callable[..., Any]) -> list[inspect.Parameter]:
    options = inspect.signature(function, eval_str=True).parameters.values()
    # So that those with a default may come before those without.
    return [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
