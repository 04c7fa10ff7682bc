"""Unique keys on real queues and a real table: of many enqueues at once one becomes a task."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from taskq_sls import DuplicateTask, EnqueueError, Queue, Retry, State, TaskHandle
from taskq_sls.core.flow import drive
from taskq_sls.local_aws.container import InlineContainer
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.results.records import KeyLock
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]

CALLERS = 16
ROUNDS = 6


@pytest.fixture
def bench(make_aws_bench: MakeBench) -> AwsBench:
    return make_aws_bench()


def task_of(bench: AwsBench, **options: Any) -> tuple[Any, list[tuple[str, int]]]:
    runs: list[tuple[str, int]] = []

    @bench.app.task(name="job", **options)
    async def job(number: int) -> int:
        runs.append(("job", number))
        if number < 0:
            raise ValueError(number)
        return number

    return job, runs


def lock_of(bench: AwsBench, key: str = "k") -> dict[str, Any] | None:
    table = bench.app.services.blocking().results._table  # type: ignore[attr-defined]  # DynamoDB's own
    name = {"pk": {"S": f"U#job#{key}"}, "sk": {"S": "LOCK"}}
    item: dict[str, Any] | None = drive(table.call("get_item", TableName=table.name, Key=name)).get("Item")
    return item


def messages(bench: AwsBench) -> int:
    return drive(bench.app.services.blocking().broker.depth("default")).visible


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """What 16 threads get that call at the same moment; exceptions as values."""
    start = threading.Barrier(CALLERS)

    def one(number: int) -> Any:
        start.wait()
        try:
            return call(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def test_of_16_threads_with_one_key_one_sends_and_all_get_its_handle(bench: AwsBench) -> None:
    job, _ = task_of(bench)
    for number in range(ROUNDS):
        keyed = job.with_options(unique_key=f"round {number}")
        handles = at_once(keyed.enqueue)
        assert all(isinstance(handle, TaskHandle) for handle in handles), handles
        assert len({handle.id for handle in handles}) == 1
        assert messages(bench) == number + 1


def test_or_all_others_get_an_error_with_its_id(bench: AwsBench) -> None:
    job, _ = task_of(bench, unique="raise")
    answers = at_once(job.with_options(unique_key="k").enqueue)
    (handle,) = [answer for answer in answers if isinstance(answer, TaskHandle)]
    errors = [answer for answer in answers if isinstance(answer, DuplicateTask)]
    assert [error.id for error in errors] == [handle.id] * (CALLERS - 1)
    assert messages(bench) == 1


def test_of_16_threads_that_find_an_ended_task_one_takes_its_key_over(bench: AwsBench) -> None:
    job, _ = task_of(bench)
    keyed = job.with_options(unique_key="k")
    results = bench.app.services.blocking().results
    for number in range(ROUNDS):
        first = keyed.enqueue(-1)
        # Cancelled by somebody who does not free the key, as after a crash.
        drive(
            results.cancel(first.id, task="job", queue="default", now=bench.app.clock.time(), ttl=first_ttl(bench, 20))
        )
        handles = at_once(keyed.enqueue)
        assert len({handle.id for handle in handles} - {first.id}) == 1
        assert messages(bench) == 2 * (number + 1)
        handles[0].cancel()


def test_of_16_threads_that_find_a_broken_off_enqueue_one_sends_it_again(bench: AwsBench) -> None:
    job, _ = task_of(bench)
    now = bench.app.clock.time()
    results = bench.app.services.blocking().results
    drive(results.lock_key(KeyLock("job", "k", "broken-off", "default", now - 61, float(int(now) + 600))))
    handles = at_once(job.with_options(unique_key="k").enqueue)
    assert {handle.id for handle in handles} == {"broken-off"}
    assert messages(bench) == 1
    lock = lock_of(bench)
    assert lock is not None
    assert lock["confirmed"] == {"BOOL": True}


def first_ttl(bench: AwsBench, days: int) -> float:
    return bench.app.clock.time() + days * 86_400


def test_enqueue_many_locks_confirms_and_answers_by_entry(bench: AwsBench) -> None:
    job, _ = task_of(bench)
    calls = [job.with_options(unique_key=f"k{number % 20}").call(number) for number in range(25)]
    handles = job.enqueue_many(calls)
    assert [handle.id for handle in handles[20:]] == [handle.id for handle in handles[:5]]
    assert messages(bench) == 20
    assert all((lock_of(bench, f"k{number}") or {}).get("confirmed") for number in range(20))


async def test_coroutines_over_aiobotocore_share_one_task(bench: AwsBench) -> None:
    job, _ = task_of(bench)
    keyed = job.with_options(unique_key="k")
    handles = await asyncio.gather(*(keyed.aenqueue(number) for number in range(CALLERS)))
    assert len({handle.id for handle in handles}) == 1
    assert (await bench.depth()).visible == 1


async def test_the_worker_frees_the_key_at_every_end(bench: AwsBench) -> None:
    job, runs = task_of(bench, retry=Retry(max_attempts=1))
    good = await job.with_options(unique_key="good").aenqueue(1)
    bad = await job.with_options(unique_key="bad").aenqueue(-1)
    late = await job.with_options(unique_key="late", expires_in=0.001).aenqueue(2)
    off = await job.with_options(unique_key="off", delay=1).aenqueue(3)
    await off.acancel()
    await asyncio.sleep(0.01)
    async with bench.working():
        await async_until(lambda: all(lock_of(bench, key) is None for key in ("good", "bad", "late", "off")))
        again = await job.with_options(unique_key="good").aenqueue(4)
        assert await again.aresult(60) == 4
    assert again.id != good.id
    states = [await handle.astatus() for handle in (good, bad, late, off)]
    assert states == [State.SUCCEEDED, State.FAILED, State.EXPIRED, State.CANCELLED]
    assert sorted(runs) == [("job", -1), ("job", 1), ("job", 4)]


def test_the_lambda_handler_frees_the_key_too(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(Queue("default", visibility_timeout=5, function_timeout=5, max_concurrency=2))
    job, runs = task_of(bench)
    keyed = job.with_options(unique_key="k")
    handlers: list[Any] = []

    def container() -> InlineContainer:
        handlers.append(bench.app.lambda_handler())
        return InlineContainer(handlers[-1])

    url = drive(bench.app.services.blocking().broker._urls.url("default"))  # type: ignore[attr-defined]  # SQS's own
    queue = bench.app.queues["default"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            EventSourceMapping(queue, url, container, endpoint=bench.server.endpoint, region=bench.server.region)
        )
        first = keyed.enqueue(1)
        assert first.result(60) == 1
        asyncio.run(async_until(lambda: lock_of(bench) is None))
        second = keyed.enqueue(2)
        assert second.result(60) == 2
    for handler in handlers:
        handler.close()
    assert second.id != first.id
    assert runs == [("job", 1), ("job", 2)]


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_a_send_whose_answers_were_lost_leaves_the_key_unconfirmed(make_aws_bench: MakeBench, fault: str) -> None:
    bench = make_aws_bench(aws_options={"max_attempts": 1})
    job, _ = task_of(bench)
    bench.wire.fault, bench.wire.fails = fault, lambda operation: operation == "SendMessageBatch"
    with pytest.raises(EnqueueError) as caught:
        job.with_options(unique_key="k").enqueue(1)
    lock = lock_of(bench)
    assert lock is not None
    assert "confirmed" not in lock
    assert lock["id"] == {"S": caught.value.failed[0].id}


def test_a_table_that_does_not_answer_sends_nothing(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(aws_options={"max_attempts": 1})
    job, _ = task_of(bench)
    bench.wire.fault, bench.wire.fails = "503", lambda operation: operation == "PutItem"
    with pytest.raises(EnqueueError, match="the unique key could not be locked"):
        job.with_options(unique_key="k").enqueue(1)
    assert messages(bench) == 0
