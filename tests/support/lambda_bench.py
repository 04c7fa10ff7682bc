"""A Lambda handler over queues and records in memory, and what an event source mapping does around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskq_sls import Queue, TaskQ
from taskq_sls.brokers.base import Answer, EntryError
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import Clock, ManualClock
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.flow import drive
from taskq_sls.core.queues import physical_name
from taskq_sls.core.states import State
from taskq_sls.local_aws.context import LambdaContext
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import TaskRecord
from taskq_sls.serverless import LambdaHandler

Event = dict[str, Any]


class WatchedBroker(MemoryBroker):
    """The broker in memory, which keeps what it was asked and may refuse it."""

    def __init__(self, clock: Clock, queues: Sequence[Queue], **options: Any) -> None:
        super().__init__(clock, queues, **options)
        self.hidden: list[tuple[str, int]] = []
        self.hide_fault: Exception | EntryError | None = None
        self.copy_fault: Exception | EntryError | None = None

    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        self.hidden += [(delivery.message_id, seconds) for delivery, seconds in entries]
        if self.hide_fault is not None:
            return refuse(self.hide_fault, len(entries))
        return await super().change_visibility(entries)

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        if self.copy_fault is not None:
            return refuse(self.copy_fault, len(entries))
        return await super().dead_letter(entries)


def refuse(fault: Exception | EntryError, count: int) -> list[Answer]:
    if isinstance(fault, Exception):
        raise fault
    return [fault] * count


class LambdaHarness:
    """An app, its queues in memory, and what an event source mapping does around the handler."""

    def __init__(self, *queues: Queue, clock: Clock | None = None, dead_letter: bool = True, **options: Any) -> None:
        self.queues = queues or (Queue("default"),)
        self.clock = clock or ManualClock()
        self.broker = WatchedBroker(self.clock, self.queues, dead_letter=dead_letter)
        self.results = MemoryResults()
        self.app = TaskQ(
            "shop", queues=self.queues, broker=self.broker, results=self.results, clock=self.clock, **options
        )
        self.handler: LambdaHandler = self.app.lambda_handler()

    def event(self, queue: str | None = None, most: int = 10) -> Event:
        """What Lambda's poller would hand over now."""
        name = queue or self.queues[0].name
        received = drive(self.broker.receive(name, max_messages=most, wait=0, visibility=180))
        return {"Records": [record_of(delivery) for delivery in received]}

    def invoke(self, event: Event | None = None, *, timeout: float | None = None) -> list[str]:
        """Call the handler, and do with the queue what the mapping does; the message ids it reported."""
        event = self.event() if event is None else event
        context = None if timeout is None else LambdaContext(timeout=timeout, clock=self.clock)
        answer = self.handler(event, context)
        assert list(answer) == ["batchItemFailures"]
        failed = [entry["itemIdentifier"] for entry in answer["batchItemFailures"]]
        assert len(failed) == len(set(failed))
        for record in event["Records"]:
            if record["messageId"] not in failed:
                queue = record["eventSourceARN"].rpartition(":")[2].removeprefix("shop-")
                drive(self.broker.ack([Delivery(queue, "", record["receiptHandle"], "", 1, 0.0)]))
        return failed

    def depth(self, queue: str | None = None) -> int:
        return len(self.broker.messages(queue or self.queues[0].name))

    def record(self, id: str) -> TaskRecord | None:
        return drive(self.results.get(id, now=self.clock.time()))

    def state(self, id: str) -> State | None:
        record = self.record(id)
        return None if record is None else record.status


def record_of(delivery: Delivery) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(delivery.receive_count),
        "SentTimestamp": str(int(delivery.sent_at * 1000)),
    }
    if delivery.group is not None:
        attributes["MessageGroupId"] = delivery.group
    return {
        "messageId": delivery.message_id,
        "receiptHandle": delivery.receipt,
        "body": delivery.body,
        "attributes": attributes,
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String"} for name, value in delivery.attributes.items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:eu-west-1:123456789012:{physical_name('shop', delivery.queue)}",
        "awsRegion": "eu-west-1",
    }


def ids(event: Event) -> list[str]:
    return [record["messageId"] for record in event["Records"]]
