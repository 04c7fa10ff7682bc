"""The cost of one message in the engine and in the Lambda handler, in units of ``json.loads`` of its body.

Run: python -m benchmarks.process
Budgets: process of an async no-op task with claim and finish in memory, 8 x; a sync task at most 15 us more;
the Lambda handler, a batch of ten without recording, warm, 10 x per record above the json.loads.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from taskq_sls import TaskQ
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.message import Message, new_id
from taskq_sls.results.memory import MemoryResults
from taskq_sls.serverless import LambdaHandler

from .ratios import compare

clock = SystemClock()
app = TaskQ("bench", broker=MemoryBroker(clock, ["default"]), results=MemoryResults(), prefix="bench", table="bench")


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
def add_sync(a: int, b: int) -> int:
    return a + b


@app.task(record="none")
async def add_unrecorded(a: int, b: int) -> int:
    return a + b


@app.task(record="none")
def add_sync_unrecorded(a: int, b: int) -> int:
    return a + b


def body(task: str) -> str:
    return Message(new_id(clock.time()), task, [1, 2], {}, round(clock.time(), 3)).encode()


def parse(text: str) -> Any:
    def reference(units: int) -> None:
        for _ in range(units):
            json.loads(text)

    return reference


def deliveries(task: str, count: int) -> list[Delivery]:
    return [Delivery("default", body(task), f"r{i}", f"m{i}", 1, clock.time()) for i in range(count)]


def processing(task: str, at_once: int) -> Any:
    """Process messages one after the other, or in bursts of tasks."""
    loop = asyncio.new_event_loop()
    services = loop.run_until_complete(app.services.on_loop())

    async def make_executor() -> Any:
        return app.executor(services)

    executor = loop.run_until_complete(make_executor())

    async def run(batch: list[Delivery]) -> None:
        if at_once == 1:
            for delivery in batch:
                await executor.process(delivery)
            return
        for start in range(0, len(batch), at_once):
            await asyncio.gather(*(executor.process(delivery) for delivery in batch[start : start + at_once]))

    def work(units: int) -> None:
        loop.run_until_complete(run(prepared.pop()))

    prepared = [deliveries(task, 1000) for _ in range(40)]
    return work


def handling(task: str) -> Any:
    handler = LambdaHandler(app)
    records = [
        {
            "messageId": f"m{i}",
            "receiptHandle": f"r{i}",
            "body": body(task),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(int(clock.time() * 1000)),
                "SenderId": "x",
                "ApproximateFirstReceiveTimestamp": str(int(clock.time() * 1000)),
            },
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:bench-default",
            "awsRegion": "eu-west-1",
        }
        for i in range(10)
    ]

    def work(units: int) -> None:
        for _ in range(units // 10):
            handler({"Records": records}, Context())

    return work


class Context:
    """The part of Lambda's context that the handler reads."""

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def main() -> None:
    logging.getLogger("taskq_sls").setLevel(logging.WARNING)
    reference = parse(body(add.name))
    print("process, async task, claim and finish in memory  ", compare(processing(add.name, 1), reference, 1000))
    print("process, sync task, one at a time                ", compare(processing(add_sync.name, 1), reference, 1000))
    print("process, sync task, bursts of 10                 ", compare(processing(add_sync.name, 10), reference, 1000))
    print("process, async task, bursts of 10                ", compare(processing(add.name, 10), reference, 1000))
    print("Lambda, batch of 10, async, no recording         ", compare(handling(add_unrecorded.name), reference, 1000))
    print(
        "Lambda, batch of 10, sync, no recording          ",
        compare(handling(add_sync_unrecorded.name), reference, 1000),
    )


if __name__ == "__main__":
    main()
