"""kfine bench: speed of this machine, and estimated times and memory of usual studies."""

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
    """Measure the speed of this machine for a few seconds and estimate times and memory of usual studies.

    These are upper estimates: the times for images without empty slices, the memory without --memory of kfine restore.
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
    from kfine.text import human_size

    out.print(machine(), markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("study", "restored to", "method", "time", "memory"):
        table.add_column(column)
    for study in found:
        cost = (f"about {duration(study.seconds)}", f"about {human_size(study.memory)}")
        table.add_row(study.title, study.restored, study.method, *cost)
    out.print(table)
