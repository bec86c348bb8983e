"""Processes that read files from outside, so that a file that kills one leaves the server alive."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from kfine.serve import inspection

_LIMIT = 300.0  # s
_PROCESSES = 2  # an estimate of time must not hold up what comes after it


class Inspectors:
    """Two processes, made anew where one ends or takes too long.

    Args:
        limit: seconds after which a call is given up.
    """

    def __init__(self, limit: float = _LIMIT) -> None:
        self._limit, self._pool = limit, self._new()

    async def run(self, work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        """Return what `work` answers, or {"error"} where its process ended."""
        try:
            future = self._pool.submit(work, *arguments)
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limit)
        except BrokenProcessPool:
            self._renew()
            return {"error": "reading this file ended its process; most likely memory ran out"}
        except TimeoutError:
            self._renew()
            return {"error": f"reading this file took longer than {self._limit:.0f} s; use kfine restore"}

    def close(self) -> None:
        """End the processes."""
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _renew(self) -> None:
        self.close()
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(_PROCESSES, context, initializer=inspection.warm)
