"""A task that waits for a task: refused inside tasks, not retried, and logged by a worker that is full."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq_sls import (
    Queue,
    ResultTimeout,
    Retry,
    State,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskHandle,
    TaskQ,
    TaskStalled,
    WaitInTask,
    await_all,
    wait_all,
)
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.delivery import DeadLetter
from taskq_sls.results.memory import MemoryResults
from taskq_sls.testing import in_memory
from taskq_sls.worker import Worker
from taskq_sls.worker import attempt_watches as saturation
from tests.support import process_functions as functions
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.waiting import async_until


def failure(reason: str = "exhausted") -> TaskFailed:
    return TaskFailed(
        id="7", task="child", error_type="ValueError", error_message="no", traceback="", attempts=1, reason=reason
    )


# -- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [lambda handle: handle.result(timeout=5), lambda handle: wait_all([handle])])
def test_waiting_inside_a_sync_task_raises_at_once_and_names_the_ways_out(wait: Callable[[Any], Any]) -> None:
    app = TaskQ("shop")

    @app.task
    def child() -> None: ...

    @app.task
    def mother() -> None:
        wait(child.enqueue())

    with in_memory(app) as memory:
        handle, before = mother.enqueue(), memory.clock.time()
        memory.run_until_idle()
        assert memory.clock.time() == before
        with pytest.raises(TaskFailed, match="allow_wait=True") as raised:
            handle.result()
        # Another attempt would be refused as well.
        assert (raised.value.error_type, raised.value.reason) == ("taskq_sls.errors.WaitInTask", "not_retryable")
        assert raised.value.attempts == 1


@pytest.mark.parametrize("wait", [lambda handle: handle.aresult(), lambda handle: await_all([handle], timeout=9)])
async def test_waiting_inside_an_async_task_raises_at_once(wait: Callable[[Any], Awaitable[Any]]) -> None:
    app = TaskQ("shop")

    @app.task
    async def child() -> None: ...

    @app.task
    async def mother() -> None:
        await wait(await child.aenqueue())

    with in_memory(app) as memory:
        handle = await mother.aenqueue()
        await memory.arun_until_idle()
        with pytest.raises(TaskFailed, match="allow_wait=True"):
            await handle.aresult()


async def test_threads_and_tasks_that_inherit_the_context_of_a_task_are_inside_it() -> None:
    harness = EngineHarness()
    handle: TaskHandle[None] = TaskHandle(harness.app._runtime, "7", "child", "default", "started", None)
    refused: list[WaitInTask] = []

    def wait() -> None:
        with pytest.raises(WaitInTask) as raised:
            handle.result()
        refused.append(raised.value)

    async def await_it() -> None:
        with pytest.raises(WaitInTask) as raised:
            await handle.aresult()
        refused.append(raised.value)

    @harness.task(name="mother")
    async def mother() -> None:
        await asyncio.to_thread(wait)
        await asyncio.create_task(await_it())

    await harness.run(mother)
    assert len(refused) == 2
    assert harness.record().status is State.SUCCEEDED


async def test_a_task_in_a_child_process_is_refused_too() -> None:
    harness = EngineHarness(retry=Retry(max_attempts=1))
    task = harness.task(run_in="process")(functions.wait_for_a_task)
    try:
        outcome = await harness.process(delivery(task))
    finally:
        assert harness.app.children is not None
        harness.app.children.close()
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    assert outcome.error.type == "taskq_sls.errors.WaitInTask"


async def test_a_task_may_look_without_waiting_and_wait_where_it_says_so() -> None:
    harness = EngineHarness()

    @harness.task(name="child")
    async def child() -> int:
        return 7

    await harness.run(child, id="child-1")
    handle: TaskHandle[int] = TaskHandle(harness.app._runtime, "child-1", "child", "default", "started", int)

    @harness.task(name="mother")
    async def mother() -> list[int]:
        first, second = await handle.aresult(timeout=0), await handle.aresult(allow_wait=True)
        return [first, second, *(await await_all([handle], allow_wait=True))]

    await harness.run(mother)
    assert harness.record().result_json == "[7,7,7]"


def test_outside_of_tasks_waiting_needs_no_permission() -> None:
    app = TaskQ("shop")

    @app.task
    def child() -> int:
        return 7

    with in_memory(app):
        assert child.enqueue().result() == 7
        assert wait_all([child.enqueue()]) == [7]


# -- not retried ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        failure(),
        TaskCancelled("cancelled", id="7"),
        TaskExpired("expired", id="7"),
        TaskStalled("stalled", id="7"),
        WaitInTask("no"),
    ],
)
def test_the_end_of_another_task_is_retried_only_where_it_is_named(error: Exception) -> None:
    assert Retry().refuses(1, error) == "not_retryable"
    assert Retry(retry_on=(OSError, Exception)).refuses(1, error) == "not_retryable"
    assert Retry(retry_on=(type(error),)).refuses(1, error) is None
    if isinstance(error, TaskError):
        assert Retry(retry_on=(TaskError,)).refuses(1, error) is None
    assert Retry(retry_on=(type(error),)).refuses(3, error) == "exhausted"


def test_a_wait_that_ran_out_of_time_is_retried() -> None:
    assert Retry().refuses(1, ResultTimeout("7 is RUNNING after 5 s")) is None


def test_a_parent_whose_child_failed_fails_at_its_first_attempt() -> None:
    app = TaskQ("shop", retry=Retry(max_attempts=5))

    @app.task
    def mother() -> None:
        raise failure()

    with in_memory(app) as memory:
        handle = mother.enqueue()
        memory.run_until_idle(travel=True)
        with pytest.raises(TaskFailed) as raised:
            handle.result()
        assert (raised.value.attempts, raised.value.reason) == (1, "not_retryable")


# -- logged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("concurrency", "resource"), [(2, "2 slots"), (10, "2 threads")])
async def test_a_worker_that_starts_nothing_for_a_minute_while_messages_wait_warns_once(
    concurrency: int, resource: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(saturation, "SATURATION_CHECK_SECONDS", 0.01)
    monkeypatch.setattr(saturation, "SATURATED_SECONDS", 0.05)
    caplog.set_level(logging.INFO, "taskq_sls.worker")
    broker = MemoryBroker(SystemClock(), [Queue("default")])
    app = TaskQ("shop", broker=broker, results=MemoryResults(), report=False, metrics=False)
    go = threading.Event()

    @app.task(name="wait")
    def wait() -> None:
        go.wait(60)

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.__dict__.get("action") == "worker_saturated"]

    worker = Worker(app, concurrency=concurrency, threads=2, burst=False, poll_wait=1)
    serving = asyncio.create_task(worker.serve())
    try:
        await wait.aenqueue_many([()] * 5)
        await async_until(warnings)
    finally:
        go.set()
        worker.stop()
        await serving
    assert len(warnings()) == 1
    assert f"all {resource} have been in use" in warnings()[0]
    assert "wait (2)" in warnings()[0]
