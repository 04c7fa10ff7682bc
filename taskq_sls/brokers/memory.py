"""The broker in memory: SQS's rules of visibility, groups, deduplication and redrive without I/O, for tests."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..core.clock import Clock
from ..core.delivery import DeadLetter, Delivery
from ..core.queues import Queue, dead_letter_name
from ..errors import MissingResource
from .base import MAX_VISIBILITY, Answer, Broker, EntryError, Outgoing, QueueDepth
from .dead_letters import dead_letter_copy
from .sqs_limits import BEYOND_LIMIT, sizes, validate

_NOT_A_RECEIPT = EntryError("ReceiptHandleIsInvalid", "this queue never issued that receipt", receipt_expired=True)

_RECEIPT_EXPIRED = EntryError(
    "MessageNotInflight", "the visibility timeout has ended, or the message was deleted", receipt_expired=True
)

DEDUPLICATION_SECONDS = 300.0
"""A FIFO queue drops a repeated deduplication id for so long, even if the message was deleted (SQS API, SendMessage)."""

RETENTION_SECONDS = 14 * 86_400.0
"""Messages older than this are dropped: the most SQS allows, provisioned everywhere."""


@dataclass(slots=True)
class StoredMessage:
    """A message in the queue. `receipt` is from its latest receive; from `visible_at` on it may be received."""

    message_id: str
    body: str
    sent_at: float
    visible_at: float
    group: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    receive_count: int = 0
    receipt: str | None = None
    received_at: float = 0.0

    def in_flight(self, now: float) -> bool:
        return self.receipt is not None and self.visible_at > now


class MemoryQueue:
    """The messages of one queue in the order they were sent. Not thread-safe: the broker holds a lock.

    Times are epoch seconds and passed in.

    Args:
        name: ends in ``.fifo`` for a FIFO queue.
        max_receives: receives before a message moves to `dead_letter_queue`, if there is one.
    """

    def __init__(self, name: str, max_receives: int = 0, dead_letter_queue: MemoryQueue | None = None) -> None:
        self.name = name
        self.fifo = name.endswith(".fifo")
        self.max_receives = max_receives
        self.dead_letter_queue = dead_letter_queue
        self.messages: dict[str, StoredMessage] = {}
        self._dedup_until: dict[str, float] = {}

    def add(
        self,
        body: str,
        now: float,
        *,
        delay: float = 0,
        group: str | None = None,
        dedup: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> None:
        """Accept a message; a FIFO queue drops one whose deduplication id it accepted within five minutes."""
        if self.fifo:
            dedup = dedup or hashlib.sha256(body.encode()).hexdigest()
            if self._dedup_until.get(dedup, 0.0) > now:
                return
            self._drop_expired_ids(now)
            self._dedup_until[dedup] = now + DEDUPLICATION_SECONDS
            delay = 0
        id = str(uuid.uuid4())
        self.messages[id] = StoredMessage(
            id, body, sent_at=now, visible_at=now + delay, group=group, attributes=attributes or {}
        )

    def receive(self, limit: int, visibility: int, now: float) -> list[Delivery]:
        """Up to `limit` messages, invisible for `visibility` seconds; messages received too often are dead-lettered."""
        self._drop_expired(now)
        received: list[Delivery] = []
        for message in list(self.candidates(now)):
            if len(received) == limit:
                break
            if self.dead_letter_queue is not None and message.receive_count >= self.max_receives:
                self._redrive(message, self.dead_letter_queue, now)
            else:
                received.append(self._hand_out(message, visibility, now))
        return received

    def candidates(self, now: float) -> Iterable[StoredMessage]:
        """The messages that may be received now, in order.

        No message of a FIFO group is received while another of the group is in flight.
        """
        locked = {message.group for message in self.messages.values() if self.fifo and message.in_flight(now)}
        return [
            message
            for message in self.messages.values()
            if message.visible_at <= now and not (self.fifo and message.group in locked)
        ]

    def delete(self, receipt: str, now: float) -> Answer:
        """Delete by the latest receipt. An older receipt is accepted but deletes nothing, as in SQS."""
        if (message := self._by_receipt(receipt)) is None:
            return None if self._issued(receipt) else _NOT_A_RECEIPT
        # A FIFO queue refuses to delete a message whose visibility timeout has ended; the broker counts that as settled.
        if not self.fifo or message.visible_at > now:
            del self.messages[message.message_id]
        return None

    def change_visibility(self, receipt: str, seconds: int, now: float) -> Answer:
        """Make a message in flight visible again after `seconds`; at most 12 hours after its receive."""
        if (message := self._by_receipt(receipt)) is None:
            return _RECEIPT_EXPIRED if self._issued(receipt) else _NOT_A_RECEIPT
        if message.visible_at <= now:
            return _RECEIPT_EXPIRED
        if now + seconds > message.received_at + MAX_VISIBILITY:
            return BEYOND_LIMIT
        message.visible_at = now + seconds
        return None

    def depth(self, now: float) -> QueueDepth:
        self._drop_expired(now)
        visible = sum(message.visible_at <= now for message in self.messages.values())
        in_flight = sum(message.in_flight(now) for message in self.messages.values())
        return QueueDepth(visible, in_flight, len(self.messages) - visible - in_flight)

    def next_visible_at(self, now: float) -> float | None:
        """When the next message can be received, in the past if one can be now; None if there is no message."""
        unlocked: dict[str | None, float] = {}
        for message in self.messages.values():
            if self.fifo and message.in_flight(now):
                unlocked[message.group] = max(message.visible_at, unlocked.get(message.group, 0.0))
        return min(
            (max(message.visible_at, unlocked.get(message.group, 0.0)) for message in self.messages.values()),
            default=None,
        )

    def _hand_out(self, message: StoredMessage, visibility: int, now: float) -> Delivery:
        message.receive_count += 1
        message.receipt = f"{self.name}/{message.message_id}/{message.receive_count}"
        message.received_at = now
        message.visible_at = now + visibility
        return Delivery(
            queue=self.name,
            body=message.body,
            receipt=message.receipt,
            message_id=message.message_id,
            receive_count=message.receive_count,
            sent_at=message.sent_at,
            group=message.group,
            attributes=dict(message.attributes),
        )

    def _redrive(self, message: StoredMessage, target: MemoryQueue, now: float) -> None:
        del self.messages[message.message_id]
        message.visible_at = now
        # Moved by SQS, a message keeps its sent time on a standard queue and gets a new one on a FIFO queue.
        if self.fifo:
            message.sent_at = now
        target.messages[message.message_id] = message

    def _drop_expired_ids(self, now: float) -> None:
        """Drop expired deduplication ids; the dict is in order of expiry."""
        while self._dedup_until and next(iter(self._dedup_until.values())) <= now:
            del self._dedup_until[next(iter(self._dedup_until))]

    def _drop_expired(self, now: float) -> None:
        for id in [id for id, message in self.messages.items() if message.sent_at + RETENTION_SECONDS <= now]:
            del self.messages[id]

    def _issued(self, receipt: str) -> bool:
        return receipt.startswith(f"{self.name}/")

    def _by_receipt(self, receipt: str) -> StoredMessage | None:
        message = self.messages.get(receipt.removeprefix(f"{self.name}/").partition("/")[0])
        return message if message is not None and message.receipt == receipt else None


class MemoryBroker(Broker):
    """Queues in this process. Safe between threads.

    `receive` returns at once and ignores `wait`: a clock that a test moves does not pass by itself.

    Args:
        clock: the only source of time.
        queues: the queues to create, declared or by name.
        dead_letter: True gives each queue a dead-letter queue, ``slow-dlq`` for ``slow``.
    """

    queue_type: Callable[..., MemoryQueue] = MemoryQueue
    """The class of each queue; AdversarialBroker replaces it."""

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

    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        with self._lock:
            now = self._clock.time()
            return [
                BEYOND_LIMIT
                if seconds > MAX_VISIBILITY
                else self._queue(delivery.queue).change_visibility(delivery.receipt, seconds, now)
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
        """When the next message of a queue can be received, in epoch seconds; in the past if one can be
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
