"""kfine models: list of the packaged models."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from kfine.cli.console import out, say, say_json
from kfine.cli.parameters import AsJson
from kfine.text import literal


def models(as_json: AsJson = False) -> None:
    """List the packaged models, whose names --model accepts."""
    from kfine.models.checkpoint import PACKAGED, packaged_models, read_config

    configs = {name: read_config(PACKAGED / name) for name in packaged_models()}
    if as_json:
        say_json(configs)
        return
    if not configs:
        say("no packaged models; kfine train vdm trains one, --model FOLDER uses it")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "method", "trained on", "ranges", "weights"):
        table.add_column(column, overflow="fold")
    for name, config in configs.items():
        weights = PACKAGED / name / "model.safetensors"
        size = f"{weights.stat().st_size / 1e6:.1f} MB" if weights.is_file() else "missing"
        cells = (name, config["method"], config.get("trained_on", ""), _ranges(name, config), size)
        table.add_row(*(Text(literal(cell)) for cell in cells))
    out.print(table)


def _ranges(name: str, config: dict[str, Any]) -> str:
    """Return the ranges that a model was tested on, as text."""
    from kfine.models.domain import Domain

    return ", ".join(Domain.of(name, config).ranges.words().values())
