"""What the first process of a run writes as training goes on: log, checkpoint, model, pictures."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kfine.models.checkpoint import save_model
from kfine.training.log import Log, Means
from kfine.training.state import State
from kfine.training.tasks.base import Task

LOG_EVERY = 25
CHECKPOINT = "checkpoint.safetensors"


class Reports:
    """The files below `out`, each replaced as a whole: a run may be killed at any time.

    Args:
        task: what is trained.
        state: what a checkpoint holds.
        out: folder of the run.
        resumed_at: the number of updates done before.
        device: where validation runs.
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

    def after(self, step: int, names: tuple[str, ...], values: Tensor) -> None:
        """Take in the figures of update `step`, `values` (name,), and write whatever is due."""
        report = self.task.config.report
        self.means.add(names, values)
        last = step == self.task.config.optimiser.steps
        saves = last or step % report.checkpoint == 0
        validates = last or step % report.validate_every == 0
        if step % LOG_EVERY == 0 or saves or validates:
            figures = self.means.taken() | {"seconds": self.log.seconds}
            if validates:
                figures |= self.task.figures(self._averaged(), self.device)
            self.log.add(step, **figures)
        if saves:
            # The checkpoint last: a run killed in between goes on from the one before and writes the model again.
            save_model(self.model, self._averaged(), self._description(step))
            self.state.save(self.out / CHECKPOINT, step=step)
        if last or step % report.picture == 0:
            self.task.picture(self._averaged(), self.out / "samples" / f"step-{step:07d}.png", self.device)

    def _averaged(self) -> nn.Module:
        averaged = copy.deepcopy(self.state.modules["network"]).eval()
        self.state.ema.copy_to(averaged)
        return averaged

    def _description(self, step: int) -> dict[str, Any]:
        """Return what config.json says of the model: how it was made, and its last validation figures."""
        described = self.task.description()
        return described | {
            "training": described["training"] | {"finished_steps": step},
            "validation": self.log.validation(),
        }
