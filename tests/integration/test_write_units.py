"""The write units that the pages state, counted from the calls that are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from benchmarks.cost import CALLS, UNITS, UNITS_PER_RETRY
from taskq_sls import Queue, Retry, TaskContext
from taskq_sls.local_aws.event_records import event_of, record_of
from tests.support.aws_bench import AwsBench
from tests.support.write_units import Meter, meter, write_units

__all__ = ["meter"]

REGION = "us-east-1"

INDEXED = {"status_shard": {"S": "a"}, "status_time": {"S": "1"}}


@pytest.fixture
def bench(make_aws_bench: Callable[..., AwsBench]) -> AwsBench:
    return make_aws_bench(Queue("default", function_timeout=60), metrics=False)


@pytest.fixture
def invoke(bench: AwsBench) -> Iterator[Callable[[], None]]:
    """Receives as Lambda does, and calls the handler."""
    handler, sqs = bench.app.lambda_handler(), boto3.client("sqs")
    name = f"{bench.app.settings.prefix}-default"

    def call() -> None:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        received = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["All"], WaitTimeSeconds=0)["Messages"]
        arn = f"arn:aws:sqs:{REGION}:123456789012:{name}"
        handler(event_of([record_of(one, queue_arn=arn, region=REGION) for one in received]))

    yield call
    handler.close()
    sqs.close()


def define(bench: AwsBench, level: str, **options: Any) -> Any:
    @bench.app.task(name="add", record=level, **options)
    def add(ctx: TaskContext, a: int, b: int) -> int:
        if ctx.attempt <= int(ctx.labels.get("fails", "0")):
            raise ValueError(a)
        return a + b

    return add


@pytest.mark.parametrize("level", UNITS)
def test_a_task_that_succeeds_costs_what_is_stated(
    level: str, bench: AwsBench, invoke: Callable[[], None], meter: Meter
) -> None:
    add = define(bench, level)

    add.enqueue(1, 2)
    sent = len(meter.units)
    invoke()

    assert meter.total == UNITS[level]
    assert len(meter.units) - sent == CALLS[level]


@pytest.mark.parametrize("level", ["started", "queued"])
def test_each_retry_costs_what_is_stated(level: str, bench: AwsBench, invoke: Callable[[], None], meter: Meter) -> None:
    add = define(bench, level, retry=Retry(max_attempts=3, backoff=0, jitter="none"))

    add.with_options(labels={"fails": "2"}).enqueue(1, 2)
    for _ in range(3):
        invoke()

    assert meter.total == UNITS[level] + 2 * UNITS_PER_RETRY


def test_a_unique_key_costs_three_more(bench: AwsBench, invoke: Callable[[], None], meter: Meter) -> None:
    add = define(bench, "started")

    add.with_options(unique_key="one").enqueue(1, 2)
    invoke()

    assert meter.total == UNITS["started"] + 3


@pytest.mark.parametrize("metrics", [True, False])
def test_counters_cost_a_container_two_for_each_task_of_a_minute(
    metrics: bool, bench: AwsBench, invoke: Callable[[], None], meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.app, "_settings", bench.app.settings._replace(metrics=metrics))
    add = define(bench, "none")

    add.enqueue(1, 2)
    invoke()

    assert meter.total == (2 if metrics else 0)


def test_the_meter_counts_as_dynamodb_does() -> None:
    small, large = {"pk": {"S": "x"}}, {"pk": {"S": "x" * 1_100}}
    moved = {**small, **INDEXED, "status_time": {"S": "2"}}

    assert write_units(None, small) == 1
    assert write_units(large, small) == 2, "the larger one counts"
    assert write_units(small, {**small, **INDEXED}) == write_units({**small, **INDEXED}, small) == 2
    assert write_units({**small, **INDEXED}, moved) == 3, "an entry that moves is deleted and put"
    assert write_units({**small, **INDEXED}, {**small, **INDEXED, "more": {"S": "y"}}) == 1
