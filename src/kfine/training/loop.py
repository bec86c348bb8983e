"""Training loop of all tasks, on one CPU, several GPUs or several nodes."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.process
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from kfine.errors import KfineError, ResourceError, UsageError
from kfine.models.devices import choose_device, choose_precision
from kfine.training.config import BaseOptimiserConfig
from kfine.training.muon import Muon
from kfine.training.reports import CHECKPOINT, PREVIOUS, Reports
from kfine.training.state import Ema, State
from kfine.training.tasks.base import Learner, LossStep, Task, Turn

_SPARE = 2  # number of longest updates, with their reports, that must fit into the remaining time
_SHARE, _MOST = 0.02, 60.0  # fraction of the limit, and seconds, reserved for the last checkpoint


@dataclass(frozen=True)
class Devices:
    """Devices to train on.

    Attributes:
        accelerator: Lightning Fabric's name: "cpu", "cuda", "auto".
        devices: number of devices per node, with one process each.
        nodes: number of nodes.
        workers: data workers per device; the items do not depend on their number.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    nodes: int = 1
    workers: int = 1


def train(
    task: Task,
    *,
    out: Path,
    resume: bool = False,
    devices: Devices | None = None,
    tensorboard: bool = False,
    max_time: float | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Path:
    """Run `task` and return the folder of its model, `out`/model.

    The latest two checkpoints, log.csv and samples/*.png are written to `out` during the run.

    Args:
        task: networks, data and losses.
        out: folder of the run; created if missing.
        resume: whether to continue from `out`/checkpoint.safetensors; if it is damaged, from the one before.
        devices: None: one device of the best kind.
        tensorboard: whether to write TensorBoard events to `out`/tensorboard too.
        max_time: seconds within which the run ends with a checkpoint, from which `resume` continues.
        on_step: called on the first process after every update with (step, loss).

    Warns:
        UserWarning: the run ended because of `max_time`; the checkpoint is damaged and the one before is used; a data
            worker was killed and is restarted.

    Raises:
        UsageError: `out` holds a run and `resume` is false, or `out` holds no run to resume.
        InputError: no usable training data.
        ModelError: both checkpoints are damaged, or of another network.
        ResourceError: Lightning Fabric is not installed; data workers were killed twice.
    """
    devices = devices or Devices()
    options = task.config.optimiser
    fabric = _fabric(options, devices)
    limit = TimeLimit(max_time, fabric)
    _check_folder(out, resume=resume)
    out.mkdir(parents=True, exist_ok=True)
    fabric.launch()
    torch.manual_seed(options.seed)
    network = task.open(resumed=resume, reports=fabric.is_global_zero)
    learners = task.learners()
    objectives, optimisers = _set_up(learners, fabric)
    state = State(
        {name: learner.module for name, learner in learners.items()} | task.fixed(),
        {name: optimiser.optimizer for name, optimiser in optimisers.items()},
        Ema(network, options.ema),
    )
    first = state.load_latest(out / CHECKPOINT, out / PREVIOUS) if resume else 0
    if options.compile:
        # The adaptive weight of the adversarial loss differentiates a compiled network twice.
        functorch.donated_buffer = False
        for part in task.hot_parts():
            part.compile()
    reports = Reports(
        task,
        state,
        out,
        resumed_at=first,
        device=fabric.device,
        tensorboard=tensorboard and fabric.is_global_zero,
    )
    if fabric.is_global_zero:
        reports.draw_missing_picture(first)
    batches = _batches(task, fabric, first=first, workers=devices.workers)
    for step in range(first + 1, options.steps + 1):
        for name, learner in learners.items():
            _set_rates(optimisers[name], learner, options, step)
        turn = _turn(options, fabric, step)
        descents = task.descents(fabric.to_device(next(batches)), objectives, turn)
        figures = _descend(descents, optimisers, fabric, clip=options.clip)
        state.ema.update(network, step)
        means = fabric.all_reduce(torch.stack(list(figures.values())).detach())
        ends = step < options.steps and limit.over()
        if fabric.is_global_zero:
            on_step(step, float(means[0]))
            reports.after(step, tuple(figures), means, ends=ends)
        if ends:
            if fabric.is_global_zero:
                _warn_ended(step, options.steps)
            break
    fabric.barrier()
    return reports.model


def _warn_ended(step: int, steps: int) -> None:
    warnings.warn(
        f"ended after update {step} of {steps}, as the time is over; add resume=True to go on",
        UserWarning,
        stacklevel=2,
    )


def _descend(
    descents: Iterable[LossStep], optimisers: dict[str, Any], fabric: Any, *, clip: float
) -> dict[str, Tensor]:
    """Take the optimisers' steps for the losses of an update, in order, and return their figures."""
    figures: dict[str, Tensor] = {}
    for name, loss, of_this in descents:
        fabric.backward(loss)
        optimiser = optimisers[name]
        for group in optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], clip)
        optimiser.step()
        optimiser.zero_grad()
        figures |= of_this
    return figures


def _check_folder(out: Path, *, resume: bool) -> None:
    there = any((out / name).exists() for name in (CHECKPOINT, PREVIOUS))
    if resume and not there:
        raise UsageError(
            f"{out.name}: expected {CHECKPOINT} to resume from, found none; train without resume=True"
        )
    if not resume and there:
        raise UsageError(
            f"{out.name}: holds a run already; add resume=True to go on with it or choose another folder"
        )


def _fabric(options: BaseOptimiserConfig, devices: Devices) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ResourceError("training needs Lightning Fabric: pip install 'kfine[train]'") from None
    lowered = choose_precision(options.precision, choose_device(devices.accelerator)) == torch.bfloat16
    precision = "bf16-mixed" if lowered else "32-true"
    return Fabric(
        accelerator=devices.accelerator, devices=devices.devices, num_nodes=devices.nodes, precision=precision
    )


def _set_up(learners: dict[str, Learner], fabric: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the objectives and the optimisers by name, set up by Fabric."""
    objectives, optimisers = {}, {}
    for name, learner in learners.items():
        groups = [{"params": group.parameters, "lr": group.rate} for group in learner.groups]
        optimiser: torch.optim.Optimizer
        if any(group.orthogonal for group in learner.groups):
            kinds = ({"orthogonal": group.orthogonal} for group in learner.groups)
            marked = [group | kind for group, kind in zip(groups, kinds, strict=True)]
            optimiser = Muon(marked, betas=learner.betas)
        else:
            optimiser = torch.optim.Adam(groups, betas=learner.betas, fused=True)
        objectives[name], optimisers[name] = fabric.setup(learner.objective, optimiser)
    return objectives, optimisers


def _set_rates(optimiser: Any, learner: Learner, options: BaseOptimiserConfig, step: int) -> None:
    rate = _rate(options, step)
    for group, settings in zip(optimiser.param_groups, learner.groups, strict=True):
        group["lr"] = settings.rate * rate


def _rate(options: BaseOptimiserConfig, step: int) -> float:
    """Return the learning rate of an update, as a fraction of its peak."""
    if options.schedule == "constant":
        # Warm up, stay, decay: Hu et al., MiniCPM (2024); Hagele et al., NeurIPS 2024.
        left = (options.steps - step) / options.decay if options.decay else 1.0
        return min(1.0, step / max(1, options.warmup), left)
    # Warm restarts: Loshchilov and Hutter, SGDR (ICLR 2017).
    first = max((after for after in options.restarts if after < step), default=0)
    last = min((after for after in options.restarts if after >= step), default=options.steps)
    warm = min(1.0, (step - first) / max(1, options.warmup))
    cosine = 0.505 + 0.495 * math.cos(math.pi * (step - first) / (last - first))
    return warm * cosine


def _batches(task: Task, fabric: Any, *, first: int, workers: int) -> Iterator[Any]:
    """Return this process's share of every batch from update `first` + 1 on, prefetched by `workers`."""
    options, processes = task.config.optimiser, fabric.world_size
    if options.batch % processes:
        raise UsageError(f"batch {options.batch}: expected a multiple of the {processes} processes")
    total = options.steps * options.batch
    dataset, share = task.dataset(total), options.batch // processes

    def loader(done: int) -> DataLoader[Any]:
        mine = range(done * options.batch + fabric.global_rank, total, processes)
        return DataLoader(
            Subset(dataset, mine),
            batch_size=share,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            generator=torch.Generator(),  # otherwise the loader would advance the generator of the updates
        )

    return _restarting_once(loader, first)


def _restarting_once(loader: Callable[[int], DataLoader[Any]], done: int) -> Iterator[Any]:
    """Yield the batches of `loader(done)`; after killed workers a new loader continues with the missing batch, once.

    Items do not depend on the worker that prepares them, so the run is unchanged.
    """
    restarted = False
    while True:
        others = set(multiprocessing.active_children())
        batches = iter(loader(done))
        workers = [child for child in multiprocessing.active_children() if child not in others]
        _reset_sigchld()
        try:
            for batch in _without_worker_traceback(batches):
                yield batch
                done += 1
            return
        except (RuntimeError, OSError, EOFError):  # raised by the loader, or by the connection to a worker
            ended = _ended(workers)
            if not ended:
                raise
            what = f"data worker ended before update {done + 1}: {ended}, often for lack of memory"
            if restarted:
                raise ResourceError(
                    f"again a {what}; give fewer workers and go on with resume=True"
                ) from None
            warnings.warn(f"a {what}; it is started again", UserWarning, stacklevel=2)
            restarted = True


def _ended(workers: list[multiprocessing.process.BaseProcess]) -> str:
    """Return a description of the `workers` that were killed or failed, "" if none."""
    for worker in workers:
        worker.join(0.2)  # a worker whose connection is lost may not have ended yet
    killed = {worker.pid: worker.exitcode for worker in workers if worker.exitcode}
    return ", ".join(
        f"process {pid} ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
        for pid, code in killed.items()
    )


def _reset_sigchld() -> None:
    """Remove torch's handler of SIGCHLD, which raises an error anywhere, even during an update.

    The loader detects a killed worker itself while it waits for the batch.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return
    if getattr(signal.getsignal(signal.SIGCHLD), "__module__", "").startswith("torch.utils.data"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _without_worker_traceback(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield `batches`; errors of kfine are raised without the traceback that a worker prepends."""
    try:
        yield from batches
    except KfineError as error:
        kind = type(error)
        last = str(error).strip().splitlines()[-1]
        raise kind(last.removeprefix(f"{kind.__module__}.{kind.__name__}: ")) from None


def _turn(options: BaseOptimiserConfig, fabric: Any, step: int) -> Turn:
    """Return the update, its generator and torch's global one seeded by (seed, step, process)."""
    seed = (options.seed * 1_000_003 + step) * 4096 + fabric.global_rank
    torch.manual_seed(seed)
    return Turn(step, torch.Generator().manual_seed(seed), fabric.to_device)


class TimeLimit:
    """Time limit of a run, which ends with a checkpoint before the wall time of its job.

    Args:
        seconds: from now on; None: no limit.
        fabric: Lightning Fabric's object, whose first process decides for all.
        clock: returns seconds; replaced in tests.
    """

    def __init__(
        self, seconds: float | None, fabric: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._fabric, self._clock = seconds, fabric, clock
        self._began = self._latest = clock()
        self._longest = 0.0

    def over(self) -> bool:
        """Return whether the run ends with this update; to be called once in each update."""
        if self._seconds is None:
            return False
        now = self._clock()
        self._longest, self._latest = max(self._longest, now - self._latest), now
        needed = _SPARE * self._longest + min(_MOST, _SHARE * self._seconds)
        ends = torch.tensor(float(now - self._began + needed > self._seconds), device=self._fabric.device)
        return bool(self._fabric.broadcast(ends) > 0)
