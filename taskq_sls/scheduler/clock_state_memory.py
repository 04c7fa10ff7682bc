"""Notes about schedules in memory: the twin of the table for tests and programs of one process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .clock_state import ALIVE_FOR, CHANGES_FOR, CLOCK_TOLERANCE, Change, ClockState


class MemoryClockState(ClockState):
    """Notes of one schedule group, in this process. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beat: float | None = None
        self._changes: list[Change] = []
        self._fired: dict[str, float] = {}

    async def beat(self, now: float) -> None:
        self._beat = now

    async def clock_alive(self, now: float) -> bool:
        return self._beat is not None and self._beat > now - ALIVE_FOR

    async def changed(self, name: str, now: float) -> None:
        with self._lock:
            kept = [change for change in self._changes if change.time > now - CHANGES_FOR]
            self._changes = sorted({*kept, Change(name, _milliseconds(now))}, key=lambda change: change[::-1])

    async def changes(self, since: float) -> list[Change]:
        return [change for change in self._changes if change.time >= _milliseconds(since)]

    async def fired(self, name: str, at: float, now: float) -> None:
        with self._lock:
            before = self._fired.get(name, at)
            self._fired[name] = at if before > now + CLOCK_TOLERANCE else max(at, before)

    async def last_fired(self, names: Sequence[str] | None = None) -> dict[str, float]:
        with self._lock:
            wanted = self._fired.keys() if names is None else self._fired.keys() & set(names)
            return {name: self._fired[name] for name in wanted}


def _milliseconds(time: float) -> float:
    """As exact as the table is."""
    return int(time * 1000) / 1000
