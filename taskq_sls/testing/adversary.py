"""The broker in memory at its worst: everything that SQS is allowed to do, by seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from ..brokers.base import Answer, EntryError, Outgoing, QueueDepth
from ..brokers.memory import MemoryBroker, MemoryQueue, StoredMessage
from ..core.clock import Clock
from ..core.delivery import DeadLetter, Delivery
from ..core.queues import Queue
from .faults import Faults, check_chance

Item = TypeVar("Item")

FAILED_ENTRY = EntryError("InternalError", "injected by the test", transient=True)
"""The answer for an entry that fails on purpose."""


class AdversarialBroker(MemoryBroker):
    """A `MemoryBroker` that uses every freedom SQS has. Equal seeds and calls give equal behaviour.

    Standard queues deliver out of order, deliver a message in flight to a second receiver (the first receipt
    then has no effect), and deliver deleted messages once more. FIFO queues keep their order and
    deduplicate for five minutes, deleted or not. The visibility timeout
    starts at the receive, even if the answer to the receive was lost. Calls fail as `faults` decides, with AwsError for the whole call or EntryError for an entry.

    Args:
        seed: of the random choices.
        faults: which calls fail; None: none.
        disorder: chance, 0 to 1, that a receive sees the messages in random order.
        duplicates: chance, 0 to 1, per receive and message in flight, that it is delivered a second time.
        ghosts: chance, 0 to 1, that a deleted message is delivered once more.
        dead_letter: whether each queue has a dead-letter queue.

    Raises:
        ConfigError: a chance is not from 0 to 1.
    """

    def __init__(
        self,
        clock: Clock,
        queues: Iterable[Queue | str],
        *,
        seed: int,
        faults: Faults | None = None,
        disorder: float = 0.5,
        duplicates: float = 0.02,
        ghosts: float = 0.05,
        dead_letter: bool = True,
    ) -> None:
        self._mischief = _Mischief(random.Random(seed), disorder, duplicates, ghosts)
        self._faults = faults or Faults(seed, before=0, after=0, entries=0)
        self.queue_type = functools.partial(_AdversarialQueue, self._mischief)
        super().__init__(clock, queues, dead_letter=dead_letter)

    def calm(self) -> None:
        """Behave from now on, so that a test can drain its queues: no more mischief, no more faults."""
        self._mischief.calm = True
        self._faults.calm()

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        return await self._batch("send", messages, super().send)

    async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
        receive = super().receive
        return await self._faults.around(
            "receive", lambda: receive(queue, max_messages=max_messages, wait=wait, visibility=visibility)
        )

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        return await self._batch("ack", deliveries, super().ack)

    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        return await self._batch("change_visibility", entries, super().change_visibility)

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        return await self._batch("dead_letter", entries, super().dead_letter)

    async def depth(self, queue: str) -> QueueDepth:
        depth = super().depth
        return await self._faults.around("depth", lambda: depth(queue))

    async def _batch(
        self, operation: str, entries: Sequence[Item], call: Callable[[Sequence[Item]], Awaitable[list[Answer]]]
    ) -> list[Answer]:
        async def run() -> list[Answer]:
            effective, failed = self._faults.split(operation, entries)
            found = await call([entries[position] for position in effective])
            answers = dict(zip(effective, found, strict=True))
            return [FAILED_ENTRY if position in failed else answers[position] for position in range(len(entries))]

        return await self._faults.around(operation, run)


class _Mischief:
    """Faults allowed on the queues of one broker, and their shared random source."""

    def __init__(self, dice: random.Random, disorder: float, duplicates: float, ghosts: float) -> None:
        for name, chance in (("disorder", disorder), ("duplicates", duplicates), ("ghosts", ghosts)):
            check_chance("AdversarialBroker", name, chance)
        self._dice = dice
        self.disorder = disorder
        self.duplicates = duplicates
        self.ghosts = ghosts
        self.calm = False

    def happens(self, chance: float) -> bool:
        return not self.calm and self._dice.random() < chance

    def shuffle(self, messages: list[StoredMessage]) -> None:
        self._dice.shuffle(messages)


class _AdversarialQueue(MemoryQueue):
    """A queue that delivers more cruelly. FIFO queues promise more, and keep it."""

    def __init__(
        self,
        mischief: _Mischief,
        name: str,
        max_receives: int = 0,
        dead_letter_queue: MemoryQueue | None = None,
    ) -> None:
        super().__init__(name, max_receives, dead_letter_queue)
        self._mischief = mischief
        self._ghosts: list[StoredMessage] = []
        self._came_back: set[str] = set()

    def candidates(self, now: float) -> Iterable[StoredMessage]:
        if self.fifo:
            return super().candidates(now)
        self._bring_back(now)
        found = [
            message
            for message in self.messages.values()
            if message.visible_at <= now
            or (message.in_flight(now) and self._mischief.happens(self._mischief.duplicates))
        ]
        if self._mischief.happens(self._mischief.disorder):
            self._mischief.shuffle(found)
        return found

    def delete(self, receipt: str, now: float) -> Answer:
        before = self._by_receipt(receipt)
        answer = super().delete(receipt, now)
        deleted = before is not None and before.message_id not in self.messages
        if before is None or not deleted or self.fifo or before.message_id in self._came_back:
            return answer
        if self._mischief.happens(self._mischief.ghosts):
            self._ghosts.append(before)
        return answer

    def _bring_back(self, now: float) -> None:
        for ghost in [ghost for ghost in self._ghosts if self._mischief.happens(0.3)]:
            self._ghosts.remove(ghost)
            self._came_back.add(ghost.message_id)
            ghost.visible_at = now
            self.messages[ghost.message_id] = ghost
