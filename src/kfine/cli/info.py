"""kfine info: an image, or this machine and installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kfine.cli.console import out, plain_warnings, say_json
from kfine.cli.parameters import AsJson, CoilAxis, Combine, Series
from kfine.text import literal

if TYPE_CHECKING:
    from kfine.image import Image

_ROUNDED = 1.5e-3  # s: spacings that differ by less are even, in whole milliseconds


def info(
    image: Annotated[
        Path | None,
        typer.Argument(
            metavar="IN", help="An image to describe; this machine if left out.", show_default=False
        ),
    ] = None,
    series: Series = None,
    coil_axis: CoilAxis = None,
    combine: Combine = None,
    as_json: AsJson = False,
) -> None:
    """Describe an image, or this machine and installation.

    Of an image: axes, matrix, voxel sizes, frame times, R-R interval, intensities.
    Of DICOM also how much k-space was measured: less than the matrix where the
    scanner zero-filled. Prints no patient data.

    [bold]kfine info brain.nii.gz[/bold]
    [bold]kfine info --json[/bold]
    """
    from kfine.io import read

    with plain_warnings() as notes:
        facts = (
            _machine()
            if image is None
            else _image(read(image, series=series, coil_axis=coil_axis, combine=combine))
        )
    if as_json:
        if notes:
            facts["notes"] = notes
        say_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, Text(literal(_shown(value))))
    out.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _machine() -> dict[str, Any]:
    import platform

    import torch

    from kfine._version import __version__
    from kfine.models.checkpoint import packaged_models
    from kfine.models.devices import choose_device, choose_precision

    device = choose_device("auto")
    return {
        "kfine": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
        "precision": str(choose_precision("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "models": packaged_models(),
    }


def _timing(image: Image) -> dict[str, Any]:
    """Return the frame times in short, and the heart beat if they begin again with it."""
    import numpy as np

    facts: dict[str, Any] = {}
    times = image.frame_times
    if times is not None and len(times) > 1:
        gaps = np.diff(times)
        facts["frame times s"] = {
            "first": round(times[0], 4),
            "spacing": round(float(gaps.mean()), 4),
            "last": round(times[-1], 4),
        }
        if np.ptp(gaps) > _ROUNDED:
            facts["frame spacing s"] = {
                "shortest": round(float(gaps.min()), 4),
                "longest": round(float(gaps.max()), 4),
            }
    if image.period is not None:
        facts["period s"] = round(image.period, 4)
        facts["heart rate per minute"] = round(60 / image.period, 1)
    return facts


def _image(image: Image) -> dict[str, Any]:
    import numpy as np

    from kfine.acquisition.zero_fill import measured_block
    from kfine.image import magnitude

    shown = magnitude(image).voxels
    facts: dict[str, Any] = {
        "name": image.source.name,
        "kind": image.source.kind,
        "k-space": "measured" if image.measured else "simulated from a real image",
        "axes": ["frame", "slice", "row", "column"],
        "shape": list(image.voxels.shape),
        "voxel size mm": [round(size, 4) for size in image.voxel_sizes],
        "first voxel mm": [round(float(x), 3) for x in image.affine[:3, 3]],
        "intensity": {
            "minimum": float(shown.min()),
            "median": float(np.median(shown)),
            "maximum": float(shown.max()),
        },
    }
    facts |= _timing(image)
    if image.source.acquired_matrix:
        facts["scanner's matrix"] = list(image.source.acquired_matrix)
    if image.source.kind == "dicom":
        facts["measured block"] = list(measured_block(image))
    if image.source.acquisition:
        facts["acquisition"] = {
            key.replace("_", " "): value for key, value in image.source.acquisition.items()
        }
    return facts
