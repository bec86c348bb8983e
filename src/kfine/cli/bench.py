"""kfine bench: the pace of this machine, and what ordinary studies take."""

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
            help="Methods to time, each with an option of its own; the default ones if left out.",
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
    """Measure this machine for a few seconds and say what studies take on it.

    The times are of images without empty slices, the longest there are.
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
