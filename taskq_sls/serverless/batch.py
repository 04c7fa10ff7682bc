"""The records of one invocation, run before its deadline."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator, Sequence
from itertools import islice

from ..core.clock import Clock
from ..core.delivery import LOST, Delivery, Outcome, Release
from ..engine.executor import Executor
from ..engine.fifo_groups import fifo_groups, leaves_queue
from .loop import IdleSelector
from .starts import RecordStart, StartLimits

logger = logging.getLogger("taskq_sls.serverless")

LONGEST_MARGIN = 5.0
MARGIN_SHARE = 0.2
"""The deadline margin: 20 % of the function's timeout, at most 5 seconds."""

STOPPING_SHARE = 0.5
"""Share of the margin in which attempts that were stopped may end; the rest is for their messages."""


class Batch:
    """Runs records concurrently, those of a FIFO group in order.

    They start in the order of the batch, each when a place is free and while its time remains.

    Args:
        deadline: epoch seconds at which the process is killed, or None.
        margin: seconds before it at which work must have ended; None for 20 % of what remains, at most 5.
        concurrency: most records at once, 1 or more.
        selector: that of the running loop, or None.

    Attributes:
        stuck: what ignored the deadline and still runs after `run`.
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
        # By identity: two records can be equal in all they say.
        self._started: set[int] = set()
        self._outcomes: dict[int, Outcome] = {}
        self._stopping = False
        self._given_up = False
        self.stuck: set[asyncio.Task[None]] = set()

    async def run(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """An outcome for each delivery, in order, in time before the deadline."""
        if not deliveries:
            return []
        self._first = deliveries[0]
        self._executor.resume()
        chained = fifo_groups(deliveries, lambda queue: queue.endswith(".fifo"))
        self._waiting = iter(chained)
        loop = asyncio.get_running_loop()  # once: asking is a system call
        self._running = {loop.create_task(self._chain(chain)) for chain in islice(self._waiting, self._concurrency)}
        if len(chained) > self._concurrency:
            context = contextvars.copy_context()
            for task in self._running:
                task.add_done_callback(self._start_next, context=context)
        if self._deadline is None:
            await self._until(None)
        else:
            await self._until(self._deadline - self._margin)
            if self._running:
                self._stop_all()
                await self._until(self._deadline - self._margin * STOPPING_SHARE)
        if self._running:
            await self._leave(self._running)
        return [self._outcome(delivery) for delivery in deliveries]

    def _start_next(self, ended: asyncio.Task[None]) -> None:
        """Start the next chain in the place of one that has ended.

        A task of its own, and a callback that runs in the context of the invocation: no record sees the context
        variables or a late cancellation of the record before it.
        """
        if self._stopping or (chain := next(self._waiting, None)) is None:
            return
        task = ended.get_loop().create_task(self._chain(chain))
        self._running.add(task)
        task.add_done_callback(self._start_next, context=contextvars.copy_context())

    async def _leave(self, running: set[asyncio.Task[None]]) -> None:
        """Wait no longer for these. Only code of a task can ignore being stopped; the others wait for AWS."""
        logger.error(
            "%d records ignored the deadline: they are reported as failed, their leases are left",
            len(running),
            extra={"action": "deadline_ignored"},
        )
        self.stuck = running & {context._task for context in self._executor.running.values()}
        self._given_up = True
        for task in running - self.stuck:
            task.cancel()
        await asyncio.sleep(0)

    def _outcome(self, delivery: Delivery) -> Outcome:
        outcome = self._outcomes.get(id(delivery))
        if outcome is None:
            return LOST if id(delivery) in self._started else Release(0)
        return outcome

    async def _until(self, when: float | None) -> None:
        """Wait until all has ended, at most until `when` (epoch seconds)."""
        while self._running:
            timeout = None if when is None else max(0.0, when - self._clock.time())
            ended, late = await asyncio.wait(self._running, timeout=timeout)
            self._running -= ended
            if late:
                return

    def _stop_all(self) -> None:
        self._stopping = True
        self._executor.drain()
        for context in list(self._executor.running.values()):
            self._executor.stop(context, "deadline")

    async def _chain(self, chain: Sequence[Delivery]) -> None:
        """Process records in order. Those after one that stays in the queue are released by `_outcome`."""
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
            # A cancellation is one that the task brought on itself, before the batch is given up.
            if self._given_up:
                raise
            logger.exception("message %s was not processed", delivery.message_id, extra={"action": "process_fault"})
            return LOST
        finally:
            if start.running:
                start.end()


def _margin(given: float | None, remaining: float) -> float:
    if given is None:
        return min(LONGEST_MARGIN, MARGIN_SHARE * remaining)
    # A margin that leaves nothing would keep even the first record from ever being started.
    return given if given < remaining else MARGIN_SHARE * max(0.0, remaining)
