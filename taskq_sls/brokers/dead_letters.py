"""Dead-letter copies: the body with a new run, and why the message was given up, as attributes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ..core.delivery import DeadLetter, Delivery
from ..core.message import dead_letter_body, decode, deduplication_id
from ..errors import UndecodableMessage
from .base import MAX_BODY_BYTES, EntryError
from .sqs_limits import body_refusal, illegal, message_bytes, utf8_bytes

MAX_TEXT_BYTES = 16_384
"""Most bytes of one attribute: enough for a traceback, and ten copies still share one batch."""

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
"""The attributes of a copy, all of type String, times in epoch seconds. SQS allows ten. What does not fit
is left out from the end."""


NO_GROUP = "taskq"
"""The group in a FIFO dead-letter queue of a message that has none."""


class DeadLetterCopy(NamedTuple):
    """What is sent to the dead-letter queue. `dedup` is for FIFO queues; see `group_in` for the group."""

    body: str
    attributes: dict[str, str]
    group: str
    dedup: str
    size: int

    def group_in(self, fifo: bool) -> str | None:
        """The group it is sent with: on a standard queue that of its tenant, so that a redrive can keep it."""
        return self.group if fifo or self.group != NO_GROUP else None


def dead_letter_copy(delivery: Delivery, dead_letter: DeadLetter, now: float) -> DeadLetterCopy | EntryError:
    """The copy of a delivery, or the answer for one whose body SQS would refuse: one such spoils a whole batch."""
    body = dead_letter_body(delivery.body)
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
        body,
        attributes,
        delivery.group or NO_GROUP,
        dedup or hashlib.sha256(delivery.message_id.encode()).hexdigest(),
        message_bytes(body, attributes),
    )


def dead_letter_attributes(
    delivery: Delivery, dead_letter: DeadLetter, *, task: str, now: float, room: int
) -> dict[str, str]:
    """The attributes of a copy: legal text of at most 16 KiB each, in at most `room` bytes together.

    The traceback is dropped first. Of one that is too long the end is kept, of other texts the beginning.
    """
    error = dead_letter.error
    values = {
        REASON: dead_letter.reason,
        QUEUE: delivery.queue,
        TASK: task,
        ATTEMPTS: str(dead_letter.attempts),
        RECEIVE_COUNT: str(delivery.receive_count),
        # A copy that was redriven and failed again was first sent when its first life was.
        FIRST_SENT_AT: delivery.attributes.get(FIRST_SENT_AT) or _seconds(delivery.sent_at),
        DEAD_LETTERED_AT: _seconds(now),
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
    """`text` without the characters that SQS refuses, cut to 16,384 bytes of UTF-8."""
    text = illegal().sub("\ufffd", text)
    if utf8_bytes(text) <= MAX_TEXT_BYTES:
        return text
    raw = text.encode()
    # "ignore" drops the character that the cut went through.
    cut = raw[-MAX_TEXT_BYTES:] if keep_end else raw[:MAX_TEXT_BYTES]
    return cut.decode("utf-8", "ignore")


def _seconds(when: float) -> str:
    return f"{when:.3f}"
