"""kfine serve: local web page to restore and view images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kfine.cli.console import say
from kfine.cli.parameters import FLAG


def serve(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of images that the page offers; only uploads if left out.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 is any that is free.")
    ] = 0,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to serve at. Any other than 127.0.0.1 is reachable by other machines and needs a password in "
            "the environment variable KFINE_PASSWORD.",
        ),
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", metavar=FLAG, help="Print the address without opening a browser."),
    ] = False,
) -> None:
    """Open a page in the browser: choose an image, restore it, view it.

    The page shows before, after and uncertainty side by side. It works without
    a network; nothing leaves this machine. Its address contains a secret token.
    Ctrl-C ends it and removes uploads and results; unfinished work continues
    with the next run.

    [bold]kfine serve[/bold]
    [bold]kfine serve STUDIES --port 8000 --no-browser[/bold]
    """
    from kfine.serve.server import PASSWORD, Address, serve

    address = Address(host, port, os.environ.get(PASSWORD))
    serve(folder, address, browser=not no_browser, announce=say)
