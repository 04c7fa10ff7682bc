"""Free slots, shared between the polls of several queues by weight."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from ..brokers.base import MAX_BATCH, MAX_WAIT

GATHER_SECONDS = 0.02
"""How long a poll waits for more free slots before it asks for fewer than ten messages.

Asking for one message whenever one slot comes free would cost a request per task."""

SCARCE_WAIT = 1
"""Seconds of a poll where queues have to take turns for too few slots."""

PROMPT = 0.25
"""Seconds within which a queue with a backlog answers a poll; one that takes longer has none left."""


class Slots:
    """So many tasks may be held at once; a poll reserves what it asks for, so nothing is fetched that cannot start.

    An idle queue's poll reserves one slot only, so that it does not keep the others from a busy queue. Of the queues
    that have a backlog each may hold its share of the slots by weight. Where slots are scarce, the queue that has
    been served least for its weight goes first.

    Args:
        total: slots in all, 1 or more.
        weights: share of each queue, above 0.
    """

    def __init__(self, total: int, weights: Mapping[str, float]) -> None:
        self.total = total
        self.free = total
        self._queues = {name: _Queue(weight) for name, weight in weights.items()}
        self._settled = asyncio.Event()
        self._closed = False

    async def reserve(self, queue: str) -> int:
        """Take 1 to 10 slots for a poll of `queue`; waits until there are any."""
        mine = self._queues[queue]
        wish = min(mine.wish, self.total)
        mine.wants = True
        try:
            if self.free < wish:
                await self._gather(wish)
            while not self._closed and not self._is_next(mine):
                await self._wait(mine)
        finally:
            mine.wants = False
        # One slot is left for each queue that has no poll open, or it would wait for this poll to end.
        others = sum(other.opened is None for other in self._queues.values() if other is not mine)
        taken = max(1, min(wish, self.free - others, self._room(mine)))
        self.free -= taken
        mine.held += taken
        mine.opened = asyncio.get_running_loop().time()
        self._wake()
        return taken

    def reserve_more(self, queue: str) -> bool:
        """Take ten slots for one more poll of a queue that has a backlog; False where fewer are free for it.

        Nothing is taken that another queue waits for.
        """
        mine = self._queues[queue]
        others = sum(other.opened is None for other in self._queues.values() if other is not mine)
        if self._closed or self.free - others < MAX_BATCH or self._room(mine) < MAX_BATCH:
            return False
        self.free -= MAX_BATCH
        mine.held += MAX_BATCH
        return True

    def polled_more(self, queue: str, received: int) -> None:
        """One more poll of a queue ended."""
        mine = self._queues[queue]
        mine.served += received / mine.weight
        self.give_back(queue, MAX_BATCH - received)

    def polled(self, queue: str, reserved: int, received: int) -> None:
        """A poll ended: give back what it did not use."""
        mine = self._queues[queue]
        mine.opened = None
        mine.busy = received > 0
        mine.served += received / mine.weight
        if len(self._queues) > 1:
            # With one queue there is nobody to leave slots to, and asking for ten costs the same as for one.
            mine.wish = min(MAX_BATCH, max(1, received * 2))
        # Who was away has no claim to what the others got meanwhile.
        mine.served = max(mine.served, max(other.served for other in self._queues.values()) - self.total)
        self.give_back(queue, reserved - received)

    def give_back(self, queue: str, count: int = 1) -> None:
        """Slots of a queue have become free."""
        self._queues[queue].held -= count
        self.free += count
        if self.free > 0:
            self._settled.set()
            self._wake()

    def close(self) -> None:
        """Wake every waiting poll, to let it see that the worker is stopping."""
        self._closed = True
        self._settled.set()
        for queue in self._queues.values():
            queue.wake()

    def longest_wait(self) -> int:
        """Seconds that a poll may wait for a first message.

        Where not every queue can have a poll open at once, polls take turns and are short. One that keeps a queue
        waiting that had messages the last time does not wait at all.
        """
        if self.total >= len(self._queues):
            return MAX_WAIT
        return 0 if any(queue.wants and queue.busy for queue in self._queues.values()) else SCARCE_WAIT

    async def _gather(self, wish: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + GATHER_SECONDS
        while not self._closed and self.free < wish and (left := until - loop.time()) > 0:
            self._settled.clear()
            try:
                async with asyncio.timeout(left):
                    await self._settled.wait()
            except TimeoutError:
                return

    async def _wait(self, mine: _Queue) -> None:
        mine.woken = asyncio.get_running_loop().create_future()
        # Nobody tells when another queue's poll has taken so long that it cannot have a backlog.
        await asyncio.wait([mine.woken], timeout=PROMPT)
        mine.woken = None

    def _is_next(self, mine: _Queue) -> bool:
        """Whether it is the turn of a queue that wants slots."""
        if self.free < 1 or self._room(mine) < 1:
            return False
        waiting = [other for other in self._queues.values() if other.wants and self._room(other) > 0]
        return self.free > len(waiting) or mine.served <= min(other.served for other in waiting)

    def _room(self, mine: _Queue) -> int:
        """How many more slots a queue may hold: its share by weight, while others have a backlog."""
        now = asyncio.get_running_loop().time()
        others = sum(other.weight for other in self._queues.values() if other is not mine and other.has_backlog(now))
        if not others:
            return self.total
        return math.ceil(self.total * mine.weight / (mine.weight + others)) - mine.held

    def _wake(self) -> None:
        if self.free < 1:
            return
        for queue in sorted(self._queues.values(), key=lambda queue: queue.served):
            if queue.woken is not None and not queue.woken.done() and self._room(queue) > 0:
                queue.wake()
                return


class _Queue:
    """What is known of one queue. Times are the event loop's."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.held = 0
        self.served = 0.0
        self.wish = MAX_BATCH
        self.busy = False
        self.wants = False
        self.opened: float | None = None
        self.woken: asyncio.Future[None] | None = None

    def has_backlog(self, now: float) -> bool:
        return self.busy and (self.opened is None or now - self.opened < PROMPT)

    def wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)
