"""While claims fail, a queue is not polled: each poll would spend a receive of messages that nobody could start.

The receives of a message are counted by SQS, which dead-letters it after the queue's maxReceiveCount.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable

from ..core.backoff import Backoff
from ..core.clock import Clock
from ..core.context import Fence
from ..results.base import ResultBackend

logger = logging.getLogger("taskq_sls.worker")

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two probes of the table: the first pause, doubling, and the longest. Up to half is left out."""

_NOBODY = Fence("claim-probe", 0, 0, "nobody")


class Outage:
    """The failing claims of one queue.

    Args:
        queue: its logical name.
        failing: queues whose last claim failed; a claim that succeeds takes its queue out, and so does a probe.

    Attributes:
        lasts: whether the queue is not polled now.
    """

    def __init__(self, queue: str, failing: set[str], results: ResultBackend, clock: Clock) -> None:
        self._queue = queue
        self._failing = failing
        self._results = results
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._ended_at = -math.inf
        self.lasts = False

    @property
    def begins(self) -> bool:
        """True if the last claim failed."""
        return self._queue in self._failing

    async def wait(self, pause: Callable[[float], Awaitable[bool]]) -> None:
        """Return when a claim can succeed, or when the worker stops.

        Args:
            pause: waits so many seconds, but not into a stop; True if the worker stops.
        """
        self.lasts = True
        logger.warning(
            "queue %s is not polled while claims fail",
            self._queue,
            extra={"action": "polls_paused", "queue": self._queue},
        )
        if time.monotonic() - self._ended_at > LONGEST_PAUSE:
            self._backoff.reset()  # else claims fail although the probe does not: the pauses grow on
        try:
            while self._queue in self._failing:
                if await pause(self._backoff.next()):
                    return
                if self._queue in self._failing and await self._works():
                    self._failing.discard(self._queue)
        finally:
            self.lasts = False
            self._ended_at = time.monotonic()
        logger.info("queue %s is polled again", self._queue, extra={"action": "polls_resumed", "queue": self._queue})

    async def _works(self) -> bool:
        """Write as a claim does, on the condition that an attempt runs which nobody has started."""
        now = self._clock.time()
        try:
            await self._results.renew(_NOBODY, now=now, lease_until=now)
        except Exception:
            return False
        return True
