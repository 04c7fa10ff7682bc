"""The Lambda driver behind an emulated event source mapping: real queues, real records, real answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskFailed
from taskq_sls.core.flow import drive
from taskq_sls.core.states import State
from taskq_sls.local_aws.container import InlineContainer
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.serverless import LambdaHandler
from tests.support.aws_bench import AwsBench
from tests.support.waiting import until

MakeBench = Callable[..., AwsBench]


def function_queue(name: str = "default", **options: Any) -> Queue:
    return Queue(name, **{"visibility_timeout": 5, "function_timeout": 5, "max_concurrency": 2, **options})


@contextlib.contextmanager
def mapped(bench: AwsBench, queue: str = "default") -> Iterator[list[LambdaHandler]]:
    """The queue's messages go to Lambda functions for the time of the block."""
    handlers: list[LambdaHandler] = []

    def container() -> InlineContainer:
        handlers.append(bench.app.lambda_handler())
        return InlineContainer(handlers[-1])

    url = drive(bench.app.services.blocking().broker._urls.url(queue))  # type: ignore[attr-defined]  # SQS's own
    declared = bench.app.queues[queue]
    with EventSourceMapping(declared, url, container, endpoint=bench.server.endpoint, region=bench.server.region):
        yield handlers
    for handler in handlers:
        handler.close()


def depth(bench: AwsBench, queue: str = "default") -> tuple[int, ...]:
    return tuple(drive(bench.app.services.blocking().broker.depth(queue)))


@pytest.fixture
def bench(make_aws_bench: MakeBench) -> AwsBench:
    return make_aws_bench(function_queue(), function_queue("ledger.fifo"))


def test_tasks_of_both_kinds_run_and_their_messages_are_deleted(bench: AwsBench) -> None:
    @bench.app.task(name="double")
    async def double(number: int) -> int:
        return 2 * number

    @bench.app.task(name="triple")
    def triple(number: int) -> int:
        return 3 * number

    with mapped(bench):
        handles = double.enqueue_many([(number,) for number in range(15)])
        handles += triple.enqueue_many([(number,) for number in range(5)])
        results = [handle.result(60) for handle in handles]
        until(lambda: depth(bench) == (0, 0, 0))

    assert results == [2 * number for number in range(15)] + [3 * number for number in range(5)]


def test_a_failed_attempt_comes_back_after_its_delay_and_the_rest_of_its_batch_does_not(bench: AwsBench) -> None:
    runs: list[tuple[int, int]] = []

    @bench.app.task(name="flaky", retry=Retry(max_attempts=3, backoff=1, jitter="none"))
    async def flaky(ctx: TaskContext, number: int) -> int:
        runs.append((number, ctx.attempt))
        if number == 2 and ctx.attempt < 3:
            raise ValueError(number)
        return ctx.attempt

    handles = flaky.enqueue_many([(number,) for number in range(5)])
    with mapped(bench):
        # The queue's own visibility is 30 s: only the handler's call brings the message back in time.
        assert [handle.result(60) for handle in handles] == [1, 1, 3, 1, 1]
        until(lambda: depth(bench) == (0, 0, 0))

    assert sorted(runs) == [(0, 1), (1, 1), (2, 1), (2, 2), (2, 3), (3, 1), (4, 1)]


def test_what_fails_for_good_is_found_in_the_dead_letter_queue(bench: AwsBench) -> None:
    @bench.app.task(name="fail", retry=Retry(max_attempts=2, backoff=0))
    async def fail() -> None:
        raise ValueError("no such order")

    handle = fail.enqueue()
    with mapped(bench):
        with pytest.raises(TaskFailed, match="no such order"):
            handle.result(60)
        until(lambda: depth(bench) == (0, 0, 0))

    broker = bench.app.services.blocking().broker
    [copy] = drive(broker.receive("default-dlq", max_messages=10, wait=0, visibility=30))
    assert copy.attributes["taskq.reason"] == "exhausted"
    assert copy.attributes["taskq.attempts"] == "2"
    assert copy.attributes["taskq.error_message"] == "no such order"


def test_a_failure_on_fifo_stops_only_its_group_and_order_holds(bench: AwsBench) -> None:
    ran: list[str] = []

    @bench.app.task(name="post", queue="ledger.fifo", retry=Retry(max_attempts=3, backoff=1, jitter="none"))
    async def post(ctx: TaskContext, entry: str) -> int:
        ran.append(entry)
        if entry == "a1" and ctx.attempt == 1:
            raise ValueError
        return ctx.attempt

    entries = ("a1", "b1", "a2", "b2", "a3")
    handles = {entry: post.with_options(group=entry[0]).enqueue(entry) for entry in entries}
    with mapped(bench, "ledger.fifo"):
        results = {entry: handle.result(60) for entry, handle in handles.items()}
        until(lambda: depth(bench, "ledger.fifo") == (0, 0, 0))

    assert results == {"a1": 2, "b1": 1, "a2": 1, "b2": 1, "a3": 1}
    assert [entry for entry in ran if entry[0] == "a"] == ["a1", "a1", "a2", "a3"]
    assert [entry for entry in ran if entry[0] == "b"] == ["b1", "b2"]


def test_an_attempt_that_the_deadline_cuts_is_reported_before_the_kill(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bench = make_aws_bench(function_queue(function_timeout=3))

    @bench.app.task(name="forever", retry=Retry(max_attempts=2, backoff=0))
    async def forever() -> None:
        await asyncio.sleep(600)

    handle = forever.enqueue()
    with mapped(bench):
        with pytest.raises(TaskFailed, match="deadline"):
            handle.result(60)
        until(lambda: depth(bench) == (0, 0, 0))

    record = bench.app.results.get(handle.id)
    assert record is not None
    assert (record.status, record.attempt) == (State.FAILED, 2)
    assert "mapping_invocation_failed" not in [getattr(one, "action", "") for one in caplog.records]


def test_a_message_that_is_no_task_stays_and_the_batch_goes_on(bench: AwsBench) -> None:
    from taskq_sls.brokers.base import Outgoing

    @bench.app.task(name="note")
    async def note() -> str:
        return "fine"

    drive(bench.app.services.blocking().broker.send([Outgoing("default", "{}", "x")]))
    handle = note.enqueue()
    with mapped(bench):
        assert handle.result(60) == "fine"
        until(lambda: depth(bench) == (0, 1, 0))
