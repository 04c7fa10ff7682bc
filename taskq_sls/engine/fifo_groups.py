"""FIFO order inside a driver: one delivery of a group at a time, and a failure holds its group's rest back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..core.delivery import DeadLetter, Delivery, Done, Outcome, Release

Process = Callable[[Delivery], Awaitable[Outcome]]


def fifo_groups(deliveries: Sequence[Delivery], fifo: Callable[[str], bool]) -> list[list[Delivery]]:
    """Split a batch into what must run one after the other: a chain per FIFO group, a chain of one otherwise."""
    by_group: dict[tuple[str, str], list[Delivery]] = {}
    result: list[list[Delivery]] = []
    for delivery in deliveries:
        if delivery.group is None or not fifo(delivery.queue):
            result.append([delivery])
            continue
        key = (delivery.queue, delivery.group)
        if key not in by_group:
            by_group[key] = []
            result.append(by_group[key])
        by_group[key].append(delivery)
    return result


def leaves_queue(outcome: Outcome) -> bool:
    """Whether the message leaves the queue, so that the next of its group may run."""
    return isinstance(outcome, Done | DeadLetter)


class GroupLocks:
    """Serialises deliveries of a group that came with different polls.

    SQS hands out nothing of a group while a message of it is held, so a second one can only come when a hold was
    lost; then order still holds here.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], _GroupLock] = {}

    async def run_chain(
        self,
        chain: Sequence[Delivery],
        process: Process,
        done: Callable[[Delivery, Outcome], Awaitable[None]],
        released: Callable[[], bool],
    ) -> None:
        """Process a chain in order; after one that stays in the queue, give the rest back untouched.

        Args:
            done: told of every outcome, in order.
            released: whether the driver is stopping, so that what has not started goes back.
        """
        head = chain[0]
        key = (head.queue, head.group or head.message_id)
        lock = self._locks.setdefault(key, _GroupLock())
        lock.users += 1
        try:
            async with lock:
                blocked = False
                for delivery in chain:
                    if blocked or released():
                        await done(delivery, Release(0))
                        continue
                    outcome = await process(delivery)
                    blocked = not leaves_queue(outcome)
                    await done(delivery, outcome)
        finally:
            # A lock that somebody still waits for must stay: a new one would let a third chain run beside that one.
            lock.users -= 1
            if lock.users == 0:
                del self._locks[key]


class _GroupLock(asyncio.Lock):
    users = 0
