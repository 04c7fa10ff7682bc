"""One queue in memory: SQS's rules of visibility, groups, deduplication and redrive, without I/O.

Times are epoch seconds and passed in. Not thread-safe by itself: the broker holds a lock.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.delivery import Delivery
from .base import MAX_VISIBILITY, Answer, EntryError, QueueDepth
from .sqs_limits import BEYOND_LIMIT

DEDUP_WINDOW = 300.0
"""Seconds for which a FIFO queue drops a repeated deduplication id, deleted or not (SQS API, SendMessage)."""

RETENTION = 14 * 86_400.0
"""Seconds after which a message is dropped: the most SQS allows, provisioned everywhere."""


@dataclass(slots=True)
class StoredMessage:
    """A message in the queue. `receipt` is that of its latest receive, `visible_at` when it may be received."""

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
        """Whether a receiver holds it."""
        return self.receipt is not None and self.visible_at > now


class MemoryQueue:
    """The messages of one queue, in the order in which they were sent.

    Args:
        name: ends in ``.fifo`` for a FIFO queue.
        max_receives: receives before a message moves to `dead_letter_queue`.
        dead_letter_queue: where it moves to; without one it stays.
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
        """Accept a message; a FIFO queue drops one it has seen in the deduplication window."""
        if self.fifo:
            dedup = dedup or hashlib.sha256(body.encode()).hexdigest()
            if self._dedup_until.get(dedup, 0.0) > now:
                return
            self._forget(now)
            self._dedup_until[dedup] = now + DEDUP_WINDOW
            delay = 0
        id = str(uuid.uuid4())
        self.messages[id] = StoredMessage(id, body, now, now + delay, group, attributes or {})

    def receive(self, limit: int, visibility: int, now: float) -> list[Delivery]:
        """Up to `limit` messages, hidden for `visibility` seconds; those received too often are redriven."""
        self._expire(now)
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
        """The messages that may be received now, in the order in which they would be.

        Nothing of a FIFO group is received while one of its messages is in flight.
        """
        locked = {message.group for message in self.messages.values() if self.fifo and message.in_flight(now)}
        return [
            message
            for message in self.messages.values()
            if message.visible_at <= now and not (self.fifo and message.group in locked)
        ]

    def delete(self, receipt: str, now: float) -> Answer:
        """Delete by the latest receipt. An older one is accepted and deletes nothing, as in SQS."""
        if (message := self._by_receipt(receipt)) is None:
            return None if self._issued(receipt) else _NOT_A_RECEIPT
        # A FIFO queue refuses the delete of a message whose hold has ended, which counts as settled.
        if not self.fifo or message.visible_at > now:
            del self.messages[message.message_id]
        return None

    def hide(self, receipt: str, seconds: int, now: float) -> Answer:
        """Make a held message visible again after `seconds`; at most 12 hours after its receive."""
        if (message := self._by_receipt(receipt)) is None:
            return _GONE if self._issued(receipt) else _NOT_A_RECEIPT
        if message.visible_at <= now:
            return _GONE
        if now + seconds > message.received_at + MAX_VISIBILITY:
            return BEYOND_LIMIT
        message.visible_at = now + seconds
        return None

    def depth(self, now: float) -> QueueDepth:
        self._expire(now)
        visible = sum(message.visible_at <= now for message in self.messages.values())
        in_flight = sum(message.in_flight(now) for message in self.messages.values())
        return QueueDepth(visible, in_flight, len(self.messages) - visible - in_flight)

    def next_visible_at(self, now: float) -> float | None:
        """When the next message can be received (in the past for one that can be now); None without messages."""
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
            self.name,
            message.body,
            message.receipt,
            message.message_id,
            message.receive_count,
            message.sent_at,
            message.group,
            dict(message.attributes),
        )

    def _redrive(self, message: StoredMessage, target: MemoryQueue, now: float) -> None:
        del self.messages[message.message_id]
        message.visible_at = now
        # A standard queue's copy keeps the time at which it was first sent; a FIFO queue's starts anew.
        if self.fifo:
            message.sent_at = now
        target.messages[message.message_id] = message

    def _forget(self, now: float) -> None:
        """Drop deduplication ids whose window has ended; they are in the order in which it ends."""
        while self._dedup_until and next(iter(self._dedup_until.values())) <= now:
            del self._dedup_until[next(iter(self._dedup_until))]

    def _expire(self, now: float) -> None:
        for id in [id for id, message in self.messages.items() if message.sent_at + RETENTION <= now]:
            del self.messages[id]

    def _issued(self, receipt: str) -> bool:
        return receipt.startswith(f"{self.name}/")

    def _by_receipt(self, receipt: str) -> StoredMessage | None:
        """The message whose latest receipt this is."""
        message = self.messages.get(receipt.removeprefix(f"{self.name}/").partition("/")[0])
        return message if message is not None and message.receipt == receipt else None


_NOT_A_RECEIPT = EntryError("ReceiptHandleIsInvalid", "this queue never gave out that receipt", receipt_expired=True)

_GONE = EntryError("MessageNotInflight", "the hold has ended, or the message was deleted", receipt_expired=True)
