"""The mapping's view of one SQS queue."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ..core.queues import Queue
from ..errors import MissingResource
from .event_records import Record, record_of, size_of
from .moto_version import incomplete

MOST_PER_CALL = 10
"""Messages in one call; SQS's own limit."""

MISSING = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")

logger = logging.getLogger("taskq_sls.offline")


class Source:
    """One queue, as Lambda's poller uses it. Safe to use from several threads.

    Args:
        client: a boto3 SQS client.
        url: the queue's URL.
        arn: the queue's ARN.
        visibility: the queue's own VisibilityTimeout, in seconds.
    """

    def __init__(self, client: Any, url: str, arn: str, visibility: float) -> None:
        self._client = client
        self._url = url
        self._region = arn.split(":")[3]
        self.arn = arn
        self.visibility = visibility

    @classmethod
    def open(cls, client: Any, url: str) -> Self:
        """Ask the queue for its attributes.

        Raises:
            MissingResource: there is no such queue.
        """
        try:
            answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "VisibilityTimeout"])
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in MISSING:
                raise MissingResource(f"there is no queue {url}: create it before its event source mapping") from None
            raise
        attributes = answer["Attributes"]
        return cls(client, url, attributes["QueueArn"], float(attributes["VisibilityTimeout"]))

    def receive(self, most: int, wait: int) -> list[Record]:
        """Up to `most` (1 to 10) messages within `wait` (0 to 20) seconds, hidden for the queue's own visibility."""
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return [record_of(message, queue_arn=self.arn, region=self._region) for message in answer.get("Messages", ())]

    def delete(self, records: Sequence[Record]) -> None:
        """Delete. Refused deletes are logged, and their messages redelivered."""
        for entries in _entries(records):
            answer = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
            _warn("delete", answer)

    def give_back(self, records: Sequence[Record]) -> None:
        """Make messages visible at once."""
        for entries in _entries(records, VisibilityTimeout=0):
            answer = self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            _warn("give back", answer)


def connect(region: str | None, endpoint: str | None, connections: int) -> Any:
    """A boto3 SQS client for `connections` threads; None is taken from the environment."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise incomplete(error) from error
    config = Config(max_pool_connections=connections, retries={"mode": "standard", "max_attempts": 3})
    return boto3.session.Session().client("sqs", region_name=region, endpoint_url=endpoint, config=config)


def _entries(records: Sequence[Record], **fields: Any) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(records), MOST_PER_CALL):
        yield [
            {"Id": str(index), "ReceiptHandle": record["receiptHandle"], **fields}
            for index, record in enumerate(records[start : start + MOST_PER_CALL])
        ]


def _warn(what: str, answer: dict[str, Any]) -> None:
    for failure in answer.get("Failed", ()):
        logger.warning(
            "SQS did not %s a message: %s: %s",
            what,
            failure["Code"],
            failure.get("Message", ""),
            extra={"action": "mapping_entry_refused"},
        )


NAP = 0.05
"""Seconds between two receives that do not wait."""

MOST_BYTES = 6_000_000
"""The payload of an invocation, a little under Lambda's 6 MB for the frame around the records."""


class Collector:
    """Collects batches as the queue declares them.

    Args:
        source: where messages come from.
        queue: batch size and window.
        wait: WaitTimeSeconds of a receive, 0 to 20.
        stopping: ends the collecting early.
    """

    def __init__(self, source: Source, queue: Queue, wait: int, stopping: threading.Event) -> None:
        self._source = source
        self._queue = queue
        self._wait = wait
        self._stopping = stopping

    def collect(self) -> list[Record]:
        """The next batch: full, or its window over, or 6 MB; empty only when stopping."""
        batch: list[Record] = []
        size = 0
        ends: float | None = None
        while len(batch) < self._queue.batch_size and not self._stopping.is_set():
            remaining = None if ends is None else ends - time.monotonic()
            if remaining is not None and remaining <= 0:
                break
            received = self._receive(self._queue.batch_size - len(batch), remaining, batch)
            if received and ends is None:
                ends = time.monotonic() + self._queue.batch_window
            for index, record in enumerate(received):
                size += size_of(record)
                if batch and size > MOST_BYTES:
                    self._source.give_back(received[index:])
                    return batch
                batch.append(record)
        return batch

    def _receive(self, room: int, remaining: float | None, batch: list[Record]) -> list[Record]:
        most = min(room, MOST_PER_CALL)
        # WaitTimeSeconds takes whole seconds; the rest of a window is short polls.
        wait = self._wait if remaining is None else min(self._wait, int(remaining))
        try:
            received = self._source.receive(most, wait)
        except Exception:
            if not batch:
                raise
            # Messages received already are delivered when their window ends; the next receive raises again.
            received = []
        if not received and wait == 0:
            self._stopping.wait(NAP if remaining is None else min(NAP, remaining))
        return received
