"""SLURM array script of a batch: parts, time and memory from one image that is restored and measured first."""

from __future__ import annotations

import math
import resource
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfine._version import __version__
from kfine.batches.manifest import Manifest
from kfine.batches.run import Run
from kfine.batches.worker import RESTORED
from kfine.errors import UsageError

_HOUR = 3600.0
_PART = _HOUR  # s of work a part has where their number is left out
_START, _SLACK = 120.0, 1.5  # s to start, and factor for slower machines
_ROOM = 1.3  # factor of the measured memory
_ROUND = 300  # s
_GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """One image, restored on this machine.

    Attributes:
        seconds: it took, the start of the network included.
        size: bytes of its files.
        memory: greatest of this process, bytes.
        threads: it used.
    """

    seconds: float
    size: int
    memory: int
    threads: int


def measure(manifest: Manifest, restore: Callable[[tuple[int, int]], Run]) -> Measured:
    """Return what the largest image that is not finished costs; it is finished then.

    restore: does one part (number, count) of the images.

    Raises:
        UsageError: there is none that can be restored.
    """
    import torch

    sizes = manifest.header()["bytes"]
    for index in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        outcome = next((one for one in restore((index, len(sizes))).outcomes if one.status == RESTORED), None)
        if outcome is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak *= 1 if sys.platform == "darwin" else 1024
            return Measured(outcome.seconds, sizes[index], peak, torch.get_num_threads())
    raise UsageError(
        "expected an image left to restore and measure: all are finished or fail, see status=True"
    )


def parts_of(sizes: Sequence[int], measured: Measured) -> int:
    """Return how many parts of about an hour the images of these `sizes` make."""
    return max(1, min(len(sizes), math.ceil(_seconds(sum(sizes), measured) / _PART)))


def script(
    command: Sequence[str],
    *,
    sizes: Sequence[int],
    measured: Measured,
    parts: int,
    image: str | None = None,
    binds: Sequence[Path] = (),
) -> str:
    """Return the script of an array of `parts` jobs.

    Args:
        command: that does the whole batch, its program first.
        sizes: bytes of the files of each image.
        measured: what the largest took.
        parts: number of jobs.
        image: Apptainer image in which the command runs; None for this environment.
        binds: folders that it needs.

    Slower machines have half as much time again; memory has 30 % more than was measured.
    """
    fullest = max(sum(sizes[number::parts]) for number in range(parts))
    seconds = _START + _SLACK * _seconds(fullest, measured)
    minutes = math.ceil(seconds / _ROUND) * _ROUND // 60
    memory = math.ceil(_ROOM * measured.memory / _GIB)
    inside = ["apptainer", "exec"]
    for folder in dict.fromkeys(binds):
        inside += ["--bind", str(folder)]
    whole = [*([*inside, image] if image else []), *command, "--num-parts", str(parts)]
    hours = _seconds(sum(sizes), measured) / _HOUR
    return f"""#!/bin/bash
# kfine {__version__}: {len(sizes)} images in {parts} jobs.
# Measured where this was written, on {measured.threads} cores: {measured.seconds:.0f} s and \
{measured.memory / _GIB:.1f} GiB for the largest image;
# {hours:.1f} hours for all of them, by the sizes of their files.  Adapt it to your machines.
# The same script again goes on where it ended: after a time limit or a failed node.
#SBATCH --job-name=kfine
#SBATCH --array=0-{parts - 1}
#SBATCH --cpus-per-task={measured.threads}
#SBATCH --mem={memory}G
#SBATCH --time={minutes // 60:02}:{minutes % 60:02}:00
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{measured.threads}}}"
exec {shlex.join(whole)} --part-id "$SLURM_ARRAY_TASK_ID"
"""


def _seconds(size: int, measured: Measured) -> float:
    return measured.seconds * size / max(1, measured.size)
