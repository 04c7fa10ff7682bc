"""Free slots, shared between the polls of several queues by weight."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ..brokers.base import MAX_BATCH, MAX_WAIT

GATHER_SECONDS = 0.02
"""How long a poll waits for more free slots before it asks for fewer than ten messages.

Asking for one message whenever one slot comes free would cost a request per task."""


SCARCE_WAIT = 1
"""Seconds of a poll where queues have to take turns for too few slots."""


class Slots:
    """So many tasks may be held at once; a poll reserves what it asks for, so nothing is fetched that cannot start.

    An idle queue's poll reserves one slot only, so that it does not keep the others from a busy queue. Where slots
    are scarce, the queue that has been served least for its weight goes first.

    Args:
        total: slots in all, 1 or more.
        weights: share of each queue, above 0.
    """

    def __init__(self, total: int, weights: Mapping[str, float]) -> None:
        self.total = total
        self.free = total
        self._weights = dict(weights)
        self._served = dict.fromkeys(weights, 0.0)
        self._wish = dict.fromkeys(weights, MAX_BATCH)
        self._busy = dict.fromkeys(weights, False)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._open: set[str] = set()
        self._settled = asyncio.Event()

    async def reserve(self, queue: str) -> int:
        """Take 1 to 10 slots for a poll of `queue`; waits until there are any."""
        wish = min(self._wish[queue], self.total)
        if self.free < wish:
            await self._gather(wish)
        while self.free < 1 or self._someone_is_hungrier(queue):
            future = asyncio.get_running_loop().create_future()
            self._waiting[queue] = future
            try:
                await future
            finally:
                self._waiting.pop(queue, None)
        # One slot is left for each queue that has no poll open, or it would wait for this poll to end.
        others = len(self._weights) - 1 - len(self._open - {queue})
        taken = max(1, min(wish, self.free - others))
        self.free -= taken
        self._open.add(queue)
        self._wake()
        return taken

    def polled(self, queue: str, reserved: int, received: int) -> None:
        """A poll ended: give back what it did not use."""
        self._open.discard(queue)
        self.give_back(reserved - received)
        self._busy[queue] = received > 0
        self._served[queue] += received / self._weights[queue]
        if len(self._weights) > 1:
            # With one queue there is nobody to leave slots to, and asking for ten costs the same as for one.
            self._wish[queue] = min(MAX_BATCH, max(1, received * 2))
        if min(self._served.values()) > 1e6:
            self._served = dict.fromkeys(self._served, 0.0)

    def give_back(self, count: int = 1) -> None:
        """Slots have become free."""
        self.free += count
        if self.free > 0:
            self._settled.set()
            self._wake()

    def close(self) -> None:
        """Wake every waiting poll, to let it see that the worker is stopping."""
        self.free += self.total + len(self._weights) * MAX_BATCH
        self._settled.set()
        self._served = dict.fromkeys(self._served, 0.0)
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_result(None)

    def longest_wait(self) -> int:
        """Seconds that a poll may wait for a first message.

        Where not every queue can have a poll open at once, polls take turns and are short. One that keeps a queue
        waiting that had messages the last time does not wait at all.
        """
        if self.total >= len(self._weights):
            return MAX_WAIT
        return 0 if any(self._busy[queue] for queue in self._waiting) else SCARCE_WAIT

    async def _gather(self, wish: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + GATHER_SECONDS
        while self.free < wish and (left := until - loop.time()) > 0:
            self._settled.clear()
            try:
                async with asyncio.timeout(left):
                    await self._settled.wait()
            except TimeoutError:
                return

    def _someone_is_hungrier(self, queue: str) -> bool:
        return self.free <= len(self._waiting) and any(
            self._served[other] < self._served[queue] for other in self._waiting if other != queue
        )

    def _wake(self) -> None:
        if self.free < 1:
            return
        for queue in sorted(self._waiting, key=self._served.__getitem__):
            future = self._waiting[queue]
            if not future.done():
                future.set_result(None)
                return
