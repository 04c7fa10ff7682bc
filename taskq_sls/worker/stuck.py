"""Notices attempts that ignore their time limit up to their `hard_timeout`, on the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ..core.context import TaskContext
from ..engine.executor import Executor
from ..middleware.logging import fields

logger = logging.getLogger("taskq_sls.worker")

LOOK_SECONDS = 0.5
"""Seconds between two checks if no time limit has struck."""

CLOSE_LOOK_SECONDS = 0.05
"""The same while an attempt goes on beyond its time limit."""


class StuckWatch:
    """Ends the worker over code that cannot be ended otherwise: its message is left to its lease.

    Only the time in which the loop turned counts: an attempt cannot end while another task blocks the loop.

    Args:
        ask_to_end: stops the worker cleanly.
    """

    def __init__(self, executor: Executor, ask_to_end: Callable[[], object]) -> None:
        self._executor = executor
        self._ask_to_end = ask_to_end
        self._stuck: set[TaskContext] = set()

    def count(self) -> int:
        """Attempts that still run and will not end."""
        return sum(context in self._stuck for context in self._executor.running.values())

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        struck: set[TaskContext] = set()
        looked = loop.time()
        while True:
            pause = CLOSE_LOOK_SECONDS if struck else LOOK_SECONDS
            await asyncio.sleep(pause)
            blocked, looked = loop.time() - looked - pause, loop.time()
            before, struck = struck, set()
            for context in list(self._executor.running.values()):
                if context._stuck_at is None:
                    continue
                struck.add(context)
                context._stuck_at += blocked
                if context._stuck_at <= looked and context in before and context not in self._stuck:
                    self._stuck.add(context)
                    self._end_over(context)
            self._stuck &= struck

    def _end_over(self, context: TaskContext) -> None:
        logger.critical(
            "%s has ignored its time limit of %g s for %g s more: this worker ends, and its message is left to its "
            "lease; run_in='process' would have let the task alone be killed",
            context.task,
            context.timeout,
            (context._stuck_after or 0) - (context.timeout or 0),
            extra=fields(context, "worker_stuck"),
        )
        self._ask_to_end()
