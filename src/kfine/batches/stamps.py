"""Content stamps: digests of the input and of the files of a finished case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from kfine.files.digests import digest_of, digest_of_json, output_digest
from kfine.files.side_files import read_small
from kfine.models.checkpoint import PACKAGED, Model, packaged_models

_STAMP = "stamp"


class State(Enum):
    """What there is where the results of a case belong."""

    FREE = "nothing"
    FINISHED = "the results of this case, whole"
    DAMAGED = "results of this case that are not whole, or a record that cannot be read"
    FOREIGN = "something else"


def text_digest(text: str) -> str:
    """Return the `output_digest` of a file that holds `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def input_digest(paths: Sequence[Path]) -> str:
    """Return one SHA-256 of the bytes of all `paths`, whatever their names."""
    return digest_of_json(sorted(digest_of(path) for path in paths))


def model_digest(model: Model | None) -> str:
    """Return one SHA-256 of a model's weights and settings; of None, those of all that "auto" may choose from."""
    if model is not None:
        return digest_of_json([model.digests, model.config])
    return digest_of_json([digest_of(PACKAGED / name / "config.json") for name in packaged_models()])


def stamped(content: dict[str, Any], *, key: str, files: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a record with a stamp.

    Args:
        content: JSON-ready, what the record says.
        key: digest of everything that decides the results.
        files: `output_digest` of each file or folder beside the record, by its name.
    """
    return content | {_STAMP: {"key": key, "outputs": dict(files), "record": digest_of_json(content)}}


def state_of(record: Path, *, key: str, outputs: Sequence[Path]) -> State:
    """Return what is at `record` and at `outputs` beside it, where the results of the case `key` belong.

    outputs: all that there may be; which of them there must be is in the record.
    """
    try:
        written = read_small(record)
        content = json.loads(written)
        stamp = content.pop(_STAMP)
        known, files, own = stamp["key"], dict(stamp["outputs"]), stamp["record"]
    except FileNotFoundError:
        return State.FOREIGN if any(path.exists() or path.is_symlink() for path in outputs) else State.FREE
    except (ValueError, RecursionError):  # no JSON
        return State.DAMAGED
    except (OSError, LookupError, TypeError, AttributeError):
        return State.FOREIGN
    if known != key:
        return State.FOREIGN
    whole = own == digest_of_json(content) and written.endswith(b"\n")
    alone = all(path.name in files or not path.exists() for path in outputs)
    same = (
        whole
        and alone
        and all(output_digest(record.parent / name) == digest for name, digest in files.items())
    )
    return State.FINISHED if same else State.DAMAGED
