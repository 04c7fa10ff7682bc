"""The records of one invocation, run before its deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ..clock import Clock
from ..delivery import LOST, Delivery, Outcome, Release
from ..executor import Executor
from ..groups import chains, settles
from ..plan import Plan

logger = logging.getLogger("taskq_sls.serverless")

LONGEST_MARGIN = 5.0
MARGIN_SHARE = 0.2
"""The deadline margin: 20 % of the function's timeout, at most 5 seconds."""

STOPPING_SHARE = 0.5
"""Share of the margin in which attempts that were stopped may end; the rest is for their messages."""

UNTIMED_NEED = 1.0
"""Seconds that must remain before the margin to start a record whose task has no timeout."""


class Batch:
    """Runs records concurrently, those of a FIFO group in order.

    Args:
        deadline: epoch seconds at which the process is killed, or None.
        margin: seconds before it at which work must have ended; None for 20 % of what remains, at most 5.
        concurrency: most records at once; None for all.

    Attributes:
        stuck: what ignored the deadline and still runs after `run`.
    """

    def __init__(
        self,
        executor: Executor,
        clock: Clock,
        deadline: float | None,
        margin: float | None,
        concurrency: int | None,
    ) -> None:
        self._executor = executor
        self._clock = clock
        self._deadline = deadline
        self._margin = 0.0 if deadline is None else _margin(margin, deadline - clock.time())
        self._gate = asyncio.Semaphore(concurrency) if concurrency is not None else None
        self._first: Delivery | None = None
        # By identity: two records can be equal in all they say.
        self._started: set[int] = set()
        self._outcomes: dict[int, Outcome] = {}
        self._given_up = False
        self.stuck: set[asyncio.Task[None]] = set()

    async def run(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """An outcome for each delivery, in order, in time before the deadline."""
        if not deliveries:
            return []
        self._first = deliveries[0]
        self._executor.resume()
        chained = chains(deliveries, lambda queue: queue.endswith(".fifo"))
        loop = asyncio.get_running_loop()  # once: asking is a system call
        running = {loop.create_task(self._chain(chain)) for chain in chained}
        if self._deadline is None:
            _, running = await asyncio.wait(running)
        else:
            running = await self._until(running, self._deadline - self._margin)
            if running:
                self._stop_all()
                running = await self._until(running, self._deadline - self._margin * STOPPING_SHARE)
        if running:
            await self._leave(running)
        return [self._outcome(delivery) for delivery in deliveries]

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
        unfinished = LOST if id(delivery) in self._started else Release(0)
        return self._outcomes.get(id(delivery), unfinished)

    async def _until(self, running: set[asyncio.Task[None]], when: float) -> set[asyncio.Task[None]]:
        """What still runs at `when` (epoch seconds)."""
        _, late = await asyncio.wait(running, timeout=max(0.0, when - self._clock.time()))
        return late

    def _stop_all(self) -> None:
        self._executor.drain()
        for context in list(self._executor.running.values()):
            self._executor.stop(context, "deadline")

    async def _chain(self, chain: Sequence[Delivery]) -> None:
        blocked = False
        for delivery in chain:
            if blocked:
                self._outcomes[id(delivery)] = Release(0)
                continue
            if self._gate is None:
                outcome = await self._process(delivery)
            else:
                async with self._gate:
                    outcome = await self._process(delivery)
            blocked = not settles(outcome)
            self._outcomes[id(delivery)] = outcome

    async def _process(self, delivery: Delivery) -> Outcome:
        self._started.add(id(delivery))
        try:
            return await self._executor.process(
                delivery, self._deadline, lambda plan: delivery is self._first or self._has_time_for(plan)
            )
        except (Exception, asyncio.CancelledError):
            # A cancellation is one that the task brought on itself, before the batch is given up.
            if self._given_up:
                raise
            logger.exception("message %s was not processed", delivery.message_id, extra={"action": "process_fault"})
            return LOST

    def _has_time_for(self, plan: Plan) -> bool:
        if self._deadline is None:
            return True
        need = UNTIMED_NEED if plan.options.timeout is None else plan.options.timeout
        return self._deadline - self._margin - self._clock.time() >= need


def _margin(given: float | None, remaining: float) -> float:
    if given is None:
        return min(LONGEST_MARGIN, MARGIN_SHARE * remaining)
    # A margin that leaves nothing would keep even the first record from ever being started.
    return given if given < remaining else MARGIN_SHARE * max(0.0, remaining)
