"""Values of one frame: from its own functional group, the shared one, or the top level of the header."""

from __future__ import annotations

from typing import Any


def group_value(header: Any, index: int, where: tuple[str, str]) -> Any:
    """Return a value of frame `index` from its own functional group, the shared one or the top level, in this order.

    Args:
        header: a data set of pydicom.
        index: from 0.
        where: the keywords of the group's sequence and of the value in it.
    """
    sequence, keyword = where
    for group in _groups(header, index):
        items = group.get(sequence)
        if items and items[0].get(keyword) is not None:
            return items[0].get(keyword)
    return header.get(keyword)


def _groups(header: Any, index: int) -> list[Any]:
    """Return the functional groups of frame `index`, its own first.  Classic files may carry an empty one."""
    own, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    return [*(own[index : index + 1] if own else []), *(shared[:1] if shared else [])]
