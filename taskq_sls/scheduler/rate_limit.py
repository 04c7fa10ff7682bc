"""Bulk work against the Scheduler API, slow enough for its quotas."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..core.clock import Clock
from ..core.flow import Flow
from ..errors import AwsError, ConfigError

T = TypeVar("T")
U = TypeVar("U")

CRUD_PER_SECOND = 200.0
"""Creates, updates, deletes and reads of schedules. EventBridge Scheduler allows 1,000 a second of each in its main
regions and 250 elsewhere (Scheduler quotas); what is left is for those who make schedules meanwhile."""

LISTS_PER_SECOND = 40.0
"""Pages of a listing. EventBridge Scheduler allows 50 a second (Scheduler quotas)."""

CALLS_AT_ONCE = 16
"""Most paced calls under way at once: enough for the rate at 80 ms a call."""

LONGEST_TURN = 60.0
"""Seconds that a call may wait for its turn: more than the calls that wait at once can come to."""

PATIENCE = (0.5, 1.0, 2.0)
"""Seconds before a call is repeated that met a fault which may pass, after the port's own quick repeats: among thousands
of calls some meet a throttled minute, and one of them must not end the work of all."""


class RateLimiter:
    """Lets so many calls a second pass, evenly spaced; whoever comes too early waits.

    Safe between threads and between tasks of a loop. One pacer per kind of call, shared by all who make it.

    Args:
        flow, clock: how to wait, and what the time is.
        per_second: calls a second, above 0.

    Raises:
        ConfigError: `per_second` is not above 0.
    """

    def __init__(self, flow: Flow, clock: Clock, per_second: float = CRUD_PER_SECOND) -> None:
        if not 0 < per_second < float("inf"):
            raise ConfigError(f"per_second={per_second!r} must be a number of calls above 0")
        self.flow = flow
        self._clock = clock
        self._spacing = 1 / per_second
        self._lock = threading.Lock()
        self._next = float("-inf")

    async def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now = self._clock.time()
            # A turn that far ahead is of a clock that was set back since.
            turn = now if self._next > now + LONGEST_TURN + 100 * self._spacing else max(self._next, now)
            self._next = turn + self._spacing
        if turn > now:
            await self.flow.sleep(turn - now)

    async def call(self, fn: Callable[[], Awaitable[U]]) -> U:
        """``await fn()`` in its turn, and in another one after a fault that may pass.

        Raises:
            AwsError: a fault that stays, or the last one.
        """
        for wait in PATIENCE:
            await self.wait()
            try:
                return await fn()
            except AwsError as error:
                if not error.transient:
                    raise
            await self.flow.sleep(wait)
        await self.wait()
        return await fn()

    async def map(self, fn: Callable[[T], Awaitable[U]], items: Sequence[T], limit: int = CALLS_AT_ONCE) -> list[U]:
        """``[await fn(item) for item in items]``, up to `limit` at a time, each as a `call`, answers in order."""
        return await self.flow.map(lambda item: self.call(lambda: fn(item)), items, limit)
