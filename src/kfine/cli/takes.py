"""Options that several commands take alike, written down once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def takes(**makers: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let commands take the options of others' signatures: `@takes(run=Run)` makes the argument `run` a `Run`.

    typer reads a command's options from its signature. In the one that it sees here, each argument named in
    `makers` gives way to the arguments of its maker, which is called with their values.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        shared = {name: _options(maker) for name, maker in makers.items()}
        seen: list[inspect.Parameter] = []
        for option in _options(command):
            seen += shared.get(option.name, [option])

        @functools.wraps(command)
        def taking(**given: Any) -> None:
            for name, maker in makers.items():
                given[name] = maker(**{option.name: given.pop(option.name) for option in shared[name]})
            command(**given)

        taking.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
        taking.__annotations__ = {option.name: option.annotation for option in seen}
        return taking

    return wrap


def _options(function: Callable[..., Any]) -> list[inspect.Parameter]:
    options = inspect.signature(function, eval_str=True).parameters.values()
    # So that those with a default may come before those without.
    return [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
