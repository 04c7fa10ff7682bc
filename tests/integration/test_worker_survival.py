"""A worker over the local AWS server, whose tasks, handlers and calls fail in odd ways: it goes on, and leaks nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from taskq_sls import Queue, Retry
from taskq_sls.brokers.base import Answer
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.states import State
from taskq_sls.worker import session as session_module
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]


@pytest.fixture
def broken_handler() -> Iterator[None]:
    """A log handler that raises for every line of the library."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ConnectionError("the log server is gone")

    handler = Broken()
    logger = logging.getLogger("taskq_sls")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)


@pytest.mark.usefixtures("broken_handler")
async def test_a_log_handler_that_raises_costs_no_slot_no_message_and_no_result(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()

    @bench.app.task(name="fail", retry=Retry(max_attempts=1))
    async def fail() -> None:
        raise ValueError("no")

    @bench.app.task(name="work")
    async def work() -> str:
        return "done"

    failing = await fail.aenqueue_many([()] * 4)
    async with bench.working(concurrency=2) as worker:
        await async_until(lambda: worker.done == 4)
        handle = await work.aenqueue()
        assert await handle.aresult(60) == "done"
    records = [await bench.record(handle.id) for handle in failing]
    assert [record and record.status for record in records] == [State.FAILED] * 4
    assert await bench.depth() == (0, 0, 0)
    assert (await bench.depth("default-dlq")).visible == 4


async def test_chains_that_are_cancelled_before_they_begin_give_back_their_slots(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_aws_bench()
    deliver = session_module.WorkerRun._deliver
    cancelled = 0

    def deliver_cancelled(session: session_module.WorkerRun, deliveries: list[Delivery]) -> None:
        nonlocal cancelled
        deliver(session, deliveries)
        if cancelled < 2:
            for task in list(session._running):
                cancelled += 1
                task.cancel()

    monkeypatch.setattr(session_module.WorkerRun, "_deliver", deliver_cancelled)

    @bench.app.task(name="work")
    async def work() -> str:
        return "done"

    handles = await work.aenqueue_many([()] * 3)
    async with bench.working(concurrency=1):
        assert [await handle.aresult(60) for handle in handles] == ["done"] * 3
    assert cancelled == 2
    assert await bench.depth() == (0, 0, 0)


async def test_an_acknowledgement_that_fails_in_an_odd_way_leaves_its_message_to_come_again(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_aws_bench()
    runs = 0

    @bench.app.task(name="work", record="none")
    async def work() -> None:
        nonlocal runs
        runs += 1

    async def odd(broker: SqsBroker, deliveries: Sequence[Delivery]) -> list[Answer]:
        monkeypatch.undo()
        return []  # an answer for no entry at all

    monkeypatch.setattr(SqsBroker, "ack", odd)
    await work.aenqueue()
    async with bench.working(concurrency=1):
        await async_until(lambda: runs == 2)
    assert await bench.depth() == (0, 0, 0)


async def test_a_poll_that_is_cancelled_by_other_code_ends_the_worker_with_an_error(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_aws_bench()
    receive = SqsBroker.receive
    polls = 0

    async def cancelled(broker: SqsBroker, *args: Any, **more: Any) -> list[Delivery]:
        nonlocal polls
        polls += 1
        if polls == 2:
            raise asyncio.CancelledError
        return await receive(broker, *args, **more)

    monkeypatch.setattr(SqsBroker, "receive", cancelled)
    worker = bench.app.worker(poll_wait=1)
    with bench.wire.short_polls():
        assert await asyncio.wait_for(worker.serve(), 60) == "fault"
    [told] = [record for record in caplog.records if getattr(record, "action", "") == "worker_fault"]
    assert told.levelno == logging.ERROR
    assert "other code cancelled" in told.getMessage()


async def test_an_outage_of_the_table_spends_no_backlogs_receives(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_sls.engine.claiming.outage_seconds", lambda: 0)  # released messages are back at once
    for name in ("FIRST_PROBE_PAUSE_SECONDS", "MAX_PROBE_PAUSE_SECONDS"):
        monkeypatch.setattr(f"taskq_sls.worker.poller.{name}", 0.05)
    bench = make_aws_bench(Queue("default", visibility_timeout=5, max_receive_count=4), aws_options={"max_attempts": 1})

    @bench.app.task(name="work", retry=Retry(max_attempts=1))
    async def work() -> str:
        return "done"

    handles = await work.aenqueue_many([()] * 20)
    bench.wire.fault, bench.wire.fails = "503", lambda operation: operation == "UpdateItem"
    async with bench.working(health=("127.0.0.1", 0)) as worker:
        await async_until(lambda: bench.wire.counts["UpdateItem"] >= 60)
        assert worker.health is not None
        url = f"http://127.0.0.1:{worker.health.port}/"
        async with asyncio.timeout(60):
            status = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(url)))
        assert (status["live"], status["claims"]) == (True, False)
        bench.wire.fault = None
        assert [await handle.aresult(60) for handle in handles] == ["done"] * 20
    assert (await bench.depth("default-dlq")).visible == 0
