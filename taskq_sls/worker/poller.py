"""The polls of a worker: one loop per queue, never asking for more than can start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable

from ..brokers.base import MAX_BATCH, MAX_WAIT, Broker
from ..core.clock import Clock
from ..core.context import Fence
from ..core.delivery import Delivery
from ..core.fault_log import FaultLog
from ..errors import AwsError
from ..results.base import ResultBackend
from .slots import Slots

logger = logging.getLogger("taskq_sls.worker")

EMPTY_PAUSE = 0.02
"""Seconds between an empty answer and the next poll."""

MORE_POLLS = 7
"""Most polls of one queue that are open beside its first one, while it has a backlog and slots are free."""

LONGEST_BACKOFF = 30.0
"""Most seconds between two polls while SQS cannot be reached."""


class Poller:
    """Polls one queue.

    Args:
        visibility: seconds a received message stays hidden.
        wait: seconds of a long poll, 0 to 20.
        deliver: takes what was received; its slots are given back by whoever runs it.
        outage: whether claims fail, so that nothing is to be received; None: nobody knows.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        visibility: int,
        wait: int,
        slots: Slots,
        deliver: Callable[[list[Delivery]], None],
        outage: Outage | None = None,
    ) -> None:
        self._broker = broker
        self.queue = queue
        self._visibility = visibility
        self._wait = min(MAX_WAIT, wait)
        self._slots = slots
        self._deliver = deliver
        self._outage = outage
        self._stop_asked = asyncio.Event()
        self._more: set[asyncio.Task[None]] = set()
        self.polling = False
        self._ever_polled = False
        self._faults = FaultLog(logger, f"queue {queue} cannot be polled", "poll_fault")
        self.last_success = time.monotonic()
        self.empty_polls = 0

    async def run(self) -> None:
        """Poll until stopped.

        Raises:
            MissingResource: the queue does not exist, seen on the first poll.
            AwsError: the first poll was refused for good (access denied).
            Exception: whatever else the first poll raised. Once a poll has succeeded, no exception ends the polls.
        """
        try:
            await self._run()
        except asyncio.CancelledError:
            for task in self._more:
                task.cancel()
            raise
        finally:
            # What they bring is dealt with as what the first poll brings.
            while self._more:
                await asyncio.wait(self._more)

    async def _run(self) -> None:
        backoff = 0.5
        while not self._stop_asked.is_set():
            if self._outage is not None and self._outage.begins:
                await self._outage.wait(self._pause)
                self.last_success = time.monotonic()  # the silence was meant
                continue
            reserved = await self._slots.reserve(self.queue)
            if self._stop_asked.is_set():
                return
            deliveries = await self._poll(reserved)
            if deliveries is None:
                await self._pause(backoff * random.uniform(0.5, 1.0))
                backoff = min(LONGEST_BACKOFF, backoff * 2)
                continue
            backoff = 0.5
            self.empty_polls = 0 if deliveries else self.empty_polls + 1
            if deliveries:
                self._deliver(deliveries)
                if len(deliveries) == MAX_BATCH:
                    self._poll_more()
                # Making the next request takes a millisecond: what came begins before it.
                await asyncio.sleep(0)
            else:
                # A broker in memory answers at once, and an endpoint may: an empty queue must not spin.
                await self._pause(EMPTY_PAUSE)

    def _poll_more(self) -> None:
        """A queue that fills whole polls gets as many at once as the free slots justify."""
        while (
            len(self._more) < MORE_POLLS
            and not self._stop_asked.is_set()
            and not (self._outage is not None and self._outage.begins)
            and self._slots.longest_wait() == MAX_WAIT
            and self._slots.reserve_more(self.queue)
        ):
            task = asyncio.create_task(self._one_more())
            self._more.add(task)
            task.add_done_callback(self._more.discard)

    async def _one_more(self) -> None:
        """One poll that waits for nothing: it goes when the backlog has. Its faults are for the first poll to tell."""
        deliveries: list[Delivery] = []
        try:
            deliveries = await self._broker.receive(
                self.queue, max_messages=MAX_BATCH, wait=0, visibility=self._visibility
            )
        except Exception:
            return
        finally:
            self._slots.polled_more(self.queue, len(deliveries))
        if deliveries:
            self.empty_polls = 0
            self._deliver(deliveries)
        if len(deliveries) == MAX_BATCH:
            # Through the loop, so that this poll counts no more when the next is opened.
            asyncio.get_running_loop().call_soon(self._poll_more)

    async def _poll(self, reserved: int) -> list[Delivery] | None:
        """One receive; None if it failed for now."""
        received = 0
        self.polling = True
        try:
            deliveries = await self._broker.receive(
                self.queue,
                max_messages=reserved,
                wait=min(self._wait, self._slots.longest_wait()),
                visibility=self._visibility,
            )
            received = len(deliveries)
        except Exception as error:  # whatever it is: calls that have worked will work again
            if not self._ever_polled and not (isinstance(error, AwsError) and error.transient):
                raise
            self._faults.failed(error)
            return None
        finally:
            self.polling = False
            self._slots.polled(self.queue, reserved, received)
        self._ever_polled = True
        self._faults.recovered()
        self.last_success = time.monotonic()
        return deliveries

    def stop(self) -> None:
        """End after the poll under way."""
        self._stop_asked.set()

    @property
    def held_back(self) -> bool:
        """True if the queue is not polled because claims fail."""
        return self._outage is not None and self._outage.lasts

    async def _pause(self, seconds: float) -> bool:
        """Sleep, but not into a stop; whether there is one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()
        return self._stop_asked.is_set()


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
        self._seconds = FIRST_PAUSE
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
            self._seconds = FIRST_PAUSE  # else claims fail although the probe does not: the pauses grow on
        try:
            while self._queue in self._failing:
                if await pause(self._seconds * random.uniform(0.5, 1.0)):
                    return
                self._seconds = min(LONGEST_PAUSE, self._seconds * 2)
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
