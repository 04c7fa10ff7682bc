"""The polls of a worker: one loop per queue, never asking for more than can start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable

from ..brokers.base import MAX_BATCH, MAX_WAIT, Broker
from ..core.backoff import Backoff
from ..core.clock import Clock
from ..core.delivery import Delivery
from ..core.fault_log import FaultLog
from ..errors import AwsError
from ..results.base import ResultBackend
from ..results.records import Fence
from .slots import Slots

logger = logging.getLogger("taskq_sls.worker")

EMPTY_PAUSE_SECONDS = 0.02
"""Pause after an empty answer. A broker in memory, or an endpoint, may answer at once: an empty queue must not spin."""

MAX_EXTRA_POLLS = 7
"""Most polls of one queue beside its first one, while it has a backlog and slots are free."""

FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 30.0
"""Pauses between two polls while SQS cannot be reached: the first, which doubles, and the longest."""


class Poller:
    """Polls one queue.

    Args:
        visibility: visibility timeout of received messages, in seconds.
        wait: seconds of a long poll, 0 to 20.
        deliver: takes the received messages, and releases their slots when they have been processed.
        outage: pauses the polls while claims fail.

    Attributes:
        polling: True while its first poll is open.
        last_success: when a poll last succeeded, by the monotonic clock.
        empty_polls: empty answers since the last message.
    """

    def __init__(
        self,
        broker: Broker,
        queue: str,
        visibility: int,
        wait: int,
        slots: Slots,
        deliver: Callable[[list[Delivery]], None],
        outage: ClaimOutage,
    ) -> None:
        self._broker = broker
        self.queue = queue
        self._visibility = visibility
        self._wait = min(MAX_WAIT, wait)
        self._slots = slots
        self._deliver = deliver
        self.outage = outage
        self._stop_asked = asyncio.Event()
        self._extra_polls: set[asyncio.Task[None]] = set()
        self._ever_polled = False
        self._faults = FaultLog(logger, f"queue {queue} cannot be polled", "poll_fault")
        self.polling = False
        self.last_success = time.monotonic()
        self.empty_polls = 0

    async def run(self) -> None:
        """Poll until stopped.

        Raises:
            MissingResource: the queue does not exist.
            AwsError: the first poll was refused for good (access denied).
            Exception: any other error of the first poll. Once a poll has succeeded, no exception ends the polls.
        """
        try:
            await self._run()
        except asyncio.CancelledError:
            for task in self._extra_polls:
                task.cancel()
            raise
        finally:
            while self._extra_polls:
                await asyncio.wait(self._extra_polls)

    async def _run(self) -> None:
        backoff = Backoff(FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        while not self._stop_asked.is_set():
            if self.outage.claims_fail:
                await self.outage.wait(self._pause)
                self.last_success = time.monotonic()  # the health endpoint does not count this pause as a fault
                continue
            reserved = await self._slots.reserve(self.queue)
            if self._stop_asked.is_set():
                return
            deliveries = await self._poll(reserved)
            if deliveries is None:
                await self._pause(backoff.next())
                continue
            backoff.reset()
            self.empty_polls = 0 if deliveries else self.empty_polls + 1
            if deliveries:
                self._deliver(deliveries)
                if len(deliveries) == MAX_BATCH:
                    self._start_extra_polls()
                # Let the new tasks start first: making the next request takes a millisecond.
                await asyncio.sleep(0)
            else:
                await self._pause(EMPTY_PAUSE_SECONDS)

    def _start_extra_polls(self) -> None:
        """Poll a queue that fills whole batches as often at once as the free slots allow."""
        while (
            len(self._extra_polls) < MAX_EXTRA_POLLS
            and not self._stop_asked.is_set()
            and not self.outage.claims_fail
            and self._slots.longest_wait() == MAX_WAIT
            and self._slots.reserve_extra(self.queue)
        ):
            task = asyncio.create_task(self._extra_poll())
            self._extra_polls.add(task)
            task.add_done_callback(self._extra_polls.discard)

    async def _extra_poll(self) -> None:
        """Poll once without waiting for messages. Its errors are not logged: the first poll meets and logs them too."""
        deliveries: list[Delivery] = []
        try:
            deliveries = await self._broker.receive(
                self.queue, max_messages=MAX_BATCH, wait=0, visibility=self._visibility
            )
        except Exception:
            return
        finally:
            self._slots.extra_poll_ended(self.queue, len(deliveries))
        if deliveries:
            self.empty_polls = 0
            self._deliver(deliveries)
        if len(deliveries) == MAX_BATCH:
            # Through the loop, so that this poll has ended when the next one is counted.
            asyncio.get_running_loop().call_soon(self._start_extra_polls)

    async def _poll(self, reserved: int) -> list[Delivery] | None:
        """The messages of one receive, or None if it failed and will be tried again."""
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
        except Exception as error:  # of any kind: calls that have worked will work again
            if not self._ever_polled and not (isinstance(error, AwsError) and error.transient):
                raise
            self._faults.failed(error)
            return None
        finally:
            self.polling = False
            self._slots.poll_ended(self.queue, reserved, received)
        self._ever_polled = True
        self._faults.recovered()
        self.last_success = time.monotonic()
        return deliveries

    def stop(self) -> None:
        """End after the open polls."""
        self._stop_asked.set()

    async def _pause(self, seconds: float) -> bool:
        """Sleep until `seconds` have passed or the worker stops; True if it stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()
        return self._stop_asked.is_set()


FIRST_PROBE_PAUSE_SECONDS, MAX_PROBE_PAUSE_SECONDS = 5.0, 60.0
"""Pauses between two probes of the table: the first, which doubles, and the longest. Each is multiplied by 0.5 to 1."""

_PROBE = Fence("claim-probe", 0, 0, "nobody")


class ClaimOutage:
    """Pauses the polls of a queue while claims fail.

    Each poll would only spend receives of messages that cannot start. SQS counts the receives of a message, and
    dead-letters it after the queue's maxReceiveCount.

    Args:
        queue: its logical name.
        failing: queues whose last claim failed. A claim or probe that succeeds removes its queue.

    Attributes:
        active: True while the queue is not polled.
    """

    def __init__(self, queue: str, failing: set[str], results: ResultBackend, clock: Clock) -> None:
        self._queue = queue
        self._failing = failing
        self._results = results
        self._clock = clock
        self._backoff = Backoff(FIRST_PROBE_PAUSE_SECONDS, MAX_PROBE_PAUSE_SECONDS)
        self._ended_at = -math.inf
        self.active = False

    @property
    def claims_fail(self) -> bool:
        """True if the last claim failed."""
        return self._queue in self._failing

    async def wait(self, pause: Callable[[float], Awaitable[bool]]) -> None:
        """Return when a claim can succeed, or when the worker stops.

        Args:
            pause: sleeps for some seconds, or until the worker stops; returns True if it stops.
        """
        self.active = True
        logger.warning(
            "queue %s is not polled while claims fail",
            self._queue,
            extra={"action": "polls_paused", "queue": self._queue},
        )
        # If the last outage has just ended, claims fail although the probe succeeds: then the pauses go on growing.
        if time.monotonic() - self._ended_at > MAX_PROBE_PAUSE_SECONDS:
            self._backoff.reset()
        try:
            while self._queue in self._failing:
                if await pause(self._backoff.next()):
                    return
                if self._queue in self._failing and await self._probe():
                    self._failing.discard(self._queue)
        finally:
            self.active = False
            self._ended_at = time.monotonic()
        logger.info("queue %s is polled again", self._queue, extra={"action": "polls_resumed", "queue": self._queue})

    async def _probe(self) -> bool:
        """True if a conditional write like that of a claim works. Its condition never holds, so it changes nothing."""
        now = self._clock.time()
        try:
            await self._results.renew(_PROBE, now=now, lease_until=now)
        except Exception:
            return False
        return True
