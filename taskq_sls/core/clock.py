"""The clock. All code reads the time and sleeps through it, so that tests can move time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in epoch seconds, and two ways to sleep."""

    def time(self) -> float: ...

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""

    def block(self, seconds: float) -> None:
        """Sleep in the calling thread."""


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    time = staticmethod(time.time)  # without a frame of its own: it is read several times for every attempt

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only by `travel`, `travel_to` and sleeping.

    Args:
        start: epoch seconds at the beginning.
    """

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def time(self) -> float:
        return self._now

    def travel(self, seconds: float) -> None:
        """Move forward by `seconds` (0 or more)."""
        if not seconds >= 0:
            raise ValueError(f"the clock cannot go back: travel({seconds!r}); give 0 or more seconds")
        self._now += seconds

    def travel_to(self, when: float) -> None:
        """Move forward to `when` (epoch seconds); a past `when` leaves the clock where it is."""
        self._now = max(self._now, when)

    async def sleep(self, seconds: float) -> None:
        self.block(seconds)
        await asyncio.sleep(0)

    def block(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
