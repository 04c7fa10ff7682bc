"""One shape for received messages: Lambda writes its records in camelCase, ReceiveMessage in PascalCase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.delivery import Delivery

SYSTEM_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader")
"""What ReceiveMessage is asked for; Lambda records carry these and more."""


def delivery_from_receive(entry: Mapping[str, Any], queue: str) -> Delivery:
    """A message of ReceiveMessage's answer."""
    return Delivery(
        queue,
        entry.get("Body", ""),
        entry.get("ReceiptHandle", ""),
        entry.get("MessageId", ""),
        *_system(entry.get("Attributes")),
        _texts(entry, "MessageAttributes", "StringValue", entry.get("Attributes")),
    )


def delivery_from_lambda_record(record: Mapping[str, Any], queue: str) -> Delivery:
    """A record of the event that Lambda's SQS mapping delivers."""
    return Delivery(
        queue,
        record.get("body", ""),
        record.get("receiptHandle", ""),
        record.get("messageId", ""),
        *_system(record.get("attributes")),
        _texts(record, "messageAttributes", "stringValue", record.get("attributes")),
    )


_NONE: Mapping[str, str] = {}


def _system(attributes: Mapping[str, Any] | None) -> tuple[int, float, str | None]:
    """Receive count, sent time in seconds and group. SQS writes numbers as text.

    Records made by hand, and some emulators, leave attributes out: then it is a first receive of unknown age.
    """
    if not isinstance(attributes, dict):
        attributes = _NONE
    try:
        receive_count = max(1, int(attributes.get("ApproximateReceiveCount", 1)))
    except (TypeError, ValueError):
        receive_count = 1
    try:
        sent_at = int(attributes.get("SentTimestamp", 0)) / 1000
    except (TypeError, ValueError, OverflowError):
        sent_at = 0.0
    return receive_count, sent_at, attributes.get("MessageGroupId")


def _texts(message: Mapping[str, Any], name: str, value: str, system: Mapping[str, Any] | None) -> Mapping[str, str]:
    """The text attributes of a message, and the X-Ray header where it was sent with one."""
    attributes = message.get(name)
    trace = system.get("AWSTraceHeader") if isinstance(system, dict) else None
    if not attributes and not trace:
        return _NONE
    texts: dict[str, str] = {}
    for key, item in attributes.items() if isinstance(attributes, dict) else ():
        if isinstance(item, dict) and isinstance(item.get(value), str):
            texts[key] = item[value]
    if trace:
        texts["AWSTraceHeader"] = trace
    return texts
