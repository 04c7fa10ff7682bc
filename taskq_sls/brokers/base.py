"""The broker interface: queues as producers and drivers use them.

Every operation takes a batch and returns one answer per entry, in the order given: None if the entry was accepted, else
an :class:`EntryError`. A broker first retries transient faults of single entries for a few seconds. A fault of the whole
call (no such queue, no credentials) raises.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

from ..core.delivery import DeadLetter, Delivery

MAX_BATCH = 10
"""Entries in one SQS batch call (SQS API reference, SendMessageBatch)."""

MAX_BODY_BYTES = 1_048_576
"""Largest message, body and attributes together, in bytes; also the limit of a batch (SQS quotas)."""

MAX_DELAY = 900
"""Largest DelaySeconds (SQS API reference, SendMessage)."""

MAX_VISIBILITY = 43_200
"""Largest VisibilityTimeout: 12 hours (SQS API reference, ChangeMessageVisibility)."""

MAX_WAIT = 20
"""Longest long poll in seconds (SQS API reference, ReceiveMessage)."""


class Outgoing(NamedTuple):
    """One message to send.

    Args:
        queue: logical name of the queue, or its ARN: the target of a schedule may belong to another app.
        id: the task's id, which names the entry in errors.
        delay: whole seconds, 0 to 900; standard queues only.
        group: FIFO message group; on a standard queue the fair-queue tenant.
        dedup: FIFO deduplication id.
        attributes: message attributes, all of type String.
    """

    queue: str
    body: str
    id: str
    delay: int = 0
    group: str | None = None
    dedup: str | None = None
    attributes: dict[str, str] | None = None


class EntryError(NamedTuple):
    """Why one entry of a batch was not accepted.

    Args:
        transient: a repeated call may succeed.
        receipt_expired: the visibility timeout has ended, and another receiver may have the message.
        over_12_hours: a visibility change would pass the 12 hours that SQS allows.
        ambiguous: one of the tries may have taken effect although its answer was lost.
    """

    code: str
    message: str
    transient: bool = False
    receipt_expired: bool = False
    over_12_hours: bool = False
    ambiguous: bool = False


Answer = EntryError | None


class QueueDepth(NamedTuple):
    """Approximate counts, as SQS reports them."""

    visible: int
    in_flight: int
    delayed: int


class Broker(abc.ABC):
    """Queues by logical name. Implementations: SQS (standard and FIFO) and in-memory."""

    @abc.abstractmethod
    async def send(self, messages: Sequence[Outgoing]) -> list[Answer]:
        """Send any number of messages to any queues, in batches that keep SQS's limits of count and bytes.

        Raises:
            MissingResource: a queue does not exist.
            PayloadTooLarge: a body is over :data:`MAX_BODY_BYTES`; nothing was sent.
        """

    @abc.abstractmethod
    async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
        """Long-poll one queue.

        Args:
            max_messages: 1 to 10.
            wait: seconds to wait for a first message, 0 to 20.
            visibility: visibility timeout of the received messages in seconds, 0 to 43,200.
        """

    @abc.abstractmethod
    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        """Delete messages whose outcome is stored."""

    @abc.abstractmethod
    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        """Make each message visible again after its whole seconds from now, 0 to 43,200."""

    async def extend(self, deliveries: Sequence[Delivery], seconds: int) -> list[Answer]:
        """Extend the visibility timeout of messages in flight to `seconds` from now."""
        return await self.change_visibility([(delivery, seconds) for delivery in deliveries])

    @abc.abstractmethod
    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        """Send copies to the dead-letter queues. Does not delete the originals.

        The answer has the code ``NoDeadLetterQueue`` if a queue has none.
        """

    @abc.abstractmethod
    async def depth(self, queue: str) -> QueueDepth:
        """The approximate number of messages in a queue."""

    @abc.abstractmethod
    async def has_dead_letter_queue(self, queue: str) -> bool: ...

    @abc.abstractmethod
    async def queue_arn(self, queue: str) -> str:
        """The ARN of a queue: its schedules name it as their target.

        Raises:
            MissingResource: the queue does not exist.
        """

    async def close(self) -> None:
        """Release connections."""
        return
