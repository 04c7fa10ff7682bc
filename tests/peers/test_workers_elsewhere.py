"""What ends, stops or mixes up the workers of other task queues: a real worker of ours over a local AWS."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from taskq_sls import Queue, Retry, TaskContext, current_task
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]

HOLD = 5


@pytest.mark.parametrize("fault", ["503", "reset", "expired"])
@pytest.mark.parametrize("operation", ["ReceiveMessage", "ChangeMessageVisibilityBatch", "DeleteMessageBatch"])
async def test_one_refusal_of_sqs_does_not_end_the_worker(
    make_aws_bench: MakeBench, operation: str, fault: str
) -> None:
    """Elsewhere one 503 was an "unrecoverable error"; kombu#2031: an expired STS token ended the worker."""
    # botocore tries nothing again by itself, so that what is refused once is seen by the worker.
    bench = make_aws_bench(Queue("default", visibility_timeout=HOLD), aws_options={"max_attempts": 1})

    @bench.app.task(name="job", retry=Retry(max_attempts=2, backoff=0))
    async def job(ctx: TaskContext) -> int:
        if ctx.attempt == 1:
            raise ValueError
        return ctx.attempt

    async with bench.working():
        bench.wire.counts.clear()
        bench.wire.fails = lambda asked: asked == operation and bench.wire.counts[operation] == 1
        bench.wire.fault = fault
        handle = await job.aenqueue()
        assert await handle.aresult(60) == 2
        await async_until(lambda: _is_empty(bench))
        assert bench.wire.counts[operation] > 1
        assert await (await job.aenqueue()).aresult(60) == 2


async def test_an_idle_worker_keeps_one_long_poll_open_for_each_queue(make_aws_bench: MakeBench) -> None:
    """Elsewhere polls lasted a second, or none for further queues: 605 calls in 5 idle seconds."""
    names = ("first", "second", "third")
    bench = make_aws_bench(*(Queue(name, visibility_timeout=HOLD) for name in names))
    async with bench.working(poll_wait=20):
        await async_until(lambda: bench.wire.counts["ReceiveMessage"] >= len(names))
        await asyncio.sleep(1.5)
        assert bench.wire.counts["ReceiveMessage"] == len(names)


@pytest.mark.parametrize("pointer", ["nonsense", 'messages/"../../else"', "messages/gone"])
async def test_a_message_with_a_bad_pointer_stops_no_queue(make_aws_bench: MakeBench, pointer: str) -> None:
    """Elsewhere one stopped the listeners of all queues."""
    bench = make_aws_bench(
        Queue("default", visibility_timeout=HOLD), Queue("other", visibility_timeout=HOLD), bucket="peers-payloads"
    )
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="peers-payloads")
    s3.close()

    @bench.app.task(name="job")
    async def job() -> str:
        return "done"

    body = json.dumps({"v": 1, "id": "bad", "task": "job", "enqueued_at": 1_800_000_000.0, "payload": pointer})
    await bench.send_raw(body, "default")
    async with bench.working() as worker:
        await async_until(lambda: worker.done == 1)
        for queue in ("default", "other"):
            assert await (await job.with_options(queue=queue).aenqueue()).aresult(60) == "done"
        await async_until(lambda: _is_empty(bench, "other"))
    assert sum(await bench.depth("default")) == 1


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_tasks_at_once_have_each_their_own_context(make_aws_bench: MakeBench, kind: str) -> None:
    """Elsewhere 4 of 5 concurrent tasks were given another task's context."""
    bench = make_aws_bench()
    count = 5
    running: list[str] = []
    all_run = threading.Barrier(count)

    def seen(ctx: TaskContext) -> list[Any]:
        return [ctx.id, current_task().id, ctx.labels["number"], current_task().labels["number"]]

    if kind == "async":

        @bench.app.task(name="job")
        async def job(ctx: TaskContext, number: int) -> list[Any]:
            running.append(ctx.id)
            await async_until(lambda: len(running) == count)
            return [number, *seen(ctx)]
    else:

        @bench.app.task(name="job")
        def job(ctx: TaskContext, number: int) -> list[Any]:
            all_run.wait(60)
            return [number, *seen(ctx)]

    handles = [await job.with_options(labels={"number": str(number)}).aenqueue(number) for number in range(count)]
    async with bench.working(concurrency=count, threads=count):
        results = [await handle.aresult(60) for handle in handles]
    assert results == [
        [number, handle.id, handle.id, str(number), str(number)] for number, handle in enumerate(handles)
    ]


async def _is_empty(bench: AwsBench, queue: str | None = None) -> bool:
    return await bench.depth(queue) == (0, 0, 0)
