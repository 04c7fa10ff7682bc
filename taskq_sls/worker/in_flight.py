"""The received messages of a worker that are not settled yet, and their order within FIFO groups."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable

from ..core.delivery import Delivery, Outcome, Release, leaves_queue


class InFlight:
    """Every received message that is not settled yet. Shared by the event loop and the heartbeat's thread.

    A heartbeat under way may still extend the visibility timeout of a message. So code that changes a message's
    visibility removes it first, and waits for the heartbeat that contains it: otherwise that heartbeat could undo a
    backoff.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[str, Delivery] = {}
        self._in_heartbeat: set[str] = set()
        self._deleting: set[str] = set()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        """Extend the visibility timeout of these messages from now on."""
        with self._lock:
            for delivery in deliveries:
                self._messages[delivery.receipt] = delivery

    def discard(self, delivery: Delivery) -> None:
        """Remove a message at once. For deleted or lost ones: a heartbeat under way does them no harm."""
        with self._lock:
            self._messages.pop(delivery.receipt, None)
            self._deleting.discard(delivery.receipt)

    def mark_deleting(self, deliveries: Iterable[Delivery]) -> None:
        """Keep these messages, but let a heartbeat accept that they no longer exist."""
        with self._lock:
            self._deleting.update(delivery.receipt for delivery in deliveries)

    async def remove_after_heartbeat(self, delivery: Delivery) -> None:
        """Remove a message, and wait until no heartbeat can extend its visibility timeout any more."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._messages.pop(delivery.receipt, None)
            if delivery.receipt not in self._in_heartbeat:
                return
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, future))
        await future

    # -- the heartbeat's thread ---------------------------------------------------------------------------------

    def begin_heartbeat(self, queue: str) -> list[Delivery]:
        """The messages of a queue, which are part of a heartbeat until `end_heartbeat`."""
        with self._lock:
            batch = [delivery for delivery in self._messages.values() if delivery.queue == queue]
            self._in_heartbeat.update(delivery.receipt for delivery in batch)
        return batch

    def end_heartbeat(self, batch: Iterable[Delivery]) -> None:
        """The calls of the heartbeat have returned: resume the code that waits for them."""
        with self._lock:
            self._in_heartbeat.difference_update(delivery.receipt for delivery in batch)
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:  # the loop is closed: the worker has ended
                pass

    def needs_heartbeat(self, delivery: Delivery) -> bool:
        """True if a message is still in flight, and not being deleted."""
        return delivery.receipt in self._messages and delivery.receipt not in self._deleting


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class FifoGroups:
    """Runs the messages of a FIFO group one after the other, in the order in which they came.

    After a message that stays in the queue, those that wait are released untouched. SQS delivers nothing of a group while
    a message of it is in flight, so one of another poll can only come after a visibility timeout has ended too early.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}

    def enter(self, delivery: Delivery) -> None:
        """Put a message at the end of its group. It must `leave` in the end."""
        self._groups.setdefault(_group_key(delivery), _Group()).messages += 1

    def leave(self, delivery: Delivery) -> None:
        """Forget a message, and its group if that was the last one."""
        group = self._groups[_group_key(delivery)]
        group.messages -= 1
        if group.messages == 0:
            del self._groups[_group_key(delivery)]

    async def run(
        self,
        delivery: Delivery,
        process: Callable[[Delivery], Awaitable[Outcome]],
        settle: Callable[[Delivery, Outcome], Awaitable[None]],
        stopping: Callable[[], bool],
    ) -> None:
        """Process and settle a message in its turn."""
        group = self._groups[_group_key(delivery)]
        async with group.lock:
            outcome: Outcome = Release(0)
            if not group.blocked and not stopping():
                group.blocked = True  # also if this raises
                outcome = await process(delivery)
            group.blocked = not leaves_queue(outcome)
            await settle(delivery, outcome)


class _Group:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.messages = 0
        self.blocked = False


def _group_key(delivery: Delivery) -> tuple[str, str]:
    return delivery.queue, delivery.group or delivery.message_id
