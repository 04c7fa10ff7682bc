"""The broker in memory: the twin of SQS for tests and programs of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from ..core.clock import Clock
from ..core.delivery import DeadLetter, Delivery
from ..core.queues import Queue, dead_letter_name
from ..errors import MissingResource
from .base import MAX_VISIBILITY, Answer, Broker, EntryError, Outgoing, QueueDepth
from .dead_letters import dead_letter_copy
from .memory_queue import MemoryQueue, StoredMessage
from .sqs_limits import BEYOND_LIMIT, sizes, validate


class MemoryBroker(Broker):
    """Queues in this process, with SQS's visibility, delays, FIFO groups, deduplication and redrive.

    Safe between threads. Time is the clock's alone: `receive` answers at once, whatever its `wait`, since a
    clock that a test moves does not pass by itself.

    Args:
        clock: what the time is.
        queues: the queues that exist, declared or by name.
        dead_letter: whether each has a dead-letter queue, ``slow-dlq`` for ``slow``.
    """

    queue_type: Callable[..., MemoryQueue] = MemoryQueue
    """What a queue is made of: a subclass may deliver more cruelly."""

    def __init__(self, clock: Clock, queues: Iterable[Queue | str], *, dead_letter: bool = True) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._queues: dict[str, MemoryQueue] = {}
        self.add_queues(queues, dead_letter=dead_letter)

    def add_queues(self, queues: Iterable[Queue | str], *, dead_letter: bool = True) -> None:
        """Create queues, as provisioning does."""
        for queue in queues:
            declared = queue if isinstance(queue, Queue) else Queue(queue)
            target = None
            if dead_letter:
                target = self.queue_type(dead_letter_name(declared.name))
                self._queues[target.name] = target
            self._queues[declared.name] = self.queue_type(declared.name, declared.receives_before_redrive, target)

    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        sizes(messages)
        with self._lock:
            now = self._clock.time()
            targets = [self._queue(message.queue) for message in messages]
            return [self._send(target, message, now) for target, message in zip(targets, messages, strict=True)]

    async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
        with self._lock:
            return self._queue(queue).receive(max_messages, visibility, self._clock.time())

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        with self._lock:
            now = self._clock.time()
            return [self._queue(delivery.queue).delete(delivery.receipt, now) for delivery in deliveries]

    async def hide(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        with self._lock:
            now = self._clock.time()
            return [
                BEYOND_LIMIT
                if seconds > MAX_VISIBILITY
                else self._queue(delivery.queue).hide(delivery.receipt, seconds, now)
                for delivery, seconds in entries
            ]

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        with self._lock:
            now = self._clock.time()
            return [self._dead_letter(delivery, reason, now) for delivery, reason in entries]

    async def depth(self, queue: str) -> QueueDepth:
        with self._lock:
            return self._queue(queue).depth(self._clock.time())

    async def has_dead_letter_queue(self, queue: str) -> bool:
        return self._dead_letter_queue(queue) is not None

    async def queue_arn(self, queue: str) -> str:
        return f"arn:aws:sqs:memory:000000000000:{self._queue(queue).name}"

    def next_visible_at(self, queue: str) -> float | None:
        """When the next message of a queue can be received, in epoch seconds: in the past for one that can be
        now, None for an empty queue. A test moves its clock there.
        """
        with self._lock:
            return self._queue(queue).next_visible_at(self._clock.time())

    def messages(self, queue: str) -> list[StoredMessage]:
        """All messages of a queue, hidden ones too, in the order in which they were sent."""
        with self._lock:
            return list(self._queue(queue).messages.values())

    def _queue(self, name: str) -> MemoryQueue:
        queue = self._queues.get(name.rpartition(":")[2])  # a name or an ARN
        if queue is None:
            raise MissingResource(
                f"queue {name!r} does not exist in memory; it has {', '.join(sorted(self._queues)) or 'none'}; "
                "name it in queues=[...]"
            )
        return queue

    def _dead_letter_queue(self, queue: str) -> MemoryQueue | None:
        return self._queues.get(dead_letter_name(queue))

    def _send(self, target: MemoryQueue, message: Outgoing, now: float) -> Answer:
        answer = validate(message, target.fifo)
        if answer is None:
            target.add(
                message.body,
                now,
                delay=message.delay,
                group=message.group,
                dedup=message.dedup,
                attributes=message.attributes,
            )
        return answer

    def _dead_letter(self, delivery: Delivery, reason: DeadLetter, now: float) -> Answer:
        target = self._dead_letter_queue(delivery.queue)
        if target is None:
            return EntryError("NoDeadLetterQueue", f"queue {delivery.queue!r} has no dead-letter queue")
        copy = dead_letter_copy(delivery, reason, now)
        if isinstance(copy, EntryError):
            return copy
        group = copy.group_in(target.fifo)
        target.add(copy.body, now, group=group, dedup=copy.dedup, attributes=copy.attributes)
        return None
