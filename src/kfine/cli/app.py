"""The application and its commands; each command imports heavy modules when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from kfine.cli.batch import batch
from kfine.cli.bench import bench
from kfine.cli.benchmark import benchmark
from kfine.cli.calibrate import calibrate
from kfine.cli.demo import demo
from kfine.cli.evaluate import degrade, evaluate
from kfine.cli.info import info
from kfine.cli.models import models
from kfine.cli.parameters import FLAG
from kfine.cli.restore import restore
from kfine.cli.serve import serve
from kfine.cli.train import train_app
from kfine.cli.verify import replay, verify
from kfine.errors import EXIT_CODES

_CODES = "\n".join(f"  {code:3} {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=f"Exit codes:\n{_CODES}\n\nResearch software, not a medical device.",
)
app.command()(restore)
app.command()(batch)
app.command()(degrade)
app.command()(evaluate)
app.command()(benchmark)
app.command()(calibrate)
app.command()(verify)
app.command()(replay)
app.command()(info)
app.command()(models)
app.command()(bench)
app.command()(demo)
app.command()(serve)
app.add_typer(train_app, name="train")


def _print_version(requested: bool) -> None:
    if requested:
        from kfine._version import __version__

        typer.echo(f"kfine {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _kfine(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar=FLAG, is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Low-resolution MR images in, high-resolution ones out, with how far to trust each voxel.

    Start with [bold]kfine demo[/bold], or [bold]kfine restore scan.nii.gz --scale 2[/bold].
    Help on each command: [bold]kfine restore --help[/bold].
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
