"""Where sync tasks wait, unclaimed, until a thread is free."""

from __future__ import annotations

import asyncio


class ThreadLimiter:
    """Lets so many through at once, and nobody any more once it is closed.

    Attributes:
        closed: the driver gives back what has not started.
        admitted: how many were let through so far.
    """

    def __init__(self, room: int) -> None:
        self.closed = False
        self.admitted = 0
        self._room = asyncio.Semaphore(room)
        self._waiting: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        """Turn away who waits, and who comes."""
        self.closed = True
        for task in self._waiting:
            task.cancel()

    def open(self) -> None:
        """Let them through again."""
        self.closed = False

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def enter(self) -> bool:
        """Wait for a place, to be given up by `leave`. False: the gate is closed."""
        if self._is_closed():
            return False
        if not self._room.locked():
            self.admitted += 1
            return await self._room.acquire()
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        try:
            await self._room.acquire()
            self.admitted += 1
            return True
        except asyncio.CancelledError:
            if not self._is_closed():
                raise
            task.uncancel()
            return False
        finally:
            self._waiting.discard(task)

    def leave(self) -> None:
        """Give a place up."""
        self._room.release()

    def _is_closed(self) -> bool:  # a method, since the attribute changes while `enter` waits
        return self.closed
