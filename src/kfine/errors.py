"""Errors for the user with their exit codes, and warnings as notes.

Every message is one line: what was expected, what came, what to do.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kfine.text import literal

SOME_FAILED = 3
EXIT_CODES = {
    0: "done",
    1: "a fault of kfine itself",
    2: "usage: the call is wrong",
    SOME_FAILED: "batch, benchmark: some cases failed, the others are done",
    4: "bad input",
    5: "model: missing, damaged or foreign",
    6: "resources: memory, disk, device or an optional package",
    7: "verify, replay: not what the record says",
    8: "restore --strict: the image is unlike those that the model was trained on",
    130: "interrupted (143: terminated): nothing half-written",
}
TRACEBACK = "KFINE_TRACEBACK"


class KfineError(Exception):
    """An error whose message is meant for the user; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(KfineError):
    """The call itself is wrong: contradictory, missing or unknown options."""

    exit_code = 2


class InputError(KfineError):
    """The input file or array cannot be used."""

    exit_code = 4


class ModelError(KfineError):
    """The model cannot be found, read or trusted."""

    exit_code = 5


class ResourceError(KfineError):
    """The machine lacks memory, disk, a device or an optional package."""

    exit_code = 6


class MismatchError(KfineError):
    """Files contradict their record."""

    exit_code = 7


class DomainError(KfineError):
    """The image is not known to be like those that the model was trained on."""

    exit_code = 8


class Terminated(BaseException):
    """The process received signal `number`, which ends it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is Python's, or torch's on a processor or a device, for lack of memory."""
    # By its name, without importing torch.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def verdict(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the message for what ended a command."""
    if isinstance(error, KfineError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "; ".join(["interrupted; nothing half-written", *getattr(error, "__notes__", ())])
    if isinstance(error, Terminated):
        said = ["terminated; nothing half-written", *getattr(error, "__notes__", ())]
        return 128 + error.number, "; ".join(said)
    if hasattr(error, "format_message"):  # click's usage errors, wherever this version of typer keeps them
        context = getattr(error, "ctx", None)
        help_of = context.command_path if context else "kfine"
        return 2, f"{error.format_message().rstrip('. ')} (see {help_of} --help)"
    if is_out_of_memory(error):
        if type(error).__name__ == "OutOfMemoryError":
            return 6, "out of memory on the device; use device='cpu' or fewer samples"
        return (
            6,
            "out of memory; restore fewer slices at a time with slices=(A, B), or ask for fewer samples",
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 6, f"{where}the system refuses to go on ({error.strerror or type(error).__name__})"
    return 1, (
        f"unexpected {type(error).__name__}: {error}; a fault of kfine: please report it, "
        f"{TRACEBACK}=1 in the environment shows where"
    )


@contextmanager
def collected_notes(on_note: Callable[[str], None] = lambda note: None) -> Iterator[list[str]]:
    """Collect kfine's own warnings as printable lines, each once; hide those of the libraries below.

    Yields the list that these lines are added to.

    Args:
        on_note: called with each line.
    """
    notes: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = literal(message)
        if line not in notes:
            notes.append(line)
            on_note(line)

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # matplotlib logs that it builds its font cache
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module=r"kfine\.")
            warnings.showwarning = show
            yield notes
    finally:
        logging.disable(disabled)
