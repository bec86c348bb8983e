"""The command line: thin typed commands around the library.  Exit codes: `kfine.errors`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from kfine.allocator import reuse_freed_memory
from kfine.cli.parsers import as_options
from kfine.errors import TRACEBACK, Terminated, verdict
from kfine.files.signals import end_on_signals, ignore_interrupts
from kfine.text import one_line

COMPLETE = "_KFINE_COMPLETE"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with one of `kfine.errors.EXIT_CODES`."""
    end_on_signals()
    reuse_freed_memory()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except (KeyboardInterrupt, Terminated):  # a second one, while the first was being reported
        code = 130
    if code > 128:
        ignore_interrupts()  # a third would only disturb the exit of the interpreter
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; an error is one line on stderr.

    With KFINE_TRACEBACK=1 in the environment, internal errors of kfine are raised with their traceback.
    """
    try:
        return _run(arguments)
    except BrokenPipeError:
        _drop_stdout()  # the reader of our output has closed it; files are in place before anything is printed
        return 0
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # rich turns it into SystemExit
            return 0
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException as error:
        code, message = verdict(error)
        if code == 1 and os.environ.get(TRACEBACK):
            raise
        return _say(message, code)


def _run(arguments: list[str]) -> int:
    import typer

    from kfine.cli.app import app

    command = typer.main.get_command(app)
    if COMPLETE in os.environ:  # completion by the shell
        command.main(arguments, prog_name="kfine", complete_var=COMPLETE)
    try:
        # Not command.main(), which handles Ctrl-C and broken pipes differently.
        with command.make_context("kfine", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if sys.stdout is not None:
        sys.stdout.flush()
    return 0


def _say(message: str, code: int) -> int:
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"kfine: {as_options(one_line(message))}", file=sys.stderr, flush=True)
    return code


def _drop_stdout() -> None:
    """Redirect stdout to the null device, so that the interpreter's last flush does not fail."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
