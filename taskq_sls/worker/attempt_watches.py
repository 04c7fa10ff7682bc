"""Watches a worker's attempts on its event loop: those that do not end, and slots that never become free."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..engine.attempt import Attempt
from ..engine.executor import Executor
from ..middleware.logging import fields

if TYPE_CHECKING:
    from ..brokers.base import Broker
    from .options import WorkerOptions
    from .poller import Poller
    from .slots import Slots


logger = logging.getLogger("taskq_sls.worker")

STUCK_CHECK_SECONDS = 0.5
"""Seconds between two checks for stuck attempts if no attempt has passed its time limit."""

CLOSE_CHECK_SECONDS = 0.05
"""The same while an attempt runs beyond its time limit."""


class StuckWatch:
    """Ends the worker if an attempt ignores its time limit up to its `hard_timeout`.

    Its code cannot be ended otherwise. The message is redelivered once the lease has ended. Only the time in which the
    loop turned counts: an attempt cannot end while another task blocks the loop.

    Args:
        ask_to_end: stops the worker cleanly.
    """

    def __init__(self, executor: Executor, ask_to_end: Callable[[], object]) -> None:
        self._executor = executor
        self._ask_to_end = ask_to_end
        self._stuck: set[Attempt] = set()

    def count(self) -> int:
        """Number of running attempts that will not end."""
        return sum(attempt in self._stuck for attempt in self._executor.running.values())

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        late: set[Attempt] = set()
        checked_at = loop.time()
        while True:
            pause = CLOSE_CHECK_SECONDS if late else STUCK_CHECK_SECONDS
            await asyncio.sleep(pause)
            blocked, checked_at = loop.time() - checked_at - pause, loop.time()
            before, late = late, set()
            for attempt in list(self._executor.running.values()):
                execution = attempt.execution
                if execution.stuck_at is None:
                    continue
                late.add(attempt)
                execution.stuck_at += blocked
                if execution.stuck_at <= checked_at and attempt in before and attempt not in self._stuck:
                    self._stuck.add(attempt)
                    self._end_over(attempt)
            self._stuck &= late

    def _end_over(self, attempt: Attempt) -> None:
        context = attempt.context
        logger.critical(
            "%s has ignored its time limit of %g s for %g s more: this worker ends. The message is redelivered once its "
            "lease has ended. With run_in='process' only the task would be killed",
            context.task,
            context.timeout,
            (attempt.execution.stuck_after or 0) - (context.timeout or 0),
            extra=fields(context, "worker_stuck"),
        )
        self._ask_to_end()


SATURATION_CHECK_SECONDS = 5.0
"""Seconds between two checks for saturation."""

SATURATED_SECONDS = 60.0
"""Seconds without a free slot or thread after which a worker counts as saturated."""

MAX_NAMES_SHOWN = 5
"""Most task names in the warning."""


class SaturationWatch:
    """Warns once if no slot, or no thread for sync tasks, came free for a minute while messages wait."""

    def __init__(
        self, worker: WorkerOptions, executor: Executor, slots: Slots, pollers: Sequence[Poller], broker: Broker
    ) -> None:
        self._worker = worker
        self._executor = executor
        self._slots = slots
        self._pollers = pollers
        self._broker = broker

    async def run(self) -> None:
        """Check until the warning has been logged."""
        loop = asyncio.get_running_loop()
        seen, since = self._full(), loop.time()
        while True:
            await asyncio.sleep(SATURATION_CHECK_SECONDS)
            full = self._full()
            if full is None or full != seen:
                seen, since = full, loop.time()
            elif loop.time() - since >= SATURATED_SECONDS and await self._messages_wait():
                self._warn(full[0])
                return

    def _full(self) -> tuple[str, int] | None:
        """The exhausted resource, and a count that changes whenever a task gets one of its places; else None."""
        threads = self._executor.threads
        if threads.waiting:
            return f"{self._worker.threads} threads", threads.admitted
        return (f"{self._slots.total} slots", self._worker.done) if self._unpolled() else None

    def _unpolled(self) -> list[str]:
        """The queues without an open poll because no slot is free. An open poll uses slots too."""
        return [] if self._slots.free else [poller.queue for poller in self._pollers if not poller.polling]

    async def _messages_wait(self) -> bool:
        if self._executor.threads.waiting:
            return True
        try:
            depths = [await self._broker.depth(queue) for queue in self._unpolled()]
        except Exception:  # the polls log it
            return False
        return any(depth.visible for depth in depths)

    def _warn(self, resource: str) -> None:
        names = Counter(attempt.context.task for attempt in self._executor.running.values()).most_common(
            MAX_NAMES_SHOWN
        )
        logger.warning(
            "all %s have been in use for %.0f s and messages wait; running: %s. If these tasks wait for other tasks, "
            "let them enqueue the next step instead. If they only take long, raise concurrency or threads, or start more "
            "workers",
            resource,
            SATURATED_SECONDS,
            ", ".join(f"{name} ({count})" for name, count in names) or "none",
            extra={"action": "worker_saturated"},
        )
