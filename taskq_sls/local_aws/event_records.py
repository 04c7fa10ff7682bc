"""From ReceiveMessage to the event of a Lambda function, and from its answer to the failed messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..errors import TaskQError

Record = dict[str, Any]


class InvalidAnswer(TaskQError):
    """The function's answer is not one that Lambda understands: the whole batch counts as failed."""


def record_of(message: Mapping[str, Any], *, queue_arn: str, region: str) -> Record:
    """The event record of one message, as the Lambda guide shows it."""
    record: Record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()},
        "md5OfBody": message["MD5OfBody"],
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return {**record, "eventSource": "aws:sqs", "eventSourceARN": queue_arn, "awsRegion": region}


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    attribute: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        attribute["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        attribute["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return attribute


def event_of(records: Sequence[Record]) -> dict[str, Any]:
    """The event of one invocation."""
    return {"Records": list(records)}


def size_of(record: Record) -> int:
    """Bytes that the record takes in the event."""
    return len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode())


def group_of(record: Record) -> str | None:
    """The message group, or None."""
    group = record["attributes"].get("MessageGroupId")
    return None if group is None else str(group)


def failed_ids(answer: object, batch: Collection[str]) -> frozenset[str]:
    """The message ids that an answer with ReportBatchItemFailures names as failed.

    None, an object without ``batchItemFailures``, and an empty or null list mean that all succeeded.

    Args:
        answer: the function's return value, after JSON.
        batch: the message ids of the batch.

    Raises:
        InvalidAnswer: the answer is no object, an entry has no ``itemIdentifier``, or an identifier is
            empty, null or not in the batch.
    """
    if answer is None:
        return frozenset()
    if not isinstance(answer, dict):
        raise InvalidAnswer(f"the function returned {_short(answer)}; return None or {{'batchItemFailures': [...]}}")
    failures = answer.get("batchItemFailures")
    if failures is None:
        return frozenset()
    if not isinstance(failures, list):
        raise InvalidAnswer(f"batchItemFailures is {_short(failures)}; it must be a list")
    return frozenset(_failed_id(entry, batch) for entry in failures)


def _failed_id(entry: object, batch: Collection[str]) -> str:
    identifier = entry.get("itemIdentifier") if isinstance(entry, dict) else None
    if not isinstance(identifier, str) or not identifier:
        raise InvalidAnswer(f"batchItemFailures has {_short(entry)}; each entry is {{'itemIdentifier': messageId}}")
    if identifier not in batch:
        raise InvalidAnswer(f"batchItemFailures names {_short(identifier)}, which is no messageId of this batch")
    return identifier


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
