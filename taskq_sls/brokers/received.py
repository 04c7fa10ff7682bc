"""Deliveries from received messages: Lambda writes camelCase records, ReceiveMessage returns PascalCase ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.delivery import Delivery

SYSTEM_ATTRIBUTES = ("ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "AWSTraceHeader")
"""System attributes to request from ReceiveMessage; Lambda records carry them and more."""


def delivery_from_receive(entry: Mapping[str, Any], queue: str) -> Delivery:
    """A message returned by ReceiveMessage."""
    return Delivery(
        queue,
        entry.get("Body", ""),
        entry.get("ReceiptHandle", ""),
        entry.get("MessageId", ""),
        *_system(entry.get("Attributes")),
        _texts(entry, "MessageAttributes", "StringValue", entry.get("Attributes")),
    )


def delivery_from_lambda_record(record: Mapping[str, Any], queue: str) -> Delivery:
    """A record of the event that Lambda gets from its SQS event source mapping."""
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

    Some emulators and handwritten events leave attributes out: the defaults are a first receive and an unknown age, 0.
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
    """The text attributes of a message, and its X-Ray header if there is one."""
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
