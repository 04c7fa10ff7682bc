"""Free slots, shared between the polls of several queues by weight."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from ..brokers.base import MAX_BATCH, MAX_WAIT

GATHER_SECONDS = 0.02
"""How long a poll waits for more free slots before it asks for fewer than ten messages.

Asking for one message each time a slot becomes free would cost one request per task."""

SHORT_POLL_SECONDS = 1
"""Length of a poll if the queues have to take turns for too few slots."""

BACKLOG_ANSWER_SECONDS = 0.25
"""A queue with a backlog answers a poll within this time. One that takes longer has no backlog any more."""


class Slots:
    """Limits the messages in flight. A poll reserves a slot for each message that it asks for.

    So no message is received that cannot start. The poll of an idle queue reserves one slot only, to leave the others
    to a busy queue. Queues with a backlog share the slots by weight. If slots are scarce, the queue with the smallest
    use for its weight polls first.

    Args:
        total: number of slots, 1 or more.
        weights: share of each queue, above 0.
    """

    def __init__(self, total: int, weights: Mapping[str, float]) -> None:
        self.total = total
        self.free = total
        self._queues = {name: _Queue(weight) for name, weight in weights.items()}
        self._settled = asyncio.Event()
        self._closed = False

    async def reserve(self, queue: str) -> int:
        """Take 1 to 10 slots for a poll of `queue`. Waits until a slot is free for it."""
        mine = self._queues[queue]
        batch_size = min(mine.batch_size, self.total)
        mine.waiting = True
        try:
            if self.free < batch_size:
                await self._gather(batch_size)
            while not self._closed and not self._is_next(mine):
                await self._wait(mine)
        finally:
            mine.waiting = False
        taken = max(1, min(batch_size, self._free_for(mine), self._share_left(mine)))
        self.free -= taken
        mine.used += taken
        mine.polled_at = asyncio.get_running_loop().time()
        self._wake()
        return taken

    def reserve_extra(self, queue: str) -> bool:
        """Take ten slots for an extra poll of a queue with a backlog. False if fewer are free for it."""
        mine = self._queues[queue]
        if self._closed or self._free_for(mine) < MAX_BATCH or self._share_left(mine) < MAX_BATCH:
            return False
        self.free -= MAX_BATCH
        mine.used += MAX_BATCH
        return True

    def extra_poll_ended(self, queue: str, received: int) -> None:
        mine = self._queues[queue]
        mine.weighted_use += received / mine.weight
        self.release(queue, MAX_BATCH - received)

    def poll_ended(self, queue: str, reserved: int, received: int) -> None:
        """Release the slots that a poll reserved and did not use."""
        mine = self._queues[queue]
        mine.polled_at = None
        mine.busy = received > 0
        mine.weighted_use += received / mine.weight
        if len(self._queues) > 1:
            # A single queue always asks for ten: that costs the same as asking for one.
            mine.batch_size = min(MAX_BATCH, max(1, received * 2))
        # Cap the credit of a queue that was idle, so it cannot starve the others when it returns.
        most_used = max(other.weighted_use for other in self._queues.values())
        mine.weighted_use = max(mine.weighted_use, most_used - self.total)
        self.release(queue, reserved - received)

    def release(self, queue: str, count: int = 1) -> None:
        """Free slots of a queue."""
        self._queues[queue].used -= count
        self.free += count
        if self.free > 0:
            self._settled.set()
            self._wake()

    def close(self) -> None:
        """Wake every waiting poll, because the worker stops."""
        self._closed = True
        self._settled.set()
        for queue in self._queues.values():
            queue.wake()

    def longest_wait(self) -> int:
        """Longest time in seconds that a poll may wait for a first message.

        If there are more queues than slots, polls take turns and are short. They do not wait at all while a queue
        waits whose last poll received messages.
        """
        if self.total >= len(self._queues):
            return MAX_WAIT
        return 0 if any(queue.waiting and queue.busy for queue in self._queues.values()) else SHORT_POLL_SECONDS

    async def _gather(self, batch_size: int) -> None:
        """Wait a moment for `batch_size` free slots."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GATHER_SECONDS
        while not self._closed and self.free < batch_size and (left := until - loop.time()) > 0:
            self._settled.clear()
            try:
                async with asyncio.timeout(left):
                    await self._settled.wait()
            except TimeoutError:
                return

    async def _wait(self, mine: _Queue) -> None:
        mine.woken = asyncio.get_running_loop().create_future()
        # With a timeout: nothing signals that a poll of another queue has taken too long for a backlog.
        await asyncio.wait([mine.woken], timeout=BACKLOG_ANSWER_SECONDS)
        mine.woken = None

    def _is_next(self, mine: _Queue) -> bool:
        """True if it is the turn of a queue that waits for slots."""
        if self.free < 1 or self._share_left(mine) < 1:
            return False
        waiting = [other for other in self._queues.values() if other.waiting and self._share_left(other) > 0]
        return self.free > len(waiting) or mine.weighted_use <= min(other.weighted_use for other in waiting)

    def _free_for(self, mine: _Queue) -> int:
        """The free slots, but one for each other queue without an open poll: it would wait for the end of this one."""
        return self.free - sum(other.polled_at is None for other in self._queues.values() if other is not mine)

    def _share_left(self, mine: _Queue) -> int:
        """How many more slots a queue may use: its share by weight, while others have a backlog."""
        now = asyncio.get_running_loop().time()
        others = sum(other.weight for other in self._queues.values() if other is not mine and other.has_backlog(now))
        if not others:
            return self.total
        return math.ceil(self.total * mine.weight / (mine.weight + others)) - mine.used

    def _wake(self) -> None:
        if self.free < 1:
            return
        for queue in sorted(self._queues.values(), key=lambda queue: queue.weighted_use):
            if queue.woken is not None and not queue.woken.done() and self._share_left(queue) > 0:
                queue.wake()
                return


class _Queue:
    """The slots and polls of one queue.

    Attributes:
        used: its slots, those of open polls included.
        weighted_use: messages received, divided by its weight.
        batch_size: slots that its next poll asks for.
        busy: True if its last poll received messages.
        waiting: True while a poll waits for slots.
        polled_at: start of its open poll, by the event loop's clock; None without one.
        woken: ends the wait for slots.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.used = 0
        self.weighted_use = 0.0
        self.batch_size = MAX_BATCH
        self.busy = False
        self.waiting = False
        self.polled_at: float | None = None
        self.woken: asyncio.Future[None] | None = None

    def has_backlog(self, now: float) -> bool:
        return self.busy and (self.polled_at is None or now - self.polled_at < BACKLOG_ANSWER_SECONDS)

    def wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)
