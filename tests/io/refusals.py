"""What every refusal must look like: one printable line, the right class, no patient."""

from collections.abc import Callable
from typing import Any

import pytest

from kfine.errors import KfineError


def refused(kind: type[KfineError], part: str, call: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Check that `call` raises `kind` in one line that contains `part`; return the line."""
    with pytest.raises(KfineError) as caught:
        call(*args, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert part in message
    assert message.isprintable()
    assert len(message) > 20
    assert "ecretova" not in message
    assert "47110815" not in message
    return message
