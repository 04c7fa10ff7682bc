"""Batches of more records than fit into one invocation of the Lambda driver."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Iterator
from typing import Any

import pytest

from taskq_sls import Queue, TaskContext
from taskq_sls.aws.blocking import ThreadedAws
from taskq_sls.aws.port import CALL_THREADS
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.states import State
from taskq_sls.engine.attempt import CompiledTask
from taskq_sls.serverless.loop import BUSY_SECONDS, RecordStart, StartLimits, new_event_loop
from tests.support.lambda_bench import Event, LambdaHarness, ids


@pytest.fixture
def bench() -> Iterator[LambdaHarness]:
    made = LambdaHarness()
    yield made
    made.handler.close()


def receive(bench: LambdaHarness, count: int) -> Event:
    records: list[Any] = []
    while len(records) < count:
        records += bench.event()["Records"]
    return {"Records": records}


def travel(bench: LambdaHarness, seconds: float) -> None:
    assert isinstance(bench.clock, ManualClock)
    bench.clock.travel(seconds)


def test_many_computing_tasks_make_progress_and_the_rest_is_released_unattempted(bench: LambdaHarness) -> None:
    @bench.app.task(name="compute")
    async def compute(number: int) -> None:
        for _ in range(10):
            travel(bench, 0.005)
            await asyncio.sleep(0)

    handles = compute.enqueue_many([(number,) for number in range(400)])
    event = receive(bench, 400)
    began = bench.clock.time()

    failed = bench.invoke(event, timeout=10)

    assert bench.clock.time() - began <= 8, "work goes on after the margin"
    records = [bench.record(handle.id) for handle in handles]
    done = sum(record is not None and record.status is State.SUCCEEDED for record in records)
    assert done >= 80
    assert all(record is not None and record.attempt == 1 for record in records[:done]), "the batch runs in order"
    # Some of the rest were claimed, and released before they entered their functions.
    assert {record and (record.status, record.attempt) for record in records[done:]} <= {None, (State.QUEUED, 0)}
    assert failed == ids(event)[done:]
    assert sorted(bench.broker.hidden) == sorted((id, 0) for id in failed)


def test_no_more_records_are_claimed_than_calls_can_be_under_way(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = bench.results.claim
    under_way = most = 0

    async def slow(wish: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1
        return await claim(wish)

    monkeypatch.setattr(bench.results, "claim", slow)

    @bench.app.task(name="note")
    async def note(number: int) -> None: ...

    note.enqueue_many([(number,) for number in range(60)])

    assert bench.invoke(receive(bench, 60), timeout=30) == []
    assert most == CALL_THREADS
    assert ThreadedAws(bench.clock)._threads == CALL_THREADS


def test_claimed_attempts_that_a_busy_loop_keeps_from_their_functions_are_released(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    claim = bench.results.claim

    async def later(wish: Any) -> Any:
        await asyncio.sleep(0)
        return await claim(wish)

    monkeypatch.setattr(bench.results, "claim", later)

    @bench.app.task(name="block", timeout=3)
    async def block(number: int) -> None:
        ran.append(number)
        travel(bench, 2.9)

    handles = block.enqueue_many([(number,) for number in range(5)])
    event = bench.event()

    # All are claimed before the first one blocks the loop. The margin begins after 8 s.
    assert bench.invoke(event, timeout=10) == ids(event)[2:]
    assert ran == [0, 1]
    records = [bench.record(handle.id) for handle in handles[2:]]
    assert [record and (record.status, record.attempt) for record in records] == [(State.QUEUED, 0)] * 3


def test_the_time_that_claims_take_counts_as_part_of_a_start(
    bench: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = bench.results.claim
    claims = 0

    async def slow(wish: Any) -> Any:
        nonlocal claims
        claims += 1
        travel(bench, 1.5)
        return await claim(wish)

    monkeypatch.setattr(bench.results, "claim", slow)
    bench.handler = bench.app.lambda_handler(concurrency=1)

    @bench.app.task(name="note", timeout=2)
    async def note(number: int) -> None: ...

    note.enqueue_many([(number,) for number in range(10)])

    # At 6 s, 1.5 for the claim and 2 for the task reach beyond the margin, which begins after 8 s.
    assert len(bench.invoke(timeout=10)) == 6
    assert claims == 4


def test_with_no_time_left_nothing_is_started(bench: LambdaHarness) -> None:
    @bench.app.task(name="note")
    async def note() -> None:
        raise AssertionError("must not run")

    handle = note.enqueue()
    event = bench.event()

    assert bench.invoke(event, timeout=0) == ids(event)
    assert bench.record(handle.id) is None


def test_records_do_not_see_the_context_variables_of_records_before_them(bench: LambdaHarness) -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    @bench.app.task(name="note")
    async def note(name: str) -> None:
        seen.append(tenant.get())
        tenant.set(name)

    bench.handler = bench.app.lambda_handler(concurrency=1)
    note.enqueue_many([("a",), ("b",), ("c",)])

    assert bench.invoke() == []
    assert seen == ["nobody"] * 3


def test_groups_keep_their_order_when_they_wait_for_a_place() -> None:
    bench = LambdaHarness(Queue("ledger.fifo"))
    ran = []

    @bench.app.task(name="post")
    async def post(ctx: TaskContext, entry: str) -> None:
        await asyncio.sleep(0)
        ran.append(entry)

    for entry in ("a1", "b1", "c1", "a2", "b2", "c2"):
        post.with_options(group=entry[0]).enqueue(entry)
    bench.handler = bench.app.lambda_handler(concurrency=2)

    assert bench.invoke(timeout=30) == []
    bench.handler.close()
    assert [[entry for entry in ran if entry[0] == group] for group in "abc"] == [
        ["a1", "a2"],
        ["b1", "b2"],
        ["c1", "c2"],
    ]


# The load of the loop


class Load:
    """A selector that says what it is told."""

    saturated = False

    def is_saturated(self) -> bool:
        return self.saturated


def plan_of(bench: LambdaHarness) -> CompiledTask:
    @bench.app.task(name="compute")
    async def compute() -> None: ...

    plan = bench.app.registry.plan("compute")
    assert plan is not None
    return plan


def test_an_async_task_enters_a_saturated_loop_only_when_none_runs_there(bench: LambdaHarness) -> None:
    load, plan = Load(), plan_of(bench)

    async def enter() -> None:
        limits = StartLimits(bench.clock, bench.clock.time() + 60, load)  # type: ignore[arg-type]  # as much as is asked
        first, second, third = (RecordStart(limits, index == 0) for index in range(3))
        load.saturated = True
        assert all(start.may_start(plan) for start in (first, second, third))
        assert first.may_enter(plan)
        assert not second.may_enter(plan)
        waiting = [asyncio.create_task(start.wait_to_enter(plan)) for start in (second, third)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        first.end()
        assert await waiting[0]
        assert not waiting[1].done()
        load.saturated = False
        assert await waiting[1]

    asyncio.run(enter())


def test_waiting_for_a_saturated_loop_ends_when_too_little_time_is_left(bench: LambdaHarness) -> None:
    load, plan = Load(), plan_of(bench)

    async def enter() -> bool:
        limits = StartLimits(bench.clock, bench.clock.time() + 60, load)  # type: ignore[arg-type]  # as much as is asked
        running, late = RecordStart(limits, True), RecordStart(limits, False)
        assert running.may_start(plan)
        assert late.may_start(plan)
        assert running.may_enter(plan)
        load.saturated = True
        waiting = asyncio.create_task(late.wait_to_enter(plan))
        await asyncio.sleep(0)
        travel(bench, 59.5)
        return await waiting

    assert not asyncio.run(enter())


def test_a_loop_without_pauses_is_saturated_until_it_waits() -> None:
    loop, selector = new_event_loop()
    assert selector is not None

    async def measure() -> None:
        begins = time.monotonic()
        while time.monotonic() - begins < 2 * BUSY_SECONDS:  # noqa: ASYNC110  # keeps the loop without a pause
            await asyncio.sleep(0)
        assert selector.is_saturated()
        async with asyncio.timeout(60):
            while selector.is_saturated():  # noqa: ASYNC110  # nothing tells when a loop has had a pause
                await asyncio.sleep(0.001)

    try:
        loop.run_until_complete(measure())
    finally:
        loop.close()
