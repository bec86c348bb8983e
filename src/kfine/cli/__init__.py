"""The command line: thin typed commands around the library.  Exit codes are in `EXIT_CODES`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from kfine.files.signals import Terminated, end_on_signals, ignore_interrupts

SOME_FAILED = 3
EXIT_CODES = {
    0: "done",
    1: "a fault of kfine itself",
    2: "usage: the call is wrong",
    SOME_FAILED: "batch, benchmark: some cases failed, the others are done",
    4: "bad input",
    5: "model: missing, damaged or foreign",
    6: "resources: memory, disk, device or an optional package",
    130: "interrupted (143: terminated): nothing half-written",
}
TRACEBACK = "KFINE_TRACEBACK"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with one of `EXIT_CODES`."""
    end_on_signals()
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except (KeyboardInterrupt, Terminated):  # a second one, while the first was being reported
        code = 130
    if code > 128:
        ignore_interrupts()  # a third would only disturb the interpreter's own cleaning up
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; what went wrong is one line on stderr.

    With KFINE_TRACEBACK=1 in the environment a fault of kfine itself shows its traceback.
    """
    try:
        return _run(arguments)
    except BrokenPipeError:
        _drop_stdout()  # whoever read our output has seen enough; files are in place before anything is printed
        return 0
    except SystemExit as leave:
        if isinstance(leave.__context__, BrokenPipeError):  # how rich reports the same
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
    try:
        # Not command.main(): that one catches Ctrl-C and broken pipes in ways of its own.
        with command.make_context("kfine", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if sys.stdout is not None:
        sys.stdout.flush()
    return 0


def verdict(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message for what ended a command."""
    from kfine.errors import KfineError

    if isinstance(error, KfineError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted; nothing half-written"
    if isinstance(error, Terminated):
        return 128 + error.number, "terminated; nothing half-written"
    if hasattr(error, "format_message"):  # click's usage errors, wherever this version of typer keeps them
        context = getattr(error, "ctx", None)
        help_of = context.command_path if context else "kfine"
        return 2, f"{error.format_message().rstrip('. ')} (see {help_of} --help)"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return 6, "out of memory on the device; use --device cpu or fewer --samples"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return (
            6,
            "out of memory; restore fewer slices at a time with --slices A:B, or ask for fewer --samples",
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 6, f"{where}the system refuses to go on ({error.strerror or type(error).__name__})"
    return 1, (
        f"unexpected {type(error).__name__}: {error}; a fault of kfine: please report it, "
        f"{TRACEBACK}=1 in the environment shows where"
    )


def _say(message: str, code: int) -> int:
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"kfine: {line}", file=sys.stderr, flush=True)
    return code


def _drop_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush has nowhere to fail."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
