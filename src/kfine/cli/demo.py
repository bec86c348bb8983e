"""kfine demo: the whole way on a real MR image that every installation has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.console import plain_warnings, progress, say
from kfine.cli.outputs import check_outputs, made_folder
from kfine.cli.parameters import OUTPUT, Overwrite, Quiet


def demo(
    folder: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            rich_help_panel=OUTPUT,
            help="Folder for the results; made if needed.",
        ),
    ] = Path("kfine-demo"),
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR", help="Model to use; the packaged one if left out."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Raise the MR image inside pydicom's own package from 64x64 to 128x128.

    Needs no data and no network. Writes the image, its uncertainty, what was
    done, and a picture to look at.

    [bold]kfine demo[/bold]
    """
    from kfine.cli.restored import RestorationFiles, summary, write_restoration

    files = RestorationFiles.of(folder / "mr_small.nii.gz", folder / "mr_small.png")
    with made_folder(folder), plain_warnings(quiet=quiet):
        check_outputs(files.all, overwrite=overwrite)
        from pydicom.data import get_testdata_file

        from kfine.io import read
        from kfine.restoration import restore

        low = read(Path(str(get_testdata_file("MR_small.dcm", download=False))))
        with progress("restoring", quiet=quiet) as on_progress:
            result = restore(low, scale=2, model=model, on_progress=on_progress)
        written = write_restoration(result, low, files, overwrite=overwrite)
    if not quiet:
        say(summary(result), *written, f"The picture: {(folder / 'mr_small.png').resolve()}")
