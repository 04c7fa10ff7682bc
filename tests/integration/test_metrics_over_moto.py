"""What workers and Lambda functions count arrives in the table, and is read from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from taskq_sls import Queue, Retry, TaskFailed
from taskq_sls.core.flow import drive
from taskq_sls.local_aws.container import InlineContainer
from taskq_sls.local_aws.event_source_mapping import EventSourceMapping
from taskq_sls.metrics.counters import EMPTY, HOUR
from taskq_sls.metrics.meter import Meter
from taskq_sls.worker import session
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]


async def test_a_worker_that_stops_has_written_all_that_it_counted(aws_bench: AwsBench) -> None:
    @aws_bench.app.task(name="shop:double")
    async def double(number: int) -> int:
        return 2 * number

    @aws_bench.app.task(name="shop:fail", retry=Retry(max_attempts=1))
    def fail() -> None:
        raise ValueError

    async with aws_bench.working():
        for handle in await double.aenqueue_many([(number,) for number in range(5)]):
            await handle.aresult(20)
        with pytest.raises(TaskFailed):
            await (await fail.aenqueue()).aresult(20)

    window = await aws_bench.app.metrics.awindow()
    found = {one.name: one.counters for one in window.tasks}
    assert (found["shop:double"].started, found["shop:double"].succeeded) == (5, 5)
    assert (found["shop:double"].waits, found["shop:double"].timed) == (5, 5)
    assert (found["shop:fail"].failed, [one.name for one in window.failing()]) == (1, ["shop:fail"])
    assert [one.name for one in window.queues] == ["default"]
    store = (await aws_bench.app.services.on_loop()).results.metrics
    assert store is not None
    hours = await store.read(aws_bench.app.name, HOUR, 0, 10**10, task="shop:double", now=window.until)
    assert sum(counters.started for _, counters in hours) == 5


async def test_a_worker_that_goes_on_writes_what_is_due(aws_bench: AwsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "COUNTERS_CHECK_SECONDS", 0.05)
    monkeypatch.setattr(Meter, "due", lambda self, now: True)
    real = Meter.flush
    monkeypatch.setattr(Meter, "flush", lambda self, now, **options: real(self, now + 60, **options))

    @aws_bench.app.task(name="shop:double")
    async def double(number: int) -> int:
        return 2 * number

    async def written() -> bool:
        return (await aws_bench.app.metrics.atotals()).succeeded == 1

    async with aws_bench.working():
        await (await double.aenqueue(2)).aresult(20)
        await async_until(written)


async def test_a_worker_with_nothing_to_do_writes_no_counters(aws_bench: AwsBench) -> None:
    @aws_bench.app.task(name="shop:double")
    async def double(number: int) -> int:
        return 2 * number

    async with aws_bench.working(report=False):
        pass
    assert aws_bench.wire.counts["UpdateItem"] == aws_bench.wire.counts["PutItem"] == 0


async def test_a_worker_stops_cleanly_though_its_counters_cannot_be_written(aws_bench: AwsBench) -> None:
    @aws_bench.app.task(name="shop:double", record="none")
    async def double(number: int) -> int:
        done.append(number)
        return 2 * number

    @aws_bench.app.task(name="shop:recorded")
    def recorded() -> None: ...

    done: list[int] = []
    aws_bench.wire.fails = lambda operation: operation == "UpdateItem"
    aws_bench.wire.fault = "503"
    async with aws_bench.working() as worker:
        await double.aenqueue(2)
        await async_until(lambda: done)
    assert worker.why == "stopped"


def test_a_function_writes_its_counters_and_the_table_has_them(make_aws_bench: MakeBench) -> None:
    queue = Queue("default", visibility_timeout=5, function_timeout=5, max_concurrency=2)
    bench = make_aws_bench(queue)

    @bench.app.task(name="shop:double")
    async def double(number: int) -> int:
        return 2 * number

    handlers = []

    def container() -> InlineContainer:
        handlers.append(bench.app.lambda_handler())
        return InlineContainer(handlers[-1])

    url = drive(bench.app.services.blocking().broker._urls.url("default"))  # type: ignore[attr-defined]  # SQS's own
    with EventSourceMapping(queue, url, container, endpoint=bench.server.endpoint, region=bench.server.region):
        assert double.enqueue(2).result(20) == 4
    for handler in handlers:
        handler.close()

    counters = bench.app.metrics.totals(task="shop:double", queue="default")
    assert (counters.started, counters.succeeded, counters.timed) == (1, 1, 1)


def test_without_metrics_a_function_writes_the_record_alone(make_aws_bench: MakeBench) -> None:
    queue = Queue("default", visibility_timeout=5, function_timeout=5, max_concurrency=2)
    bench = make_aws_bench(queue, metrics=False)

    @bench.app.task(name="shop:double")
    async def double(number: int) -> int:
        return 2 * number

    with bench.app.lambda_handler() as handler:
        url = drive(bench.app.services.blocking().broker._urls.url("default"))  # type: ignore[attr-defined]  # SQS's own
        with EventSourceMapping(
            queue, url, lambda: InlineContainer(handler), endpoint=bench.server.endpoint, region=bench.server.region
        ):
            assert double.enqueue(2).result(20) == 4
    assert bench.wire.counts["UpdateItem"] == 2  # claim and finish
    assert bench.app.metrics.totals() == EMPTY
