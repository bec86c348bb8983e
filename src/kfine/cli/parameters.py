"""Options shared by several commands, and the decorator `takes`; options of a restoration: `restore_options`."""

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
else:  # importing the class would import numpy, which --help does not need
    ImageChoice = Any

MODEL, TIME, RAW = "Method and model", "Frames of a cine", "Raw k-space"
MACHINE, OUTPUT, SLICES, TRUST = "Machine", "Output", "Slice direction", "Trust"
# Metavar of flags; without it, --help shows them with a value.
FLAG = ""

Slices = Annotated[
    str | None,
    typer.Option(metavar="A:B", help="Only slices A to B, counted from 0, B excluded; all if left out."),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="DICOM series of a folder, by its number or UID; the only one if left out.",
    ),
]
Echo = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Echo of a DICOM series, from 1 in the order of echo times; the only one if left out.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Image of a DICOM series: mag, phase, real, imag, complex, or a name listed by kfine info; the only one "
        "if left out.",
    ),
]
Plane = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|AxB",
        help="Plane of the slices of a NIfTI file: axial, coronal, sagittal, or the file's axes of rows and columns, "
        "such as 2x1; determined from header and voxel sizes if left out.",
    ),
]
CoilAxis = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=RAW,
        help="Axis of the coils in a .npy file, from 0; none if left out.",
    ),
]
Contrast = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        rich_help_panel=RAW,
        help="Image of an ISMRMRD file with several contrasts or sets, from 1; the only one if left out.",
    ),
]
Combine = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        rich_help_panel=RAW,
        help="Combination of coils: sensitivities, which preserves the measured k-space, or rss (root sum of squares), "
        "which does not; sensitivities if left out.",
    ),
]
Nan = Annotated[
    str,
    typer.Option(
        "--nan",
        metavar="air|refuse",
        help="NaN outside the field of view of a resampled NIfTI image: replaced by air (0), with a note, or refused.",
    ),
]
Period = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        rich_help_panel=TIME,
        help="Heart period of a cine, after which the frames repeat, if the file does not contain it; that of the file "
        "if left out.",
    ),
]
Periodic = Annotated[
    bool,
    typer.Option(
        "--periodic",
        metavar=FLAG,
        rich_help_panel=TIME,
        help="The first frame follows the last one, a frame time later: a whole heart beat whose period the file does "
        "not contain.  Otherwise time ends with the last frame.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=MACHINE,
        help="Limit of the memory of a process, such as 4G: batches and tiles are as large as it allows, and an image "
        "that does not fit is refused (exit code 6); suited to the machine if left out.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        metavar=FLAG,
        rich_help_panel=OUTPUT,
        help="Replace existing outputs; an error if left out.",
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", metavar=FLAG, rich_help_panel=OUTPUT, help="Print nothing but errors."),
]
AsJson = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print JSON instead of a table.")]


def wanted_of(*, series: Series = None, echo: Echo = None, part: Part = None) -> ImageChoice:
    """Return the argument `series` of `kfine.read` for the options."""
    from kfine.io.dicom.images import Wanted

    return series if echo is None and part is None else Wanted(series, echo, part)


def ending_of(choice: ImageChoice, contrast: int | None = None) -> str:
    """Return the suffix for the name of a result that identifies the chosen image.

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
    """Expand arguments of a command into the options of other signatures: `@takes(run=Run)` builds `run` by `Run`.

    typer reads a command's options from its signature. In the signature that it sees, each argument named in `makers`
    is replaced by the arguments of its maker, which is called with their values.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = {name: _options(maker) for name, maker in makers.items()}
        parameters: list[inspect.Parameter] = []
        for option in _options(command):
            parameters += shared.get(option.name, [option])

        @functools.wraps(command)
        def wrapper(**values: Any) -> None:
            for name, maker in makers.items():
                values[name] = maker(**{option.name: values.pop(option.name) for option in shared[name]})
            command(**values)

        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {option.name: option.annotation for option in parameters}
        return wrapper

    return wrap


def _options(function: Callable[..., Any]) -> list[inspect.Parameter]:
    options = inspect.signature(function, eval_str=True).parameters.values()
    # Keyword-only, so that options with a default may precede those without.
    return [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
