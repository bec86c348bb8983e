"""The figures of a run: log.csv, and TensorBoard where asked for."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kfine.errors import ResourceError
from kfine.models.checkpoint import replace_bytes


class Log:
    """Rows of figures in a CSV file; rows of steps that a resumed run will do again are dropped.

    Every row ends with "seconds", the time spent on the run so far, over all its resumptions.
    """

    def __init__(self, path: Path, *, resumed_at: int, tensorboard: Path | None = None) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.exists() and resumed_at:
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= resumed_at]
        self._spent = max((float(row["seconds"]) for row in self.rows), default=0.0)
        self._began = time.monotonic()
        self._events = _events(tensorboard) if tensorboard else None

    @property
    def seconds(self) -> float:
        """Seconds spent on the run, up to now."""
        return self._spent + time.monotonic() - self._began

    def add(self, step: int, **figures: float) -> None:
        """Append a row and rewrite the file."""
        self.rows.append({"step": str(step)} | {name: f"{value:.6g}" for name, value in figures.items()})
        names = dict.fromkeys(name for row in self.rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        replace_bytes(self.path, text.getvalue().encode())
        if self._events:
            for name, value in figures.items():
                self._events.add_scalar(name, value, step)

    def validation(self) -> dict[str, str]:
        """Return the last row that holds validation figures, or nothing."""
        measured = [
            row for row in self.rows if any(row.get(name) for name in row if name.startswith("psnr_"))
        ]
        return measured[-1] if measured else {}


class Means:
    """The means of an update's figures since the last row of the log."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._values: list[Tensor] = []

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Take in the figures of an update: `values` (name,); begins anew when there are others than before."""
        if names != self._names:
            self._names, self._values = names, []
        self._values.append(values)

    def taken(self) -> dict[str, float]:
        """Return the means by name and begin anew."""
        means = torch.stack(self._values).mean(0).tolist()
        self._values = []
        return dict(zip(self._names, means, strict=True))


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ResourceError("the TensorBoard log needs its package: pip install 'kfine[log]'") from None
    return SummaryWriter(str(folder))
