"""Time limit of a training run: it ends with a checkpoint before a job's wall time does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

_SPARE = 2  # longest updates, with their reports, that are left when a run ends
_SHARE, _MOST = 0.02, 60.0  # of the limit, and seconds, left for the last checkpoint


class TimeLimit:
    """Says when to end, the same on all processes.

    Args:
        seconds: from now on; None for no limit.
        fabric: Lightning Fabric's, whose first process decides.
        clock: seconds, for tests.
    """

    def __init__(
        self, seconds: float | None, fabric: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._fabric, self._clock = seconds, fabric, clock
        self._began = self._latest = clock()
        self._longest = 0.0

    def over(self) -> bool:
        """Return whether the run ends with this update; called once in each."""
        if self._seconds is None:
            return False
        now = self._clock()
        self._longest, self._latest = max(self._longest, now - self._latest), now
        needed = _SPARE * self._longest + min(_MOST, _SHARE * self._seconds)
        ends = torch.tensor(float(now - self._began + needed > self._seconds), device=self._fabric.device)
        return bool(self._fabric.broadcast(ends) > 0)
