"""SQS's limits, checked before a call, and the packing of messages into batches."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence

from ..errors import PayloadTooLarge
from .base import MAX_BATCH, MAX_BODY_BYTES, MAX_DELAY, MAX_VISIBILITY, EntryError, Outgoing

# SendMessage: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.
_ILLEGAL = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"


@functools.cache
def illegal() -> re.Pattern[str]:
    """Matches one character that SQS refuses in bodies and attributes (SQS API reference, SendMessage).

    Compiled at first use: that takes milliseconds, which no cold start should pay.
    """
    return re.compile(_ILLEGAL)


# SendMessage: MessageGroupId and MessageDeduplicationId are letters, digits and punctuation.
_TOKEN = re.compile(r"[!-~]{1,128}")

BEYOND_LIMIT = EntryError(
    "InvalidParameterValue",
    f"the visibility timeout of a message ends at most {MAX_VISIBILITY:,} seconds (12 hours) after it was received",
    over_12_hours=True,
)

_TYPE_BYTES = len("String")


def utf8_bytes(text: str) -> int:
    """Length in UTF-8 bytes, as SQS counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def message_bytes(body: str, attributes: Mapping[str, str] | None = None) -> int:
    """Size of a message as SQS counts it: the body, and the name, type and value of each attribute."""
    size = utf8_bytes(body)
    for name, value in (attributes or {}).items():
        size += utf8_bytes(name) + _TYPE_BYTES + utf8_bytes(value)
    return size


def sizes(messages: Sequence[Outgoing]) -> list[int]:
    """The size of each message in bytes.

    Raises:
        PayloadTooLarge: a message is above 1,048,576 bytes.
    """
    found = []
    for message in messages:
        size = message_bytes(message.body, message.attributes)
        if size > MAX_BODY_BYTES:
            raise PayloadTooLarge(
                f"task {message.id}: the message is {size:,} bytes of UTF-8, above the {MAX_BODY_BYTES:,} that SQS accepts; "
                "pass less, or a reference to where the data is, or configure a bucket (TASKQ_BUCKET)"
            )
        found.append(size)
    return found


def body_refusal(body: str) -> EntryError | None:
    """Why SQS would refuse this body, or None."""
    # All printable characters are legal, and isprintable is faster than the pattern.
    if not body.isprintable() and (bad := illegal().search(body)) is not None:
        return EntryError(
            "InvalidMessageContents",
            f"the body holds U+{ord(bad[0]):04X} at {bad.start()}, a character that SQS does not accept; escape it",
        )
    if not body:
        return EntryError("MissingParameter", "the body is empty; SQS takes messages of 1 character or more")
    return None


def validate(message: Outgoing, fifo: bool) -> EntryError | None:
    """Why SQS would refuse this message, or None. Checked before the send, since one entry can fail its whole batch."""
    if (bad_body := body_refusal(message.body)) is not None:
        return bad_body
    if message.group is not None and not _TOKEN.fullmatch(message.group):
        return _token_refusal("group", message.group)
    if fifo:
        if message.group is None:
            return EntryError("MissingParameter", f"{message.queue} is a FIFO queue: give a group")
        if message.dedup is not None and not _TOKEN.fullmatch(message.dedup):
            return _token_refusal("deduplication id", message.dedup)
    elif not 0 <= message.delay <= MAX_DELAY:
        return EntryError("InvalidParameterValue", f"delay={message.delay!r} must be 0 to {MAX_DELAY} seconds")
    return None


def _token_refusal(name: str, value: str) -> EntryError:
    return EntryError(
        "InvalidParameterValue",
        f"{name} {value!r} must be 1 to 128 letters, digits and punctuation, without spaces",
    )


def pack(sizes: Sequence[int]) -> Iterator[range]:
    """Ranges of messages that fit one batch call each: 10 entries, 1,048,576 bytes."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index - start == MAX_BATCH or (total + size > MAX_BODY_BYTES and index > start):
            yield range(start, index)
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield range(start, len(sizes))
