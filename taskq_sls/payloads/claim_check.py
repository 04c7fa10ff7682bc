"""Claim check: arguments and results that are too large go to the bucket, with a pointer in their place.

An object is written before the message or the record that points to it, and read before they are used. This module is
imported only if something is too large: most apps never need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import from_json, to_json

from ..brokers.base import MAX_BODY_BYTES
from ..brokers.sqs_limits import utf8_bytes
from ..core.backoff import outage_seconds
from ..core.delivery import Release
from ..core.message import Message
from ..errors import AwsError, ConfigError, PayloadMissing, PayloadTooLarge
from ..results.records import AttemptEnd, Claim, TaskRecord
from .base import MESSAGES, PayloadStore, message_key, result_key

if TYPE_CHECKING:
    from ..core.fault_log import FaultLog


class StoredObject(NamedTuple):
    """An object to put."""

    key: str
    body: bytes


def offload_message(message: Message) -> tuple[str, StoredObject]:
    """The body that points to the message's arguments, and the object that holds them.

    Raises:
        PayloadTooLarge: the message is too large even without its arguments.
    """
    due = message.not_before or message.enqueued_at
    key = message_key(message.id, message.run, os.urandom(8).hex(), max(0.0, due - message.enqueued_at))
    body = message._replace(args=[], kwargs={}, payload=key).encode()
    if (size := utf8_bytes(body)) > MAX_BODY_BYTES:
        raise PayloadTooLarge(
            f"task {message.id}: the message is {size:,} bytes without its arguments, above the {MAX_BODY_BYTES:,} that "
            "SQS accepts; give it smaller labels"
        )
    return body, StoredObject(key, to_json({"args": message.args, "kwargs": message.kwargs}))


def offload_result(claim: Claim, end: AttemptEnd) -> tuple[AttemptEnd, StoredObject]:
    """The end of an attempt with a pointer to its result, and the object that holds the result."""
    assert end.result_json is not None
    key = result_key(claim.id, claim.run, claim.owner, end.ttl - end.now)
    return end._replace(result_json=None, result_key=key), StoredObject(key, end.result_json.encode())


async def fetch_message(store: PayloadStore | None, message: Message) -> Message:
    """The message with its arguments.

    Raises:
        PayloadMissing: the object is gone or holds no arguments, or no bucket is configured here.
        AwsError, ConfigError: it cannot be read.
    """
    key = message.payload or ""
    if store is None:
        raise PayloadMissing(
            f"the arguments are in a bucket, under {key!r}, and none is configured here: "
            "set TASKQ_BUCKET or TaskQ(bucket=...)"
        )
    # A forged message must not read other objects of the bucket.
    if not key.startswith(MESSAGES):
        raise PayloadMissing(f"the message points to {key[:200]!r}; arguments are under {MESSAGES!r}")
    body = await store.get(key)
    try:
        found = from_json(body, allow_inf_nan=False)
        args, kwargs = found["args"], found["kwargs"]
    except (ValueError, TypeError, KeyError) as error:
        raise PayloadMissing(f"{store.name}/{key} does not hold arguments: {type(error).__name__}: {error}") from None
    if type(args) is not list or type(kwargs) is not dict:
        raise PayloadMissing(f"{store.name}/{key} does not hold a list of args and an object of kwargs")
    return message._replace(args=args, kwargs=kwargs)


async def load_message(
    payloads: Callable[[], PayloadStore | None], message: Message, faults: FaultLog
) -> tuple[Message, PayloadMissing | Release | None]:
    """The message with its arguments; or without, and PayloadMissing if a retry cannot help, Release for other faults."""
    try:
        complete = await fetch_message(payloads(), message)
    except PayloadMissing as missing:
        return message, missing
    except Exception as error:
        if isinstance(error, AwsError) and not error.transient:
            return message, PayloadMissing(str(error))
        faults.failed(error)
        return message, Release(outage_seconds())
    faults.recovered()
    return complete, None


async def fetch_result(store: PayloadStore | None, record: TaskRecord) -> TaskRecord:
    """The record with its result.

    Raises:
        PayloadMissing: the object is gone.
        ConfigError: no bucket is configured here, or it does not exist.
        AwsError: it cannot be read.
    """
    if record.result_key is None:
        return record
    if store is None:
        raise ConfigError(
            f"the result of task {record.id} is in a bucket, under {record.result_key!r}, and none is configured here: "
            "set TASKQ_BUCKET or TaskQ(bucket=...)"
        )
    try:
        return record._replace(result_json=(await store.get(record.result_key)).decode())
    except (PayloadMissing, UnicodeDecodeError):
        raise missing_result_error(record) from None


def missing_result_error(record: TaskRecord) -> PayloadMissing:
    """The error for a result whose object is gone."""
    return PayloadMissing(
        f"task {record.task} {record.id} succeeded, but the object {record.result_key!r} that holds its result is gone "
        "from the bucket: check that only lifecycle rules remove objects there, and that TASKQ_BUCKET is the same bucket"
    )
