"""Sync tasks wait here, unclaimed, until a thread is free."""

from __future__ import annotations

import asyncio
import time


class ThreadLimiter:
    """Limits how many sync tasks run at once.

    Attributes:
        draining: no task gets a thread any more.
        admitted: how many got a thread so far.
    """

    def __init__(self, limit: int) -> None:
        self.draining = False
        self.admitted = 0
        self._free = asyncio.Semaphore(limit)
        self._waiting: set[asyncio.Task[object]] = set()

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return len(self._waiting)

    def drain(self) -> None:
        """Refuse every task that waits, and every one that comes, until `draining` is False again."""
        self.draining = True
        for task in self._waiting:
            task.cancel()

    async def acquire(self) -> float | None:
        """Wait for a thread, to be returned by `release`.

        Returns:
            The seconds waited; None: there is no thread, since the driver drains.
        """
        if self.draining:
            return None
        if not self._free.locked():
            self.admitted += 1
            await self._free.acquire()
            return 0.0
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        since = time.monotonic()
        try:
            await self._free.acquire()
        except asyncio.CancelledError:
            if not self._is_draining():
                raise
            task.uncancel()
            return None
        finally:
            self._waiting.discard(task)
        self.admitted += 1
        return time.monotonic() - since

    def release(self) -> None:
        """Return a thread."""
        self._free.release()

    def _is_draining(self) -> bool:  # a method, since the attribute changes while `acquire` waits
        return self.draining
