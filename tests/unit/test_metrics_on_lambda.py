"""A Lambda container writes its counters at the end of an invocation, once a minute, and never at its expense."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls import TaskQ
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.brokers.received import delivery_from_lambda_record
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.core.message import Message
from taskq_sls.local_aws.context import LambdaContext
from taskq_sls.metrics.counters import MINUTE, CounterKey, Counters, MemoryMetrics
from taskq_sls.results.memory import MemoryResults
from taskq_sls.serverless import LambdaHandler
from taskq_sls.serverless import handler as handler_module

NOW = 1_800_000_000.0


class Container:
    """A Lambda container over stores in memory, and what it has written."""

    def __init__(self, *, metrics: bool | None = None) -> None:
        self.clock = ManualClock(NOW)
        self.results = MemoryResults()
        self.app = TaskQ(
            "shop",
            broker=MemoryBroker(self.clock, ["default"]),
            results=self.results,
            clock=self.clock,
            metrics=metrics,
        )

        @self.app.task(name="work")
        async def work() -> None: ...

        self.handler: LambdaHandler = self.app.lambda_handler()
        self.sent = 0

    def invoke(self, *, records: int = 1, timeout: float = 30.0) -> None:
        event = {"Records": [self._record() for _ in range(records)]}
        answer = self.handler(event, LambdaContext(timeout=timeout, clock=self.clock))
        assert answer == {"batchItemFailures": []}

    def minutes(self) -> list[int]:
        """Starts that were written, by minute."""
        until = int(self.clock.time()) + MINUTE
        found = drive(self.results.metrics.read("shop", MINUTE, int(NOW), until, now=NOW))
        counts = dict.fromkeys(range(int(NOW), until // MINUTE * MINUTE, MINUTE), 0)
        for slot, counters in found:
            counts[slot.time] += counters.started
        return list(counts.values())

    def _record(self) -> dict[str, Any]:
        self.sent += 1
        record: dict[str, Any] = {
            "messageId": f"m{self.sent}",
            "receiptHandle": "r",
            "body": Message(f"task-{self.sent}", "work", enqueued_at=self.clock.time()).encode(),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(int(self.clock.time() * 1000)),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:shop-default",
        }
        assert delivery_from_lambda_record(record, "default").receive_count == 1
        return record


@pytest.fixture
def container() -> Iterator[Container]:
    container = Container()
    with container.handler:
        yield container


@contextlib.contextmanager
def broken_store(monkeypatch: pytest.MonkeyPatch, *, hangs: bool = False) -> Iterator[list[CounterKey]]:
    """The store fails, or does not answer, for the time of the block."""
    tries: list[CounterKey] = []

    async def add(self: MemoryMetrics, app: str, slot: CounterKey, counters: Counters) -> None:
        tries.append(slot)
        if hangs:
            await asyncio.sleep(3600)
        raise ConnectionError("no way to the table")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryMetrics, "add", add)
        yield tries


def test_the_first_invocation_of_a_container_is_written_at_once(container: Container) -> None:
    container.invoke(records=3)
    assert container.minutes() == [3]


def test_a_busy_container_writes_a_minute_when_it_is_over(container: Container) -> None:
    container.invoke()
    for _ in range(11):
        container.clock.travel(5)
        container.invoke()
    assert container.minutes() == [1]  # up to 55 seconds
    container.clock.travel(10)
    container.invoke()
    assert container.minutes() == [12, 0]


def test_a_container_that_is_seldom_called_leaves_nothing_unwritten(container: Container) -> None:
    for _ in range(3):
        container.invoke()
        container.clock.travel(300)
    assert sum(container.minutes()) == 3


def test_a_fault_changes_neither_answer_nor_counts_and_is_logged_once(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_store(monkeypatch) as tries:
        for _ in range(20):
            container.invoke()
            container.clock.travel(30)
    assert len(tries) == 4  # at once, then after 1, 2 and 4 minutes
    container.clock.travel(1000)
    container.invoke()
    assert sum(container.minutes()) == 21
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.name for record in warnings] == ["taskq_sls.metrics"]


def test_a_store_that_does_not_answer_is_not_waited_for_and_not_asked_again_at_once(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_module, "MAX_COUNTERS_SECONDS", 0.01)
    with broken_store(monkeypatch, hangs=True) as tries:
        container.invoke()
        container.clock.travel(30)
        container.invoke()
    assert len(tries) == 1
    container.clock.travel(300)
    container.invoke()
    assert sum(container.minutes()) == 3


def test_shortly_before_the_deadline_nothing_is_written(container: Container) -> None:
    container.invoke(timeout=1.5)
    assert container.minutes() == [0]
    container.invoke(timeout=30)
    assert container.minutes() == [2]


def test_a_container_with_metrics_switched_off_writes_nothing() -> None:
    container = Container(metrics=False)
    with container.handler:
        container.invoke()
    assert container.minutes() == [0]
