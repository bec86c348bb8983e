"""Batches on clusters: Dask workers, and scripts of SLURM arrays.

Dask workers run on this machine, at a running scheduler, or in jobs of SLURM and other batch systems.  A worker
restores one case at a time, with one model, on its number of Dask threads.  Cases are claimed and stamped as in a batch
without Dask, so both can share one output.  All workers need the folders under the same paths.

The script of a SLURM array has the number of parts, time and memory from one image that is restored and measured first.
"""

from __future__ import annotations

import logging
import math
import os
import re
import resource
import shlex
import sys
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kfine._version import __version__
from kfine.allocator import reuse_freed_memory
from kfine.batches.finding import Case
from kfine.batches.worker import FAILED, RESTORED, Outcome, Plan, Worker
from kfine.errors import ResourceError, UsageError
from kfine.restoration.progress import Progress, Silent
from kfine.text import printable

# Names of --dask, and the classes of dask-jobqueue.
JOBS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
_EXPECTED = (
    f"expected local[:N], {', '.join(f'{name}[:N]' for name in JOBS)}, tcp://HOST:PORT, tls://HOST:PORT or a "
)
_EXPECTED += "scheduler file that ends in .json"
_PAUSE = 1.0  # s between checks of the workers
_ANSWER = 30.0  # s until a scheduler must answer
_START = 120.0  # s until workers outside of a batch system must start
_ATTEMPTS = 3  # attempts at a case whose workers end
_HOUR = 3600.0
_PART = _HOUR  # s of work a part, unless the number of parts is set
_BEGIN, _SLACK = 120.0, 1.5  # s to start, and factor for slower machines
_ROOM = 1.3  # factor of the measured memory
_ROUND = 300  # s
_GIB = 2**30
_MESSAGE = 200  # characters of the batch system's message
_NEED = 3 * 2**30  # bytes of memory for a worker of this machine
_JOBS = 8  # default for the greatest number of jobs


@dataclass(frozen=True)
class Where:
    """Location of the Dask workers.

    Attributes:
        kind: "local", a key of `JOBS`, "address" or "file".
        count: number of workers (local) or jobs; None for the default, or for workers that run already.
        address: address or file of the scheduler.
    """

    kind: str
    count: int | None = None
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> Where:
        """Return the location that `text` describes, or raise `UsageError`.

        >>> Where.parse("slurm:20")
        Where(kind='slurm', count=20, address='')
        """
        if re.fullmatch(r"(tcp|tls|ucx|inproc)://\S+", text):
            return cls("address", address=text)
        if text.endswith(".json"):
            return cls("file", address=text)
        match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,5}))?", text)
        if not match or match[1] not in ("local", *JOBS) or (match[2] is not None and int(match[2]) < 1):
            raise UsageError(f"dask {text}: {_EXPECTED}")
        return cls(match[1], int(match[2]) if match[2] else None)


class _Room:
    """State of a batch on a worker: the plan with its model, and a lock for one case at a time.

    It has the interface of Dask's WorkerPlugin; workers that start later get it too.
    """

    def __init__(self, name: str, plan: Plan, version: str) -> None:
        self.name, self._plan, self._version = name, plan, version

    def setup(self, worker: Any) -> None:
        """Set up the state on a worker."""
        reuse_freed_memory()
        self._threads, self._lock = worker.state.nthreads, threading.Lock()

    def teardown(self, worker: Any) -> None:
        """Do nothing."""

    def outcome(self, case: Case, *, wait: bool) -> Outcome | None:
        """Return the outcome of a case, see `Worker.outcome`."""
        import torch

        if self._version != __version__:
            raise UsageError(f"a worker has kfine {__version__}, the batch {self._version}; install the same")
        with self._lock:
            torch.set_num_threads(self._threads)
            return Worker(self._plan, Silent()).outcome(case, wait=wait)


def _outcome(room: str, case: Case, *, wait: bool) -> Outcome | None:
    """Return the outcome of a case; runs on a worker."""
    from distributed import get_worker

    found: _Room = get_worker().plugins[room]
    return found.outcome(case, wait=wait)


class Cluster:
    """Workers that restore the cases of one plan."""

    def __init__(
        self, client: Any, plan: Plan, *, patience: float | None, bar: Progress, refused: Sequence[str] = ()
    ) -> None:
        self._client, self._patience, self._bar, self._refused = client, patience, bar, refused
        self._room = f"kfine-{uuid.uuid4().hex[:12]}"
        self._seen: set[str] = set()
        self._alone = time.monotonic()  # the last time with workers
        client.register_plugin(_plugin(self._room, plan))

    def close(self) -> None:
        """Remove the state from the workers."""
        with suppress(Exception):
            self._client.unregister_worker_plugin(self._room)

    def outcomes(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Outcome]]:
        """Yield each case with its outcome; cases claimed by other processes come last.

        Raises:
            ResourceError: the scheduler or all workers have ended.
            UsageError: workers with another version of kfine.
        """
        todo, busy = deque(cases), deque[Case]()
        pending: dict[Any, tuple[Case, bool]] = {}
        while todo or busy or pending:
            for _ in range(len(self._workers(busy=bool(pending))) - len(pending)):
                if not todo and (pending or not busy):
                    break
                wait = not todo
                case = (busy if wait else todo).popleft()
                pending[self._submit(case, wait=wait)] = case, wait
            if not pending:  # no workers
                time.sleep(_PAUSE)
                continue
            for future in self._done(list(pending)):
                case, _ = pending.pop(future)
                outcome = self._result(future, case)
                if outcome is None:
                    busy.append(case)
                else:
                    yield case, outcome

    def _submit(self, case: Case, *, wait: bool) -> Any:
        # Not "pure": a repeated case is checked again.
        return self._client.submit(_outcome, self._room, case, wait=wait, pure=False)

    def _done(self, futures: list[Any]) -> set[Any]:
        """Return the finished ones of `futures`, waiting for one pause at most."""
        import distributed

        try:
            done: set[Any] = distributed.wait(futures, timeout=_PAUSE, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return set()
        except (OSError, CancelledError) as error:
            raise self._lost() from error
        return done

    def _result(self, future: Any, case: Case) -> Outcome | None:
        """Return the outcome of a case: a failure if its workers ended."""
        import distributed

        try:
            outcome: Outcome | None = future.result()
        except distributed.KilledWorker:
            why = f"its worker ended, {_ATTEMPTS} times in all, probably for lack of memory; use workers with more"
            return Outcome(case.label, FAILED, why, exit_code=ResourceError.exit_code)
        except (OSError, CancelledError) as error:
            raise self._lost() from error
        return outcome

    def _workers(self, *, busy: bool) -> set[str]:
        """Return the addresses of the workers.

        busy: whether the workers have cases; a message reports workers that ended.
        """
        if self._client.status != "running":
            raise self._lost()
        there = set(self._client.nthreads())
        for _ in self._seen - there if busy else ():
            self._bar.say("a worker ended; its image begins again on another")
        if there != self._seen:
            self._bar.name(
                f"{len(there)} worker{'s' * (len(there) != 1)}" if there else "waiting for workers"
            )
            self._bar(0, 1)
        self._seen, now = there, time.monotonic()
        if there:
            self._alone = now
        elif self._refused:
            raise ResourceError(
                f"dask: a job was refused: {self._refused[0]}; check ~/.config/dask/jobqueue.yaml, and run it again"
            )
        elif self._patience is not None and now - self._alone > self._patience:
            raise ResourceError(
                f"dask: no worker for {self._patience:.0f} s; start some and run it again, finished images stay"
            )
        return there

    @staticmethod
    def _lost() -> ResourceError:
        return ResourceError("dask: the scheduler has ended; run it again, finished images stay")


def _plugin(name: str, plan: Plan) -> Any:
    from distributed.diagnostics.plugin import WorkerPlugin

    class Room(_Room, WorkerPlugin):  # type: ignore[misc]
        pass

    return Room(name, plan, __version__)


def anchored(plan: Plan, cases: Sequence[Case]) -> tuple[Plan, list[Case]]:
    """Return plan and cases with absolute paths: workers may run in other folders."""
    absolute = [replace(case, paths=tuple(Path(path).absolute() for path in case.paths)) for case in cases]
    options = plan.options
    if options.calibration is not None:
        options = replace(options, calibration=Path(options.calibration).absolute())
    return replace(plan, out=plan.out.absolute(), options=options), absolute


def check_dask(where: Where) -> None:
    """Raise `ResourceError` if packages for `where` are missing."""
    try:
        import distributed  # noqa: F401

        if where.kind in JOBS:
            import dask_jobqueue  # noqa: F401
    except ImportError:
        raise ResourceError("dask: needs the extra cluster: pip install 'kfine[cluster]'") from None


@contextmanager
def cluster_at(where: Where, plan: Plan, *, cases: int, bar: Progress) -> Iterator[Cluster]:
    """Yield the workers at `where`, for at most `cases` at once; workers started here end with the block.

    Raises:
        UsageError: dask-jobqueue is not configured.
        ResourceError: no scheduler answers.
    """
    import dask
    import distributed

    bar.name("starting workers")
    settings = {
        "distributed.scheduler.allowed-failures": _ATTEMPTS - 1,
        "distributed.worker.memory.target": False,  # results are too small for spilling
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.comm.timeouts.connect": f"{_ANSWER:.0f}s",
        "distributed.logging.distributed": "critical",
    }
    patience = None if where.kind in JOBS else _START
    with ExitStack() as closing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        closing.enter_context(dask.config.set(settings))
        closing.enter_context(_quiet())
        refused: list[str] = []
        try:
            target = _started(where, closing, cases=cases, refused=refused)
            client = closing.enter_context(
                distributed.Client(**target, timeout=_ANSWER, set_as_default=False)
            )
        except (OSError, TimeoutError) as error:
            raise ResourceError(
                f"dask {where.address or where.kind}: no scheduler answers; check the address, or start one with "
                "'dask scheduler'"
            ) from error
        closing.enter_context(client.as_current())
        cluster = Cluster(client, plan, patience=patience, bar=bar, refused=refused)
        closing.callback(cluster.close)
        yield cluster


def _started(where: Where, closing: ExitStack, *, cases: int, refused: list[str]) -> dict[str, Any]:
    """Return the arguments of a Dask client; start a cluster if `where` needs one.

    refused: collects the messages of the batch system about jobs that it refuses, which Dask only logs.
    """
    if where.kind == "address":
        return {"address": where.address}
    if where.kind == "file":
        if not Path(where.address).is_file():
            raise UsageError(f"dask {where.address}: expected a scheduler file, found none; check the path")
        return {"scheduler_file": where.address}
    if where.kind == "local":
        return {"address": closing.enter_context(_local(where.count, cases=cases))}
    import dask_jobqueue

    try:
        kind = getattr(dask_jobqueue, JOBS[where.kind])
        cluster = kind(silence_logs=logging.CRITICAL, job_cls=_watched(kind.job_cls, refused))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"dask {where.kind}: {reason}; name cores and memory of a job in ~/.config/dask/jobqueue.yaml under "
            f"jobqueue: {where.kind}:"
        ) from None
    closing.enter_context(cluster)
    cluster.scale(jobs=min(where.count or _JOBS, max(1, cases)))
    return {"address": cluster}


def _watched(job: Any, refused: list[str]) -> Any:
    """Return the class `job` of dask-jobqueue, with the messages about refused jobs appended to `refused`."""
    from distributed.core import Status

    class Job(job):  # type: ignore[misc]
        async def _submit_job(self, script_filename: str) -> Any:
            try:
                return await super()._submit_job(script_filename)
            except (RuntimeError, OSError) as error:
                # The text ends with what the command printed on stderr.
                message = str(error).rpartition("stderr:")[2]
                refused.append(printable(" ".join(message.split())[:_MESSAGE]))
                self.status = Status.failed  # without it the cluster does not close
                raise

    return Job


def _local(count: int | None, *, cases: int) -> Any:
    """Return a cluster of `count` worker processes that share the cores and memory of this machine."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    if count is None:
        count = max(1, min(CPU_COUNT, MEMORY_LIMIT // _NEED, cases))
    return LocalCluster(
        host="127.0.0.1",
        n_workers=count,
        threads_per_worker=threads_each(count, CPU_COUNT),
        processes=True,
        memory_limit=MEMORY_LIMIT // count,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )


def threads_each(count: int, cores: int) -> int:
    """Return the threads of one of `count` workers: OMP_NUM_THREADS if set, otherwise an even share of the cores."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdigit() and int(setting) > 0 else max(1, cores // count)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log of Dask; `Cluster` reports the important events."""
    names = ("distributed", "distributed.nanny", "distributed.client", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class Measured:
    """Cost of one image, restored on this machine.

    Attributes:
        seconds: duration, with the start of the network.
        size: bytes of the image's files.
        memory: peak memory of this process, bytes.
        threads: threads in use.
    """

    seconds: float
    size: int
    memory: int
    threads: int


def measure(sizes: Sequence[int], restore: Callable[[tuple[int, int]], Sequence[Outcome]]) -> Measured:
    """Return the cost of the largest unfinished image, which is restored for it.

    Args:
        sizes: bytes of the files of each image.
        restore: restores one part (number, count) of the images and returns the outcomes.

    Raises:
        UsageError: no image can be restored.
    """
    import torch

    for index in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        outcome = next((one for one in restore((index, len(sizes))) if one.status == RESTORED), None)
        if outcome is not None:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peak *= 1 if sys.platform == "darwin" else 1024
            return Measured(outcome.seconds, sizes[index], peak, torch.get_num_threads())
    raise UsageError(
        "expected an image left to restore and measure: all are finished or fail, see status=True"
    )


def parts_of(sizes: Sequence[int], measured: Measured) -> int:
    """Return the number of parts of about an hour each, for images of these `sizes`."""
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
        command: the command of the whole batch, its program first.
        sizes: bytes of the files of each image.
        measured: cost of the largest image.
        parts: number of jobs.
        image: Apptainer image that the command runs in; None for this environment.
        binds: folders that the command needs.

    The time limit has a margin of 50 % for slower machines, the memory limit one of 30 %.
    """
    fullest = max(sum(sizes[number::parts]) for number in range(parts))
    seconds = _BEGIN + _SLACK * _seconds(fullest, measured)
    minutes = math.ceil(seconds / _ROUND) * _ROUND // 60
    memory = math.ceil(_ROOM * measured.memory / _GIB)
    inside = ["apptainer", "exec"]
    for folder in dict.fromkeys(binds):
        inside += ["--bind", str(folder)]
    whole = [*([*inside, image] if image else []), *command, "--num-parts", str(parts)]
    hours = _seconds(sum(sizes), measured) / _HOUR
    return f"""#!/bin/bash
# kfine {__version__}: {_counted(len(sizes), "image")} in {_counted(parts, "job")}.
# Measured on the machine of this command, with {_counted(measured.threads, "core")}: {measured.seconds:.0f} s and \
{measured.memory / _GIB:.1f} GiB for the largest image;
# {hours:.1f} hours for all images, estimated from the sizes of their files.  Adapt the limits to your machines.
# After a time limit or a failed node, submit the same script again: it skips finished images.
#SBATCH --job-name=kfine
#SBATCH --array=0-{parts - 1}
#SBATCH --cpus-per-task={measured.threads}
#SBATCH --mem={memory}G
#SBATCH --time={minutes // 60:02}:{minutes % 60:02}:00
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{measured.threads}}}"
exec {shlex.join(whole)} --part-id "$SLURM_ARRAY_TASK_ID"
"""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _seconds(size: int, measured: Measured) -> float:
    return measured.seconds * size / max(1, measured.size)
