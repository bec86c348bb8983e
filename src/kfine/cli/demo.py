"""kfine demo: restoration of a real MR image that every installation has, and of a synthetic beating heart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.parameters import OUTPUT, Overwrite, Quiet
from kfine.files.staging import check_outputs, made_folder
from kfine.restoration.labels import summary
from kfine.restoration.outputs import RestorationFiles, write_restoration

if TYPE_CHECKING:
    from kfine.image import Image

STILL, CINE = "mr_small", "beating_heart"


@dataclass(frozen=True)
class _Scene:
    """A low-resolution image, and the options of its restoration."""

    name: str
    low: Image
    options: dict[str, Any]


def demo(
    folder: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="Folder for the results; created if needed.",
        ),
    ] = Path("kfine-demo"),
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="Model for the MR image; the packaged one if left out."),
    ] = None,
    cine_model: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="Model for the beating heart; the packaged one if left out."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Restore an MR image and a cine of a beating heart.

    The image, 64x64 to 128x128, is part of the package pydicom. The heart,
    10 frames of 64x64 to 20 of 128x128, is synthetic: its k-space is computed.
    Needs no data and no network. Writes each image, its uncertainty, the record
    and a figure, and an animation (.gif) of the heart.

    [bold]kfine demo[/bold]
    """
    files = {
        name: RestorationFiles.of(folder / f"{name}.nii.gz", folder / f"{name}.png") for name in (STILL, CINE)
    }
    moving = files[CINE].animation
    assert moving is not None
    with made_folder(folder), plain_warnings(quiet=quiet):
        check_outputs([*files[STILL].all, *files[CINE].all, moving], overwrite=overwrite)
        from kfine.restoration.restore import restore

        results = []
        for scene in _scenes(model, cine_model):
            with progress(f"restoring {scene.name}", quiet=quiet) as on_progress:
                result = restore(scene.low, scale=2, **scene.options, on_progress=on_progress)
            results.append((scene, result))
        for scene, result in results:
            written = write_restoration(result, files[scene.name], overwrite=overwrite)
            if not quiet:
                say(summary(result), *written)
    if not quiet:
        say(f"The pictures: {(folder / f'{STILL}.png').resolve()}", f"and, moving, {moving.resolve()}")


def _scenes(model: str | None, cine_model: str | None) -> Iterator[_Scene]:
    from pydicom.data import get_testdata_file

    from kfine.io import read
    from kfine.phantom.cine import beating_heart

    still = read(Path(str(get_testdata_file("MR_small.dcm", download=False))))
    yield _Scene(STILL, still, {"model": model})
    heart = beating_heart((64, 64), frames=10, measured=True)
    # A named method: auto would interpolate a synthetic image.
    method = {"method": "cine-core"} if cine_model is None else {"model": cine_model}
    yield _Scene(CINE, heart, {"frames_scale": 2, **method})
