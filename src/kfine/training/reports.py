"""Reports of a training run, written by the first process: log, checkpoints, model, pictures."""

from __future__ import annotations

import copy
import csv
import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.errors import ResourceError
from kfine.files.atomic import atomic_file
from kfine.models.checkpoint import replace_bytes, save_model
from kfine.training.state import State, is_sound
from kfine.training.tasks.base import Task


class Log:
    """Rows of figures in a CSV file; rows of steps that a resumed run repeats are dropped.

    The column "seconds" is the time spent on the run so far, including the runs before it was resumed.
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
        """Seconds spent on the run so far."""
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
        """Return the last row with validation figures, or {}."""
        measured = [
            row for row in self.rows if any(row.get(name) for name in row if name.startswith("psnr_"))
        ]
        return measured[-1] if measured else {}


class Means:
    """Means of the figures of updates since the last row of the log."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._values: list[Tensor] = []

    def add(self, names: tuple[str, ...], values: Tensor) -> None:
        """Add the figures of an update, `values` (name,); if the names change, earlier figures are dropped."""
        if names != self._names:
            self._names, self._values = names, []
        self._values.append(values)

    def pop(self) -> dict[str, float]:
        """Return the means by name and drop the figures."""
        means = torch.stack(self._values).mean(0).tolist()
        self._values = []
        return dict(zip(self._names, means, strict=True))


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ResourceError("the TensorBoard log needs its package: pip install 'kfine[log]'") from None
    return SummaryWriter(str(folder))


LOG_EVERY = 25
CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "checkpoint-before.safetensors"


class Reports:
    """The files of a run, each replaced atomically: a run may be killed at any time.

    Args:
        task: the training task.
        state: content of a checkpoint.
        out: folder of the run.
        resumed_at: number of updates before the run was resumed.
        device: of the validation.
        tensorboard: whether to write TensorBoard events too.
    """

    def __init__(
        self,
        task: Task,
        state: State,
        out: Path,
        *,
        resumed_at: int,
        device: torch.device,
        tensorboard: bool,
    ) -> None:
        self.task, self.state, self.out, self.device = task, state, out, device
        self.model = out / "model"
        events = out / "tensorboard" if tensorboard else None
        self.log, self.means = Log(out / "log.csv", resumed_at=resumed_at, tensorboard=events), Means()

    def after(self, step: int, names: tuple[str, ...], values: Tensor, *, ends: bool = False) -> None:
        """Add the figures of update `step`, `values` (name,), and write the reports that are due, all if it `ends`."""
        report = self.task.config.report
        self.means.add(names, values)
        last = step == self.task.config.optimiser.steps
        saves = last or ends or step % report.checkpoint == 0
        validates = last or step % report.validate_every == 0
        if step % LOG_EVERY == 0 or saves or validates:
            figures = self.means.pop() | {"seconds": self.log.seconds}
            if validates:
                figures |= self.task.figures(self._averaged(), self.device)
            self.log.add(step, **figures)
        if saves:
            # The checkpoint last: a run killed in between resumes from the one before and writes the model again.
            save_model(self.model, self._averaged(), self._description(step))
            self._keep_previous_checkpoint()
            self.state.save(self.out / CHECKPOINT, step=step)
        self._picture(step)

    def _keep_previous_checkpoint(self) -> None:
        """Give an undamaged checkpoint a second name, which remains when the checkpoint is replaced."""
        if not is_sound(self.out / CHECKPOINT):
            return
        with atomic_file(self.out / PREVIOUS, overwrite=True) as partial:
            partial.unlink(missing_ok=True)
            try:
                os.link(self.out / CHECKPOINT, partial)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.out / CHECKPOINT, partial)

    def draw_missing_picture(self, step: int) -> None:
        """Draw the picture of the resumed checkpoint if it is missing because the run was killed before it."""
        if step and not self._picture_of(step).exists():
            self._picture(step)

    def _picture(self, step: int) -> None:
        if step == self.task.config.optimiser.steps or step % self.task.config.report.picture == 0:
            self.task.picture(self._averaged(), self._picture_of(step), self.device)

    def _picture_of(self, step: int) -> Path:
        return self.out / "samples" / f"step-{step:07d}.png"

    def _averaged(self) -> nn.Module:
        averaged = copy.deepcopy(self.state.modules["network"]).eval()
        self.state.ema.copy_to(averaged)
        return averaged

    def _description(self, step: int) -> dict[str, Any]:
        """Return the content of config.json: the task's description and the last validation figures."""
        described = self.task.description()
        return described | {
            "training": described["training"] | {"finished_steps": step},
            "validation": self.log.validation(),
        }
