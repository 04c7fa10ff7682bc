"""The worker over SQS and DynamoDB on a local server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskQ
from taskq_sls.core.states import State
from taskq_sls.errors import ConfigError, MissingResource
from taskq_sls.worker import session as session_module
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]

SQS = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "SendMessageBatch")


def actions(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(getattr(record, "action", "") for record in caplog.records)


def short(name: str = "default", **options: Any) -> Queue:
    return Queue(name, visibility_timeout=5, **options)


async def is_empty(bench: AwsBench) -> bool:
    return [await bench.depth(queue) for queue in bench.app.queues] == [(0, 0, 0)] * len(bench.app.queues)


# Running tasks


async def test_async_and_sync_tasks_run_and_their_messages_go(aws_bench: AwsBench) -> None:
    @aws_bench.app.task(name="double")
    async def double(number: int) -> int:
        return number * 2

    @aws_bench.app.task(name="shout")
    def shout(text: str) -> str:
        return text.upper() + threading.current_thread().name[:10]

    async with aws_bench.working():
        numbers = await double.aenqueue_many([(number,) for number in range(12)])
        texts = await shout.aenqueue_many([("a",), ("b",)])
        assert [await handle.aresult(60) for handle in numbers] == [number * 2 for number in range(12)]
        assert [await handle.aresult(60) for handle in texts] == ["Ataskq-task", "Btaskq-task"]

    assert await is_empty(aws_bench)


async def test_a_failed_attempt_is_retried_and_in_the_end_dead_lettered(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()
    attempts = []

    @bench.app.task(name="fail", retry=Retry(max_attempts=3, backoff=0))
    async def fail(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("no")

    handle = await fail.aenqueue()
    async with bench.working():
        await async_until(lambda: len(attempts) == 3)

    record = await bench.record(handle.id)
    assert record is not None
    assert (record.status, record.attempt) == (State.FAILED, 3)
    assert attempts == [1, 2, 3]
    assert (await bench.depth("default-dlq")).visible == 1
    assert await is_empty(bench)


async def test_a_message_that_nobody_can_run_is_hidden_and_kept(aws_bench: AwsBench) -> None:
    await aws_bench.send_raw("not json")

    async with aws_bench.working() as worker:
        await async_until(lambda: worker.done == 1)

    assert await aws_bench.depth() == (0, 1, 0)


async def test_the_concurrency_is_never_exceeded_and_nothing_is_fetched_that_cannot_start(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench()
    release = asyncio.Event()
    running = most = 0

    @bench.app.task(name="hold")
    async def hold() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    await hold.aenqueue_many([()] * 12)
    async with bench.working(concurrency=3) as worker:
        await async_until(lambda: running == 3)
        assert await bench.depth() == (9, 3, 0)
        release.set()
        await async_until(lambda: worker.done == 12)

    assert most == 3
    assert await is_empty(bench)


async def test_sync_tasks_beyond_the_threads_wait_unclaimed(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench()
    release = threading.Event()
    started = []

    @bench.app.task(name="hold")
    def hold(number: int) -> None:
        started.append(number)
        release.wait(60)

    handles = await hold.aenqueue_many([(number,) for number in range(5)])
    async with bench.working(concurrency=5, threads=2) as worker:
        await async_until(lambda: len(started) == 2)
        await async_until(lambda: _in_flight(bench, 5))
        records = [await bench.record(handle.id) for handle in handles]
        assert sum(record is not None for record in records) == 2
        release.set()
        await async_until(lambda: worker.done == 5)


async def _in_flight(bench: AwsBench, count: int) -> bool:
    return (await bench.depth()).in_flight == count


async def test_deletes_and_receives_are_batched(make_aws_bench: MakeBench) -> None:
    """At load a task costs at most 0.35 requests to SQS."""
    bench = make_aws_bench(short())

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        return

    await note.aenqueue_many([()] * 150)
    bench.wire.counts.clear()
    async with bench.working(concurrency=100, poll_wait=2) as worker:
        await async_until(lambda: worker.done == 150)
        await async_until(lambda: is_empty(bench))
        used = Counter(bench.wire.counts)

    assert sum(used[operation] for operation in SQS) <= 150 * 0.35
    assert used["DeleteMessageBatch"] <= 30


# Several queues


async def test_busy_queues_share_the_slots_by_weight(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short("heavy", weight=3), short("light", weight=1))
    ran: list[str] = []

    @bench.app.task(name="note", record="none")
    async def note(ctx: TaskContext) -> None:
        ran.append(ctx.queue)
        await asyncio.sleep(0.02)

    for queue in ("heavy", "light"):
        await note.with_options(queue=queue).aenqueue_many([()] * 50)
    async with bench.working(concurrency=4):
        await async_until(lambda: len(ran) >= 50)
        served = Counter(ran[:50])
        await async_until(lambda: len(ran) == 100)

    assert 0.6 <= served["heavy"] / 50 <= 0.9


async def test_fewer_slots_than_queues_serve_every_queue(make_aws_bench: MakeBench) -> None:
    names = ("a", "b", "c")
    bench = make_aws_bench(*map(short, names))
    ran: list[str] = []

    @bench.app.task(name="note", record="none")
    async def note(ctx: TaskContext) -> None:
        ran.append(ctx.queue)

    for queue in names:
        await note.with_options(queue=queue).aenqueue_many([()] * 6)
    async with bench.working(concurrency=2):
        await async_until(lambda: len(ran) == 18)

    assert Counter(ran) == dict.fromkeys(names, 6)
    assert set(ran[:9]) == set(names)


async def test_an_idle_queue_does_not_starve_a_busy_one(make_aws_bench: MakeBench) -> None:
    """With one slot for both, each poll of the idle queue that waited would cost five seconds."""
    bench = make_aws_bench(short("busy"), short("idle"))

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        return

    await note.with_options(queue="busy").aenqueue_many([()] * 40)
    async with bench.working(concurrency=1, poll_wait=5) as worker:
        await async_until(lambda: worker.done == 40)


async def test_only_the_named_queues_are_consumed(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short("a"), short("b"))

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        return

    for queue in ("a", "b"):
        await note.with_options(queue=queue).aenqueue()
    async with bench.working(queues=["b"]) as worker:
        await async_until(lambda: worker.done == 1)

    assert await bench.depth("a") == (1, 0, 0)
    assert await bench.depth("b") == (0, 0, 0)


# FIFO


async def test_a_fifo_group_runs_in_order_one_at_a_time_while_groups_run_side_by_side(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(short("ledger.fifo"))
    ran: list[tuple[str, int]] = []
    active: Counter[str] = Counter()
    most_in_group = most = 0

    @bench.app.task(name="post", record="none")
    async def post(group: str, number: int) -> None:
        nonlocal most, most_in_group
        active[group] += 1
        most_in_group = max(most_in_group, active[group])
        most = max(most, sum(active.values()))
        await asyncio.sleep(0.02)
        ran.append((group, number))
        active[group] -= 1

    for number in range(8):
        for group in "ab":
            await post.with_options(group=group).aenqueue(group, number)
    async with bench.working():
        await async_until(lambda: len(ran) == 16)

    for group in "ab":
        assert [number for name, number in ran if name == group] == list(range(8))
    assert most_in_group == 1
    assert most == 2
    assert await is_empty(bench)


async def test_a_failing_head_gives_the_rest_of_its_group_back_untouched_and_others_go_on(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(short("ledger.fifo"))
    ran: list[str] = []

    @bench.app.task(name="post", retry=Retry(max_attempts=3, backoff=4, jitter="none"))
    async def post(ctx: TaskContext, entry: str) -> str:
        ran.append(entry)
        if entry == "a1" and ctx.attempt == 1:
            raise ValueError
        if entry == "a1":
            untouched.append(await bench.record(handles["a2"].id) is None)
        return f"attempt {ctx.attempt}"

    untouched: list[bool] = []

    handles = {
        entry: await post.with_options(group=entry[0]).aenqueue(entry) for entry in ("a1", "b1", "a2", "b2", "a3")
    }
    async with bench.working() as worker:
        await async_until(lambda: len(ran) == 6)
        await async_until(lambda: worker.done >= 6)

    assert untouched == [True]
    assert set(ran[:3]) == {"a1", "b1", "b2"}
    assert [entry for entry in ran if entry[0] == "a"] == ["a1", "a1", "a2", "a3"]
    assert await handles["a1"].aresult(5) == "attempt 2"
    assert await handles["a2"].aresult(5) == "attempt 1"
    assert await is_empty(bench)


# Holding


async def test_tasks_that_block_everything_are_delivered_once_and_what_waits_behind_them_too(
    make_aws_bench: MakeBench,
) -> None:
    """Twice the hold: one task blocks the event loop, one spins in Python, and a third waits for its thread."""
    bench = make_aws_bench(short())
    runs: list[str] = []

    @bench.app.task(name="block_loop")
    async def block_loop() -> str:
        runs.append("loop")
        await asyncio.to_thread(spinning.wait, 60)
        time.sleep(11)  # noqa: ASYNC251  # blocking the loop is what this is about
        return "done"

    @bench.app.task(name="spin")
    def spin() -> str:
        runs.append("spin")
        spinning.set()
        until = time.monotonic() + 11
        while time.monotonic() < until:
            pass
        return "done"

    @bench.app.task(name="behind")
    def behind(ctx: TaskContext) -> int:
        runs.append("behind")
        return ctx.attempt

    spinning = threading.Event()
    # In a thread of its own, so that the test sees the queue while the worker's loop is blocked.
    spun = await spin.aenqueue()
    worker = bench.app.worker(threads=1, concurrency=10, poll_wait=1)
    thread = threading.Thread(target=lambda: asyncio.run(_serve(worker)), name="test-worker")
    thread.start()
    try:
        await asyncio.to_thread(spinning.wait, 60)
        waiting = await behind.aenqueue()
        await async_until(lambda: _in_flight(bench, 2))
        blocked = await block_loop.aenqueue()
        await async_until(lambda: _in_flight(bench, 3))
        ends = time.monotonic() + 10.5
        while time.monotonic() < ends:
            assert (await bench.depth()).visible == 0
            await asyncio.sleep(0.1)
        assert await blocked.aresult(60) == "done"
        assert await spun.aresult(60) == "done"
        assert await waiting.aresult(60) == 1
    finally:
        worker.stop()
        await asyncio.to_thread(thread.join, 60)

    assert sorted(runs) == ["behind", "loop", "spin"]
    assert await is_empty(bench)


async def _serve(worker: Any) -> None:
    await worker.serve()


async def test_the_lease_of_a_long_attempt_is_renewed(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    release = asyncio.Event()

    @bench.app.task(name="long")
    async def long() -> None:
        await release.wait()

    handle = await long.aenqueue()
    async with bench.working():
        await async_until(lambda: _lease(bench, handle.id))
        first = await _lease(bench, handle.id)
        assert first is not None
        await async_until(lambda: _lease_after(bench, handle.id, first))
        release.set()
        await handle.aresult(60)


async def _lease(bench: AwsBench, id: str) -> float | None:
    record = await bench.record(id)
    return None if record is None else record.lease_until


async def _lease_after(bench: AwsBench, id: str, lease: float) -> bool:
    return (await _lease(bench, id) or 0) > lease


async def test_an_attempt_whose_lease_was_lost_is_stopped_and_writes_nothing(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    ended = asyncio.Event()

    @bench.app.task(name="long")
    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    handle = await long.aenqueue()
    async with bench.working() as worker:
        await async_until(lambda: _lease(bench, handle.id))
        await _take_over(bench, handle.id)
        await asyncio.wait_for(ended.wait(), 50)  # by itself it would end after 60
        await async_until(lambda: worker.done == 1)

    record = await bench.record(handle.id)
    assert record is not None
    assert (record.status, record.owner) == (State.RUNNING, "somebody else")


async def _take_over(bench: AwsBench, id: str) -> None:
    from taskq_sls.aws.blocking import ThreadedAws
    from taskq_sls.core.clock import SystemClock
    from taskq_sls.results.layout import record_key

    port = ThreadedAws(SystemClock(), threads=1)
    await port.client("dynamodb").call(
        "update_item",
        TableName=bench.app.settings.table,
        Key=record_key(id),
        UpdateExpression="SET #o = :o",
        ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":o": {"S": "somebody else"}},
    )
    await port.close()


async def test_progress_shows_in_the_record_while_the_task_runs(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    release = asyncio.Event()

    @bench.app.task(name="long")
    async def long(ctx: TaskContext) -> None:
        ctx.progress(3, 10, "rows")
        await release.wait()
        ctx.progress(10, 10)

    handle = await long.aenqueue()

    async def progress() -> tuple[Any, ...] | None:
        record = await bench.record(handle.id)
        return None if record is None or record.progress is None else tuple(record.progress)

    async with bench.working():
        await async_until(progress)
        assert await progress() == (3, 10, "rows")
        release.set()
        await handle.aresult(60)

    assert await progress() == (10, 10, None)


async def test_a_cancel_of_a_running_async_task_is_seen_at_the_next_beat(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    started = asyncio.Event()

    @bench.app.task(name="long")
    async def long() -> None:
        started.set()
        await asyncio.sleep(600)

    handle = await long.aenqueue()
    async with bench.working() as worker:
        await started.wait()
        assert (await handle.acancel()).answer == "requested"
        await async_until(lambda: worker.done == 1)

    assert await handle.astatus() is State.CANCELLED
    assert await is_empty(bench)


async def test_a_sync_task_is_told_of_a_cancel(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    started = threading.Event()

    @bench.app.task(name="long", retry=Retry(max_attempts=5))
    def long(ctx: TaskContext) -> None:
        started.set()
        while not ctx.cancelled:
            time.sleep(0.01)
        raise RuntimeError("the task ends as it likes")

    handle = await long.aenqueue()
    async with bench.working() as worker:
        await async_until(started.is_set)
        await handle.acancel()
        await async_until(lambda: worker.done == 1)

    assert await handle.astatus() is State.CANCELLED
    assert await is_empty(bench)


async def test_a_task_that_cancels_itself_keeps_neither_slot_nor_hold(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    ran = []

    @bench.app.task(name="cancel_self", record="none")
    async def cancel_self() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        ran.append(1)

    await cancel_self.aenqueue()
    async with bench.working(concurrency=1) as worker:
        await async_until(lambda: worker.done == 1)
        await note.aenqueue()
        await async_until(lambda: ran)
        # Not held: it comes back when its hold has ended.
        await async_until(lambda: worker.done >= 3)


# The life of a worker


async def test_the_lifespan_is_entered_and_left_once(make_aws_bench: MakeBench) -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[str]:
        seen.append("entered")
        yield "a pool"
        seen.append("left")

    bench = make_aws_bench(lifespan=lifespan)

    @bench.app.task(name="note", record="none")
    async def note(ctx: TaskContext) -> None:
        seen.append(ctx.state)

    await note.aenqueue_many([(), ()])
    async with bench.working() as worker:
        await async_until(lambda: worker.done == 2)

    assert seen == ["entered", "a pool", "a pool", "left"]


async def test_burst_ends_when_the_queues_are_drained_retries_and_delays_included(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(short("a"), short("b"))

    @bench.app.task(name="flaky", retry=Retry(max_attempts=2, backoff=1, jitter="none"))
    async def flaky(ctx: TaskContext) -> int:
        if ctx.attempt < 2:
            raise ValueError
        return ctx.attempt

    handles = [
        await flaky.aenqueue(),
        await flaky.with_options(queue="b").aenqueue(),
        await flaky.with_options(delay=2).aenqueue(),
    ]
    await bench.send_raw("poison", "b")

    why = await asyncio.wait_for(bench.app.worker(burst=True).serve(), 90)

    assert why == "drained"
    assert [await handle.aresult(0) for handle in handles] == [2, 2, 2]
    assert await bench.depth("a") == (0, 0, 0)
    assert await bench.depth("b") == (0, 1, 0)


async def test_burst_waits_for_what_still_runs(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())

    @bench.app.task(name="parent")
    async def parent() -> None:
        await asyncio.sleep(1.5)
        await child.aenqueue()

    @bench.app.task(name="child")
    async def child() -> None:
        ran.append(1)

    ran: list[int] = []
    await parent.aenqueue()

    assert await asyncio.wait_for(bench.app.worker(burst=True).serve(), 90) == "drained"
    assert ran == [1]


async def test_max_tasks_recycles_the_worker(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        return

    await note.aenqueue_many([()] * 10)

    worker = bench.app.worker(max_tasks=3, concurrency=1, poll_wait=1)
    assert await asyncio.wait_for(worker.serve(), 60) == "recycle"
    assert 3 <= worker.done < 10
    depth = await bench.depth()
    assert (depth.visible, depth.in_flight) == (10 - worker.done, 0)


async def test_a_worker_above_its_memory_is_recycled(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())

    @bench.app.task(name="note", record="none")
    async def note() -> None:
        return

    await note.aenqueue_many([()] * 10)

    assert await asyncio.wait_for(bench.app.worker(max_memory=1, poll_wait=1).serve(), 60) == "recycle"


async def test_stop_finishes_what_runs_and_gives_back_what_has_not_started(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    release = threading.Event()
    started, finished = [], []

    @bench.app.task(name="hold")
    def hold(number: int) -> None:
        started.append(number)
        release.wait(60)
        finished.append(number)

    await hold.aenqueue_many([(number,) for number in range(6)])
    worker = bench.app.worker(concurrency=6, threads=2, poll_wait=1)
    serving = asyncio.create_task(worker.serve())
    await async_until(lambda: len(started) == 2)
    await async_until(lambda: _in_flight(bench, 6))

    worker.stop()
    await async_until(lambda: _in_flight(bench, 2))
    assert (await bench.depth()).visible == 4
    release.set()

    assert await bench.end(serving) == "stopped"
    assert sorted(finished) == sorted(started)
    assert await bench.depth() == (4, 0, 0)


async def test_a_message_that_arrives_on_the_poll_under_way_at_a_stop_is_given_back(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(short())
    ran = []

    @bench.app.task(name="note")
    async def note() -> None:
        ran.append(1)

    worker = bench.app.worker(poll_wait=20)
    serving = asyncio.create_task(worker.serve())
    await async_until(lambda: bench.wire.counts["ReceiveMessage"] == 1)
    worker.stop()
    await asyncio.sleep(0.05)
    handle = await note.aenqueue()

    assert await asyncio.wait_for(serving, 60) == "stopped"
    assert ran == []
    assert await bench.depth() == (1, 0, 0)
    assert await bench.record(handle.id) is None
    # Once by the worker, and now.
    assert await bench.receives() == [2]


async def test_a_fifo_worker_that_stops_gives_back_the_rest_of_its_groups(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short("ledger.fifo"))
    release = asyncio.Event()
    ran = []

    @bench.app.task(name="post")
    async def post(number: int) -> None:
        ran.append(number)
        await release.wait()

    for number in range(4):
        await post.with_options(group="g").aenqueue(number)
    worker = bench.app.worker(poll_wait=1)
    serving = asyncio.create_task(worker.serve())
    await async_until(lambda: ran == [0])
    worker.stop()
    release.set()

    await bench.end(serving)
    assert ran == [0]
    assert await bench.depth() == (3, 0, 0)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_task_that_outlives_the_grace_period_is_given_back_with_its_attempt(
    make_aws_bench: MakeBench, kind: str
) -> None:
    bench = make_aws_bench(short())
    attempts = []

    @bench.app.task(name="async")
    async def long_async(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        await asyncio.sleep(600)

    @bench.app.task(name="sync")
    def long_sync(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        while True:
            time.sleep(0.01)

    handle = await (long_async if kind == "async" else long_sync).aenqueue()
    for _ in range(2):
        started = len(attempts)
        worker = bench.app.worker(poll_wait=1, grace=0)
        serving = asyncio.create_task(worker.serve())
        await async_until(lambda started=started: len(attempts) > started)  # type: ignore[misc]  # bound per round
        worker.stop()
        assert await bench.end(serving) == "stopped"
        assert await bench.depth() == (1, 0, 0)

    record = await bench.record(handle.id)
    assert record is not None
    assert (record.status, record.attempt) == (State.QUEUED, 0)
    assert attempts == [1, 1]


async def test_a_thread_that_does_not_end_is_left_with_its_lease(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "STOP_SECONDS", 0.2)
    bench = make_aws_bench(Queue("default", visibility_timeout=60))  # still hidden when it is looked at
    release, started = threading.Event(), threading.Event()

    @bench.app.task(name="stuck")
    def stuck() -> None:
        started.set()
        release.wait(60)  # in C, where no exception reaches it

    handle = await stuck.aenqueue()
    worker = bench.app.worker(poll_wait=1, grace=0)
    serving = asyncio.create_task(worker.serve())
    try:
        await async_until(started.is_set)
        worker.stop()

        assert await bench.end(serving) == "stopped"
        assert await bench.depth() == (0, 1, 0)
        assert await handle.astatus() is State.RUNNING
    finally:
        release.set()


async def test_a_second_stop_ends_at_once(make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.worker.settler.DELETE_DELAY_SECONDS", 60)
    bench = make_aws_bench(short())
    release, started, entered = threading.Event(), threading.Event(), asyncio.Event()
    ended: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: TaskQ) -> AsyncIterator[None]:
        try:
            yield
        finally:
            ended.append("lifespan")

    bench.app.lifespan = lifespan

    @bench.app.task(name="stuck")
    def stuck() -> None:
        started.set()
        release.wait(60)

    @bench.app.task(name="long")
    async def long() -> None:
        entered.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("long")

    @bench.app.task(name="quick")
    async def quick() -> None:
        return

    await quick.aenqueue()
    await stuck.aenqueue()
    handle = await long.aenqueue()
    worker = bench.app.worker(poll_wait=20, grace=600)
    serving = asyncio.create_task(worker.serve())
    try:
        await async_until(started.is_set)
        await entered.wait()
        worker.stop()
        await asyncio.sleep(0)
        worker.stop()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(serving), 60)
    finally:
        release.set()

    assert ended == ["long", "lifespan"]
    assert bench.wire.counts["DeleteMessageBatch"] == 0
    assert await handle.astatus() is State.RUNNING


def test_run_answers_why_it_ended_and_a_second_stop_ends_run_too(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    assert bench.app.worker(burst=True).run() == "drained"

    release, started = threading.Event(), threading.Event()

    @bench.app.task(name="stuck")
    def stuck() -> None:
        started.set()
        release.wait(60)

    stuck.enqueue()
    worker = bench.app.worker(poll_wait=20, grace=600)

    def stop_twice() -> None:
        started.wait(60)
        worker.stop()
        worker.stop()

    stopper = threading.Thread(target=stop_twice)
    stopper.start()
    try:
        assert worker.run() == "stopped"
        assert not release.is_set()
    finally:
        release.set()
        stopper.join()


async def test_a_stop_before_the_begin_is_not_lost(make_aws_bench: MakeBench) -> None:
    worker = make_aws_bench(short()).app.worker(poll_wait=1)

    worker.stop()

    assert await asyncio.wait_for(worker.serve(), 60) == "stopped"


async def test_a_worker_object_may_serve_again_and_a_stop_after_its_end_does_nothing(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(short())
    worker = bench.app.worker(poll_wait=1)
    for _ in range(2):
        serving = asyncio.create_task(worker.serve())
        await async_until(lambda: worker._loop is not None)
        worker.stop()
        assert await bench.end(serving) == "stopped"
        worker.stop()


# What is wrong for good


def test_a_missing_queue_is_named(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    app = TaskQ(bench.app.name, queues=[Queue("elsewhere")])

    with pytest.raises(MissingResource, match=r"queue 'elsewhere'.*taskq provision"):
        app.worker(poll_wait=1).run()


async def test_a_missing_dead_letter_queue_is_told_and_does_not_end_the_worker(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_aws_bench(short(), short("other"))
    sqs = boto3.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=bench.app.settings.queue_name("other-dlq"))["QueueUrl"])
    sqs.close()

    async with bench.working():
        await async_until(lambda: bench.wire.counts["ReceiveMessage"] >= 2)

    [told] = [record for record in caplog.records if getattr(record, "action", "") == "no_dead_letter_queue"]
    assert told.levelno == logging.WARNING
    assert "queue other has no dead-letter queue" in told.getMessage()


def test_a_missing_table_is_named(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())
    app = TaskQ(bench.app.name, queues=[short()], table="nowhere")

    @app.task(name="note")
    async def note() -> None:
        return

    with pytest.raises(MissingResource, match=r"table 'nowhere'.*taskq provision"):
        app.worker(poll_wait=1).run()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "AWS_ACCESS_KEY_ID"),
        (("AWS_DEFAULT_REGION", "AWS_REGION"), "AWS_DEFAULT_REGION"),
    ],
)
def test_missing_credentials_or_region_are_explained(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], words: str
) -> None:
    bench = make_aws_bench(short())
    for name in missing:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)

    with pytest.raises(ConfigError, match=words):
        bench.app.worker(poll_wait=1).run()


def test_a_health_port_that_is_taken_is_a_clean_error(make_aws_bench: MakeBench) -> None:
    import socket

    bench = make_aws_bench(short())
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--health"):
        bench.app.worker(poll_wait=1, health=taken.getsockname()).run()


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 10_001},
        {"concurrency": True},
        {"threads": 1_001},
        {"max_tasks": 0},
        {"max_memory": 0},
        {"grace": -1},
        {"grace": float("inf")},
        {"poll_wait": 0},
        {"poll_wait": 21},
        {"queues": ["nope"]},
        {"queues": []},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).removesuffix("s")):
        TaskQ("shop").worker(**options)


# Faults that pass


async def test_an_endpoint_that_fails_for_a_while_does_not_end_the_worker(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="taskq_sls.worker")
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})

    @bench.app.task(name="note")
    async def note() -> None:
        return

    async with bench.working() as worker:
        await (await note.aenqueue()).aresult(60)
        bench.wire.fault = "503"
        bench.wire.fails = lambda operation: operation == "ReceiveMessage"
        seen = bench.wire.counts["ReceiveMessage"]
        await async_until(lambda: bench.wire.counts["ReceiveMessage"] >= seen + 2)
        bench.wire.fault = None
        await (await note.aenqueue()).aresult(60)
        assert worker.done == 2

    assert actions(caplog)["poll_fault"] == 1
    assert actions(caplog)["poll_fault_over"] == 1


async def test_deletes_and_records_are_insisted_on_through_an_outage(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})
    started, release = asyncio.Event(), asyncio.Event()
    runs = []

    @bench.app.task(name="note")
    async def note() -> str:
        runs.append(1)
        started.set()
        await release.wait()
        return "kept"

    handle = await note.aenqueue()
    async with bench.working():
        await started.wait()
        bench.wire.fault = "503"
        failing = {"UpdateItem", "DeleteMessageBatch"}
        bench.wire.fails = lambda operation: operation in failing
        bench.wire.counts.clear()
        release.set()
        await async_until(lambda: bench.wire.counts["UpdateItem"] >= 3)
        failing.discard("UpdateItem")
        await async_until(lambda: bench.wire.counts["DeleteMessageBatch"] >= 3)
        bench.wire.fault = None
        assert await handle.aresult(60) == "kept"
        await async_until(lambda: is_empty(bench))

    assert runs == [1]


async def test_a_table_that_cannot_be_reached_gives_messages_back_unattempted_and_logs_once(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The messages come back in a moment, not in the 5 to 60 seconds of real life.
    monkeypatch.setattr("taskq_sls.engine.claiming.outage_seconds", lambda: 0)
    for name in ("FIRST_PROBE_PAUSE_SECONDS", "MAX_PROBE_PAUSE_SECONDS"):
        monkeypatch.setattr(f"taskq_sls.worker.poller.{name}", 0.05)
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})

    @bench.app.task(name="note")
    async def note(ctx: TaskContext) -> int:
        return ctx.attempt

    async with bench.working():
        bench.wire.fault = "503"
        bench.wire.fails = lambda operation: operation == "UpdateItem"
        handles = await note.aenqueue_many([()] * 5)
        await async_until(lambda: bench.wire.counts["UpdateItem"] >= 30)
        # Each message was received once or twice; the other writes are probes.
        assert bench.wire.counts["ReceiveMessage"] < 8
        # Not at the end: of calls under way when the fault ends, one may fail after another has succeeded.
        told = actions(caplog)["claim_fault"]
        bench.wire.fault = None
        assert [await handle.aresult(60) for handle in handles] == [1] * 5

    assert told == 1


async def test_the_whole_endpoint_may_go_away_and_come_back(
    make_aws_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})
    release = asyncio.Event()
    runs = []

    @bench.app.task(name="long")
    async def long() -> str:
        runs.append(1)
        await release.wait()
        return "done"

    handle = await long.aenqueue()
    async with bench.working():
        await async_until(lambda: runs)
        bench.wire.fault = "reset"
        bench.wire.counts.clear()
        # The heartbeat's calls and the polls fail.
        await async_until(lambda: actions(caplog)["heartbeat_fault"] and actions(caplog)["poll_fault"])
        bench.wire.fault = None
        release.set()
        assert await handle.aresult(60) == "done"
        await async_until(lambda: is_empty(bench))

    assert runs == [1]
    assert actions(caplog)["heartbeat_fault"] == 1
    assert actions(caplog)["poll_fault"] == 1


async def test_a_stop_does_not_wait_for_the_backoff_of_a_poll_that_fails(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The first backoff is half a second; here it is a minute.
    monkeypatch.setattr("taskq_sls.core.backoff.random.uniform", lambda low, high: 120)
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})
    worker = bench.app.worker(poll_wait=1)
    serving = asyncio.create_task(worker.serve())
    await async_until(lambda: bench.wire.counts["ReceiveMessage"] >= 1)
    bench.wire.fault = "503"
    bench.wire.fails = lambda operation: operation == "ReceiveMessage"
    await async_until(lambda: actions(caplog)["poll_fault"])

    worker.stop()

    assert await asyncio.wait_for(serving, 30) == "stopped"


# Health


def get(worker: Any, path: str = "/") -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.health.port}{path}", timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


async def test_the_health_endpoint_tells_whether_polls_succeed(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_aws_bench(short(), aws_options={"max_attempts": 1})
    async with bench.working(health=("127.0.0.1", 0)) as worker:
        await async_until(lambda: worker.health is not None)
        for path in ("/", "/healthz", "/any/path"):
            status, body = await asyncio.to_thread(get, worker, path)
            assert (status, body["live"]) == (200, True)

        async def status_is(expected: int) -> bool:
            return (await asyncio.to_thread(get, worker))[0] == expected

        monkeypatch.setattr(session_module, "MAX_SILENCE_SECONDS", 1.5)
        bench.wire.fault = "503"
        await async_until(lambda: status_is(503))
        bench.wire.fault = None
        await async_until(lambda: status_is(200))
        assert worker.health is not None
        port = worker.health.port

    import socket

    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again


async def test_a_busy_worker_is_healthy_although_it_does_not_poll(
    make_aws_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "MAX_SILENCE_SECONDS", 0.3)
    bench = make_aws_bench(short())
    started, release = asyncio.Event(), asyncio.Event()

    @bench.app.task(name="hold")
    async def hold() -> None:
        started.set()
        await release.wait()

    await hold.aenqueue()
    async with bench.working(concurrency=1, health=("127.0.0.1", 0)) as worker:
        await started.wait()
        await asyncio.sleep(0.5)
        status, body = await asyncio.to_thread(get, worker)
        assert (status, body["running"]) == (200, 1)
        release.set()


async def test_enqueueing_inside_of_tasks_works_in_both_kinds(make_aws_bench: MakeBench) -> None:
    bench = make_aws_bench(short())

    @bench.app.task(name="child")
    async def child(ctx: TaskContext) -> tuple[str | None, int]:
        return ctx.parent, ctx.depth

    @bench.app.task(name="parent_async")
    async def parent_async() -> str:
        return (await child.aenqueue()).id

    @bench.app.task(name="parent_sync")
    def parent_sync() -> str:
        return child.enqueue().id

    async with bench.working():
        for parent in (parent_async, parent_sync):
            handle = await parent.aenqueue()
            child_id = await handle.aresult(60)
            await async_until(lambda child_id=child_id: bench.record(child_id))  # type: ignore[misc]  # bound per round
            record = await bench.record(child_id)
            assert record is not None
            assert record.parent == handle.id
