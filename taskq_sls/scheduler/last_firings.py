"""The last firing of each schedule, kept so that a local clock knows after a restart which firings were missed.

Written by local clocks only: in AWS, where EventBridge fires, nothing is stored.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Sequence

from ..core.schedule_spec import DELAY

CLOCK_TOLERANCE_SECONDS = 60.0
"""Largest accepted difference between the clocks of several machines. A last firing further in the future was stored by
a machine with a wrong clock."""

_DAY_SECONDS = 86_400.0


class LastFirings(abc.ABC):
    """The last firings of one schedule group. Times are epoch seconds."""

    @abc.abstractmethod
    async def record(self, name: str, at: float, now: float) -> None:
        """Store that the firing of `name` for `at` is in its queue. An earlier `at` does not replace a later one, unless
        that lies in the future."""

    @abc.abstractmethod
    async def read(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """The scheduled time of the last firing, by schedule; schedules that never fired are missing.

        Args:
            names: default: all schedules of the group.
        """


class MemoryLastFirings(LastFirings):
    """The last firings in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    async def record(self, name: str, at: float, now: float) -> None:
        with self._lock:
            before = self._last.get(name, at)
            self._last[name] = at if before > now + CLOCK_TOLERANCE_SECONDS else max(at, before)

    async def read(self, names: Sequence[str] | None = None) -> dict[str, float]:
        with self._lock:
            wanted = self._last.keys() if names is None else self._last.keys() & set(names)
            return {name: self._last[name] for name in wanted}


def seconds_kept(name: str) -> float:
    """How long the last firing of a schedule is kept, in seconds.

    More than a year, for yearly schedules; two days for the delay of one task, which fires only once.
    """
    return 2 * _DAY_SECONDS if name.startswith(DELAY) else 400 * _DAY_SECONDS
