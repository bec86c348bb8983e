"""kfine bench: speed of this machine, and estimated times of usual studies."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kfine.cli.console import out, progress, say_json
from kfine.cli.parameters import MACHINE, MODEL, AsJson, Quiet


def bench(
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MODEL,
            help="Method to time; repeat it for several.  The default methods if left out.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=MACHINE,
            help="Threads of the processor; PyTorch's choice if left out.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the speed of this machine for a few seconds and estimate the times of usual studies.

    The times are upper estimates, for images without empty slices.
    """
    import torch

    from kfine.benchmark.cases import machine
    from kfine.restoration.pace import studies

    if threads:
        torch.set_num_threads(threads)
    with progress("timing", quiet=quiet) as bar:
        found = list(studies(tuple(method or ()), on_study=bar))
    if as_json:
        say_json({"machine": machine(), "studies": [study.as_dict() for study in found]})
        return
    from kfine.restoration.progress import duration

    out.print(machine(), markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("study", "restored to", "method", "time"):
        table.add_column(column)
    for study in found:
        table.add_row(study.title, study.restored, study.method, f"about {duration(study.seconds)}")
    out.print(table)
