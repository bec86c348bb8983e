"""The training loop: the same on one CPU, several GPUs or several nodes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from kfine.checkpoint import save_model
from kfine.diffusion.losses import antithetic_times
from kfine.errors import ResourceError, UsageError
from kfine.networks.vdm import VDM
from kfine.training.config import OptimiserConfig, TrainingConfig
from kfine.training.data import PatchDataset, split_volumes
from kfine.training.objective import Objective
from kfine.training.progress import Log, Validation, sample_sheet
from kfine.training.state import Ema, load_state, save_state

LOG_EVERY = 25


@dataclass(frozen=True)
class Devices:
    """Where to train, as Lightning Fabric names it: accelerator ("cpu", "cuda", "auto"), devices and nodes."""

    accelerator: str = "auto"
    devices: int | str = 1
    nodes: int = 1


def train(
    config: TrainingConfig,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    devices: Devices | None = None,
    tensorboard: bool = False,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Path:
    """Train a VDM and return the folder of its model, `out`/model.

    `out` also receives checkpoint.safetensors, log.csv and samples/*.png as training goes on.

    Args:
        config: the checked configuration.
        data: folder of NIfTI files or DICOM series.
        out: folder of the run; made if it is not there.
        resume: go on from `out`/checkpoint.safetensors.
        devices: one device of the best kind by default.
        tensorboard: write TensorBoard events to `out`/tensorboard too.
        on_step: called on the first process after every update with (step, loss in nats a pixel).

    Raises:
        UsageError: a run is there already and `resume` is false, or nothing is there to resume.
        InputError: no usable training data.
        ResourceError: Lightning Fabric is not installed.
    """
    fabric = _fabric(config, devices or Devices())
    checkpoint = out / "checkpoint.safetensors"
    if resume and not checkpoint.exists():
        raise UsageError(
            f"{out.name}: expected checkpoint.safetensors to resume from, found none; train without --resume"
        )
    if not resume and checkpoint.exists():
        raise UsageError(
            f"{out.name}: holds a run already; add --resume to go on with it or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    fabric.launch()
    options = config.optimiser
    torch.manual_seed(options.seed)
    train_paths, validation_paths = split_volumes(data, config.data.validation)
    network = VDM(**config.network.model_dump())
    objective, optimiser = fabric.setup(
        Objective(network, centre=options.weight_centre),
        _optimiser(network, options),
    )
    ema = Ema(network, options.ema)
    first = load_state(checkpoint, network=network, ema=ema, optimiser=optimiser.optimizer) if resume else 0
    run = objective
    if options.compile:
        network.unet.compile()
        if network.predictor:
            network.predictor.compile()
    log = Log(out / "log.csv", resumed_at=first)
    writer = _tensorboard(out) if tensorboard and fabric.is_global_zero else None
    validation = (
        Validation(validation_paths, config.report, memory_gib=config.data.memory_gib)
        if validation_paths and fabric.is_global_zero
        else None
    )
    batches = iter(_batches(config, train_paths, fabric, first))
    losses: list[Tensor] = []
    began = time.monotonic()
    for step in range(first + 1, options.steps + 1):
        _set_rates(optimiser, options, step)
        x, scan = fabric.to_device(next(batches)).split(1, dim=1)
        loss, prediction = run(x, scan, *_draws(x, options, step, fabric))
        fabric.backward(loss + prediction if network.predictor else loss)
        for group in optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], options.clip)
        optimiser.step()
        optimiser.zero_grad()
        ema.update(network, step)
        losses.append(fabric.all_reduce(torch.stack([loss, prediction]).detach()))
        if not fabric.is_global_zero:
            continue
        on_step(step, float(losses[-1][0]))
        last = step == options.steps
        saves = last or step % config.report.checkpoint == 0
        if step % LOG_EVERY == 0 or saves:
            mean_loss, mean_prediction = torch.stack(losses).mean(0).tolist()
            figures = {"loss": mean_loss, "prediction": mean_prediction, "seconds": time.monotonic() - began}
            losses.clear()
            if validation and (last or step % config.report.validate_every == 0):
                figures |= validation.figures(
                    _averaged(network, ema), fabric.device, conditioned=options.unconditional < 1
                )
            log.add(step=step, **figures)
            if writer:
                for name, value in figures.items():
                    writer.add_scalar(name, value, step)
        if saves:
            save_state(checkpoint, network=network, ema=ema, optimiser=optimiser.optimizer, step=step)
            save_model(out / "model", _averaged(network, ema), _description(config, step, log))
        if last or step % config.report.picture == 0:
            sheet = out / "samples" / f"step-{step:07d}.png"
            sample_sheet(_averaged(network, ema), sheet, matrix=config.report.matrix[1], device=fabric.device)
    fabric.barrier()
    return out / "model"


def _fabric(config: TrainingConfig, devices: Devices) -> Any:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise ResourceError("training needs Lightning Fabric: pip install 'kfine[train]'") from None
    precision = {"float32": "32-true", "bfloat16": "bf16-mixed"}[config.optimiser.precision]
    return Fabric(
        accelerator=devices.accelerator, devices=devices.devices, num_nodes=devices.nodes, precision=precision
    )


def _optimiser(network: VDM, options: OptimiserConfig) -> torch.optim.Optimizer:
    groups = [
        {"params": list(network.unet.parameters()), "lr": options.learning_rate},
        {"params": list(network.gamma.parameters()), "lr": options.gamma_learning_rate},
    ]
    if network.predictor:
        groups.append({"params": list(network.predictor.parameters()), "lr": options.predictor_learning_rate})
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)


def _set_rates(optimiser: Any, options: OptimiserConfig, step: int) -> None:
    # Warm restarts: Loshchilov and Hutter, SGDR (ICLR 2017).
    first = max((after for after in options.restarts if after < step), default=0)
    last = min((after for after in options.restarts if after >= step), default=options.steps)
    warm = min(1.0, (step - first) / max(1, options.warmup))
    cosine = 0.505 + 0.495 * math.cos(math.pi * (step - first) / (last - first))
    peaks = (options.learning_rate, options.gamma_learning_rate, options.predictor_learning_rate)
    for group, peak in zip(optimiser.param_groups, peaks, strict=False):
        group["lr"] = peak * warm * cosine


def _batches(config: TrainingConfig, paths: list[Path], fabric: Any, first: int) -> Any:
    """Return the loader of this process's share of every batch from step `first` + 1 on."""
    options, processes = config.optimiser, fabric.world_size
    if options.batch % processes:
        raise UsageError(f"batch {options.batch}: expected a multiple of the {processes} processes")
    total = options.steps * options.batch
    patches = PatchDataset(paths, config.data, seed=options.seed, length=total, batch=options.batch)
    mine = range(first * options.batch + fabric.global_rank, total, processes)
    return DataLoader(Subset(patches, mine), batch_size=options.batch // processes)


def _draws(x: Tensor, options: OptimiserConfig, step: int, fabric: Any) -> tuple[Tensor, ...]:
    """Return which patches diffusion sees the scan of, the times and the two noises; of (seed, step, process) alone."""
    generator = torch.Generator().manual_seed((options.seed * 1_000_003 + step) * 4096 + fabric.global_rank)
    kept = (torch.rand(len(x), generator=generator) >= options.unconditional).float()
    t = antithetic_times(len(x), generator)
    noises = (torch.randn(x.shape, generator=generator) for _ in range(2))
    return tuple(fabric.to_device(draw) for draw in (kept, t, *noises))


def _averaged(network: VDM, ema: Ema) -> VDM:
    averaged = copy.deepcopy(network).eval()
    ema.copy_to(averaged)
    return averaged


def _description(config: TrainingConfig, step: int, log: Log) -> dict[str, Any]:
    """Return what config.json says of the model: how it was made, and its last validation figures."""
    measured = [row for row in log.rows if row.get("psnr_mean")]
    return {
        "method": config.method,
        "network": config.network.model_dump(mode="json"),
        # Only a network that was shown scans may be given one.
        "sampling": {"conditioned": config.optimiser.unconditional < 1},
        "training": config.model_dump(mode="json", exclude={"network", "method", "report"})
        | {"finished_steps": step},
        "validation": measured[-1] if measured else {},
    }


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ResourceError("the TensorBoard log needs its package: pip install 'kfine[log]'") from None
    return SummaryWriter(str(out / "tensorboard"))
