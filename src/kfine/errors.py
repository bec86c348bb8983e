"""What can go wrong for a user, and the exit code that says so.

Every message is one line: what was expected, what came, what to do.
"""

from __future__ import annotations


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
