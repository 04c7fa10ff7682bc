"""A rate limit that keeps bulk work within the quotas of the Scheduler API."""

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
regions and 250 elsewhere (Scheduler quotas); the rest is for other callers of the account."""

LISTS_PER_SECOND = 40.0
"""Pages of a listing. EventBridge Scheduler allows 50 a second (Scheduler quotas)."""

CALLS_AT_ONCE = 16
"""Most limited calls in flight: enough for the rate at 80 ms a call."""

MAX_WAIT_SECONDS = 60.0
"""Longest wait of a call: more than the calls in flight can add up to. A longer one means that the clock was set back."""

RETRY_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before a call is repeated after a transient fault, beyond the port's own quick retries: among thousands of
calls some are throttled for a while, and one of them must not end the work of all."""


class RateLimiter:
    """Spaces calls evenly, at most so many a second. Safe between threads and between tasks of a loop.

    Use one limiter per kind of call, shared by all callers.

    Args:
        flow, clock: how to wait, and the current time.
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
            # The clock was set back if the next turn is that far ahead.
            turn = now if self._next > now + MAX_WAIT_SECONDS + 100 * self._spacing else max(self._next, now)
            self._next = turn + self._spacing
        if turn > now:
            await self.flow.sleep(turn - now)

    async def call(self, fn: Callable[[], Awaitable[U]]) -> U:
        """``await fn()`` within the rate; repeated after a transient fault.

        Raises:
            AwsError: a permanent fault, or the last transient one.
        """
        for delay in RETRY_DELAYS:
            await self.wait()
            try:
                return await fn()
            except AwsError as error:
                if not error.transient:
                    raise
            await self.flow.sleep(delay)
        await self.wait()
        return await fn()

    async def map(self, fn: Callable[[T], Awaitable[U]], items: Sequence[T], limit: int = CALLS_AT_ONCE) -> list[U]:
        """``[await fn(item) for item in items]`` by `call`, up to `limit` at a time, answers in order."""
        return await self.flow.map(lambda item: self.call(lambda: fn(item)), items, limit)
