"""Runs the records of one invocation, and ends before its deadline."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator, Sequence
from itertools import islice

from ..core.clock import Clock
from ..core.delivery import LOST, Delivery, Outcome, Release, leaves_queue
from ..engine.executor import Executor
from .loop import IdleSelector, RecordStart, StartLimits

logger = logging.getLogger("taskq_sls.serverless")

MAX_MARGIN_SECONDS = 5.0
MARGIN_SHARE = 0.2
"""The default margin before the deadline: 20 % of the remaining time, at most 5 seconds."""

STOPPING_SHARE = 0.5
"""Share of the margin in which stopped attempts may end. In the rest their messages are settled."""


class RecordBatch:
    """Runs records concurrently, those of a FIFO group in order.

    They start in the order of the batch, as soon as a place is free and if enough time remains.

    Args:
        deadline: epoch seconds at which Lambda kills the process, or None.
        margin: seconds before the deadline at which work must have ended. None: 20 % of the remaining time, at most 5.
        concurrency: most records at once, 1 or more.
        selector: the selector of the running loop, or None.

    Attributes:
        stuck: the attempts that ignored the deadline and still run after `run`.
    """

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        deadline: float | None,
        margin: float | None,
        concurrency: int,
        selector: IdleSelector | None = None,
    ) -> None:
        self._executor = executor
        self._clock = clock
        self._deadline = deadline
        self._margin = 0.0 if deadline is None else _margin(margin, deadline - clock.time())
        self._concurrency = concurrency
        self._limits = StartLimits(clock, None if deadline is None else deadline - self._margin, selector)
        self._first: Delivery | None = None
        self._waiting: Iterator[Sequence[Delivery]] = iter(())
        self._running: set[asyncio.Task[None]] = set()
        # By identity: two records can be equal.
        self._started: set[int] = set()
        self._outcomes: dict[int, Outcome] = {}
        self._stopping = False
        self._abandoned = False
        self.stuck: set[asyncio.Task[None]] = set()

    async def run(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Run the records. Returns an outcome for each, in order, before the deadline."""
        if not deliveries:
            return []
        self._first = deliveries[0]
        self._executor.threads.draining = False
        chained = fifo_groups(deliveries)
        self._waiting = iter(chained)
        loop = asyncio.get_running_loop()  # once: it is a system call
        self._running = {loop.create_task(self._run_chain(chain)) for chain in islice(self._waiting, self._concurrency)}
        if len(chained) > self._concurrency:
            context = contextvars.copy_context()
            for task in self._running:
                task.add_done_callback(self._start_next, context=context)
        if self._deadline is None:
            await self._wait_until(None)
        else:
            await self._wait_until(self._deadline - self._margin)
            if self._running:
                self._stop_all()
                await self._wait_until(self._deadline - self._margin * STOPPING_SHARE)
        if self._running:
            await self._abandon(self._running)
        return [self._outcome(delivery) for delivery in deliveries]

    def _start_next(self, ended: asyncio.Task[None]) -> None:
        """Start the next chain in the place of one that has ended.

        It gets a task of its own, and the callback runs in the context of the invocation. So a record cannot see the
        context variables, or a late cancellation, of the record before it.
        """
        if self._stopping or (chain := next(self._waiting, None)) is None:
            return
        task = ended.get_loop().create_task(self._run_chain(chain))
        self._running.add(task)
        task.add_done_callback(self._start_next, context=contextvars.copy_context())

    async def _abandon(self, running: set[asyncio.Task[None]]) -> None:
        """Wait no longer for these records. Only code of tasks can ignore a stop; all others wait for AWS."""
        logger.error(
            "%d records ignored the deadline: they are reported as failed, and redelivered once their leases have ended",
            len(running),
            extra={"action": "deadline_ignored"},
        )
        self.stuck = running & {attempt.execution.asyncio_task for attempt in self._executor.running.values()}
        self._abandoned = True
        for task in running - self.stuck:
            task.cancel()
        await asyncio.sleep(0)

    def _outcome(self, delivery: Delivery) -> Outcome:
        outcome = self._outcomes.get(id(delivery))
        if outcome is None:
            return LOST if id(delivery) in self._started else Release(0)
        return outcome

    async def _wait_until(self, when: float | None) -> None:
        """Wait until all records have ended, at most until `when` (epoch seconds)."""
        while self._running:
            timeout = None if when is None else max(0.0, when - self._clock.time())
            ended, late = await asyncio.wait(self._running, timeout=timeout)
            self._running -= ended
            if late:
                return

    def _stop_all(self) -> None:
        self._stopping = True
        self._executor.threads.drain()
        for attempt in list(self._executor.running.values()):
            self._executor.stop(attempt, "deadline")

    async def _run_chain(self, chain: Sequence[Delivery]) -> None:
        """Process records in order, up to the first that stays in the queue. `_outcome` releases the rest."""
        for delivery in chain:
            outcome = self._outcomes[id(delivery)] = await self._process(delivery)
            if not leaves_queue(outcome):
                return

    async def _process(self, delivery: Delivery) -> Outcome:
        self._started.add(id(delivery))
        start = RecordStart(self._limits, delivery is self._first)
        try:
            return await self._executor.process(delivery, self._deadline, start)
        except (Exception, asyncio.CancelledError):
            # Until the batch abandons it, only the task itself can have cancelled this.
            if self._abandoned:
                raise
            logger.exception("message %s was not processed", delivery.message_id, extra={"action": "process_fault"})
            return LOST
        finally:
            if start.running:
                start.end()


def fifo_groups(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """Split a batch into chains that run one message after the other: a FIFO group each, or a single message."""
    by_group: dict[tuple[str, str], list[Delivery]] = {}
    result: list[list[Delivery]] = []
    for delivery in deliveries:
        if delivery.group is None or not delivery.queue.endswith(".fifo"):
            result.append([delivery])
            continue
        key = (delivery.queue, delivery.group)
        if key not in by_group:
            by_group[key] = []
            result.append(by_group[key])
        by_group[key].append(delivery)
    return result


def _margin(given: float | None, remaining: float) -> float:
    if given is None:
        return min(MAX_MARGIN_SECONDS, MARGIN_SHARE * remaining)
    # A longer margin than the remaining time would keep even the first record from starting, in every invocation.
    return given if given < remaining else MARGIN_SHARE * max(0.0, remaining)
