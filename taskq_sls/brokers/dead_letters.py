"""Dead-letter copies: the body with the next run number, and the reason and error as message attributes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ..core.delivery import DeadLetter, Delivery
from ..core.message import dead_letter_body, decode, deduplication_id
from ..errors import UndecodableMessage
from .base import MAX_BODY_BYTES, EntryError
from .sqs_limits import body_refusal, illegal, message_bytes, utf8_bytes

MAX_ATTRIBUTE_BYTES = 16_384
"""Longer values are cut: room for a traceback, and ten copies still share one batch."""

REASON = "taskq.reason"
ERROR_TYPE = "taskq.error_type"
ERROR_MESSAGE = "taskq.error_message"
TRACEBACK = "taskq.traceback"
ATTEMPTS = "taskq.attempts"
FIRST_SENT_AT = "taskq.first_sent_at"
DEAD_LETTERED_AT = "taskq.dead_lettered_at"
RECEIVE_COUNT = "taskq.receive_count"
QUEUE = "taskq.queue"
TASK = "taskq.task"

ATTRIBUTES = (
    REASON,
    QUEUE,
    TASK,
    ATTEMPTS,
    RECEIVE_COUNT,
    FIRST_SENT_AT,
    DEAD_LETTERED_AT,
    ERROR_TYPE,
    ERROR_MESSAGE,
    TRACEBACK,
)
"""The attributes of a copy, all of type String, times in epoch seconds. SQS allows ten. If they do not fit, the last ones
are left out."""

NO_GROUP = "taskq"
"""The group of a message in a FIFO dead-letter queue if it had none before."""


class DeadLetterCopy(NamedTuple):
    """A copy for the dead-letter queue. `dedup` is the deduplication id for FIFO queues, `size` is in bytes."""

    body: str
    attributes: dict[str, str]
    group: str
    dedup: str
    size: int

    def group_in(self, fifo: bool) -> str | None:
        """The group to send it with. On a standard queue it is the tenant, which a redrive then keeps."""
        return self.group if fifo or self.group != NO_GROUP else None


def dead_letter_copy(delivery: Delivery, dead_letter: DeadLetter, now: float) -> DeadLetterCopy | EntryError:
    """The copy of a delivery, or an error if SQS would refuse its body: one refused entry can fail a whole batch."""
    body = dead_letter_body(delivery.body if dead_letter.body is None else dead_letter.body)
    if (refused := body_refusal(body)) is not None:
        return refused
    room = MAX_BODY_BYTES - utf8_bytes(body)
    if room < 0:
        return EntryError(
            "PayloadTooLarge",
            f"the copy's body is {MAX_BODY_BYTES - room:,} bytes, above the {MAX_BODY_BYTES:,} that SQS accepts; "
            "the queue's own redrive moves the message unchanged",
        )
    try:
        message = decode(body)
        task, id = message.task, message.id
        dedup = deduplication_id(id, task, message.run, message.attempt) if id else ""
    except UndecodableMessage:
        task = dedup = ""
    attributes = dead_letter_attributes(delivery, dead_letter, task=task, now=now, room=room)
    return DeadLetterCopy(
        body=body,
        attributes=attributes,
        group=delivery.group or NO_GROUP,
        dedup=dedup or hashlib.sha256(delivery.message_id.encode()).hexdigest(),
        size=message_bytes(body, attributes),
    )


def dead_letter_attributes(
    delivery: Delivery, dead_letter: DeadLetter, *, task: str, now: float, room: int
) -> dict[str, str]:
    """The attributes of a copy: text that SQS accepts, at most 16 KiB each and `room` bytes together.

    If they do not fit, the traceback is dropped first. A long traceback keeps its end, other texts their beginning.
    """
    error = dead_letter.error
    values = {
        REASON: dead_letter.reason,
        QUEUE: delivery.queue,
        TASK: task,
        ATTEMPTS: str(dead_letter.attempts),
        RECEIVE_COUNT: str(delivery.receive_count),
        # A message that was redriven keeps the time of its first run.
        FIRST_SENT_AT: delivery.attributes.get(FIRST_SENT_AT) or f"{delivery.sent_at:.3f}",
        DEAD_LETTERED_AT: f"{now:.3f}",
        ERROR_TYPE: error.type if error else "",
        ERROR_MESSAGE: error.message if error else "",
        TRACEBACK: error.traceback if error else "",
    }
    attributes: dict[str, str] = {}
    for name in ATTRIBUTES:
        value = clean_text(values[name], keep_end=name == TRACEBACK)
        room -= message_bytes("", {name: value})
        if room < 0:
            break
        # SQS refuses attributes without a value.
        if value:
            attributes[name] = value
    return attributes


def clean_text(text: str, *, keep_end: bool = False) -> str:
    """`text` with characters that SQS refuses replaced, cut to 16,384 bytes of UTF-8."""
    text = illegal().sub("\ufffd", text)
    if utf8_bytes(text) <= MAX_ATTRIBUTE_BYTES:
        return text
    raw = text.encode()
    # "ignore" drops a character that was cut in the middle.
    cut = raw[-MAX_ATTRIBUTE_BYTES:] if keep_end else raw[:MAX_ATTRIBUTE_BYTES]
    return cut.decode("utf-8", "ignore")
