"""Logs once that a worker starts nothing any more while messages wait."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..brokers.base import Broker
    from ..engine.executor import Executor
    from .options import WorkerOptions
    from .poller import Poller
    from .slots import Slots

logger = logging.getLogger("taskq_sls.worker")

CHECK_SECONDS = 5.0
"""Seconds between two checks."""

SATURATED_SECONDS = 60.0
"""Seconds without a free slot or thread after which a worker counts as saturated."""

NAMES_SHOWN = 5
"""Task names in the warning at most."""


class SaturationWatch:
    """Warns once if no slot, or no thread for sync tasks, came free for a minute while messages wait."""

    def __init__(
        self, worker: WorkerOptions, executor: Executor, slots: Slots, fetchers: Sequence[Poller], broker: Broker
    ) -> None:
        self._worker = worker
        self._executor = executor
        self._slots = slots
        self._fetchers = fetchers
        self._broker = broker

    async def run(self) -> None:
        """Check until the warning has been logged."""
        loop = asyncio.get_running_loop()
        seen, since = self._full(), loop.time()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            full = self._full()
            if full is None or full != seen:
                seen, since = full, loop.time()
            elif loop.time() - since >= SATURATED_SECONDS and await self._messages_wait():
                self._warn(full[0])
                return

    def _full(self) -> tuple[str, int] | None:
        """The resource that is used up, and a count that changes if one of its places is given to another task."""
        waiting, admitted = self._executor.thread_line
        if waiting:
            return f"{self._worker.threads} threads", admitted
        return (f"{self._slots.total} slots", self._worker.done) if self._unpolled() else None

    def _unpolled(self) -> list[str]:
        """The queues without an open poll because no slot is free. An open poll takes slots too."""
        return [] if self._slots.free else [fetcher.queue for fetcher in self._fetchers if not fetcher.polling]

    async def _messages_wait(self) -> bool:
        if self._executor.thread_line[0]:
            return True
        try:
            depths = [await self._broker.depth(queue) for queue in self._unpolled()]
        except Exception:  # the polls report it
            return False
        return any(depth.visible for depth in depths)

    def _warn(self, resource: str) -> None:
        names = Counter(context.task for context in self._executor.running.values()).most_common(NAMES_SHOWN)
        logger.warning(
            "all %s have been taken for %.0f s and messages wait; running: %s. If these tasks wait for other tasks, "
            "let them enqueue the next step instead of waiting; if they only take long, raise concurrency or threads, "
            "or start more workers",
            resource,
            SATURATED_SECONDS,
            ", ".join(f"{name} ({count})" for name, count in names) or "none",
            extra={"action": "worker_saturated"},
        )
