"""Training loop of all tasks, on one CPU, several GPUs or several nodes."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.process
import signal
import threading
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
from kfine.training.time_limit import TimeLimit


@dataclass(frozen=True)
class Devices:
    """Where to train.

    Attributes:
        accelerator: as Lightning Fabric names it: "cpu", "cuda", "auto".
        devices: how many a node, a process each.
        nodes: how many machines.
        workers: processes that prepare items, for each device; the items do not depend on it.
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

    `out` also receives checkpoint.safetensors and the one before it, log.csv and samples/*.png as training goes on.

    Args:
        task: what to train, on what.
        out: folder of the run; made if it is not there.
        resume: go on from `out`/checkpoint.safetensors; where it is damaged, from the one before.
        devices: one device of the best kind by default.
        tensorboard: write TensorBoard events to `out`/tensorboard too.
        max_time: seconds after which the run ends with a checkpoint, to go on with `resume`; a little before them, so
            that it is written.
        on_step: called on the first process after every update with (step, loss).

    Warns:
        UserWarning: it ended for lack of time, after which update; the checkpoint is damaged, and the one before is
            used; a data worker was killed, and is started again.

    Raises:
        UsageError: a run is there already and `resume` is false, or nothing is there to resume.
        InputError: no usable training data.
        ModelError: the checkpoint and the one before are damaged, or of another network.
        ResourceError: Lightning Fabric is not installed; data workers were killed again and again.
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
        # The weight of an adversary differentiates a compiled network twice.
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
        reports.make_up(first)
    batches = _batches(task, fabric, first=first, workers=devices.workers)
    for step in range(first + 1, options.steps + 1):
        for name, learner in learners.items():
            _set_rates(optimisers[name], learner, options, step)
        turn = _turn(options, fabric, step)
        descents = task.descents(fabric.to_device(next(batches)), objectives, turn)
        figures = _descended(descents, optimisers, fabric, clip=options.clip)
        state.ema.update(network, step)
        means = fabric.all_reduce(torch.stack(list(figures.values())).detach())
        ends = step < options.steps and limit.over()
        if fabric.is_global_zero:
            on_step(step, float(means[0]))
            reports.after(step, tuple(figures), means, ends=ends)
        if ends:
            _say_ended(step, options.steps)
            break
    fabric.barrier()
    return reports.model


def _say_ended(step: int, steps: int) -> None:
    warnings.warn(
        f"ended after update {step} of {steps}, as the time is over; add resume=True to go on",
        UserWarning,
        stacklevel=2,
    )


def _descended(
    descents: Iterable[LossStep], optimisers: dict[str, Any], fabric: Any, *, clip: float
) -> dict[str, Tensor]:
    """Descend the losses of an update, one after the other, and return their figures."""
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
    """Return the objectives and the optimisers by name, spread over the devices."""
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
    """Return the learning rate of an update, as a part of its peak."""
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
    """Return this process's share of every batch from update `first` + 1 on, prepared ahead by `workers`."""
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
            generator=torch.Generator(),  # else it takes a number from the one that the update's own draws come from
        )

    return _with_a_restart(loader, first)


def _with_a_restart(loader: Callable[[int], DataLoader[Any]], done: int) -> Iterator[Any]:
    """Yield the batches of `loader(done)`; killed workers are replaced once, from the batch that is missing on.

    Items do not depend on the worker that prepares them, so that the run is the same.
    """
    restarted = False
    while True:
        others = set(multiprocessing.active_children())
        batches = iter(loader(done))
        workers = [child for child in multiprocessing.active_children() if child not in others]
        _leave_killed_workers_to_the_loader()
        try:
            for batch in _in_plain_words(batches):
                yield batch
                done += 1
            return
        except (RuntimeError, OSError, EOFError):  # of the loader, or of the connection to a worker
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
    """Return which of `workers` ended and how, "" if none did."""
    for worker in workers:
        worker.join(0.2)  # one whose connection is lost may not have ended quite
    killed = {worker.pid: worker.exitcode for worker in workers if worker.exitcode}
    return ", ".join(
        f"process {pid} ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
        for pid, code in killed.items()
    )


def _leave_killed_workers_to_the_loader() -> None:
    """Undo torch's handler of SIGCHLD, which raises anywhere, also in the middle of an update.

    The loader itself finds a killed worker when it waits for its batch.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return
    if getattr(signal.getsignal(signal.SIGCHLD), "__module__", "").startswith("torch.utils.data"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _in_plain_words(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield `batches`; an error for the user loses the traceback that a worker puts before it."""
    try:
        yield from batches
    except KfineError as error:
        kind = type(error)
        last = str(error).strip().splitlines()[-1]
        raise kind(last.removeprefix(f"{kind.__module__}.{kind.__name__}: ")) from None


def _turn(options: BaseOptimiserConfig, fabric: Any, step: int) -> Turn:
    """Return the update's randomness, of (seed, step, process) alone; layers that draw for themselves use it too."""
    seed = (options.seed * 1_000_003 + step) * 4096 + fabric.global_rank
    torch.manual_seed(seed)
    return Turn(step, torch.Generator().manual_seed(seed), fabric.to_device)
