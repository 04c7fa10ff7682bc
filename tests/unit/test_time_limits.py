"""The time limit of an attempt."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from taskq_sls import Middleware, Retry, State, TaskContext
from taskq_sls.core.delivery import DeadLetter, Done, RetryIn
from taskq_sls.core.message import ErrorInfo
from tests.support.engine_harness import EngineHarness, delivery

SHORT = 0.05
LONG_ENOUGH_TO_BEGIN = 1.0
"""A thread has begun to run the function when this limit strikes, on a busy machine too."""

ONCE = Retry(max_attempts=1)


def error_of(outcome: object) -> ErrorInfo:
    assert isinstance(outcome, DeadLetter)
    assert outcome.error is not None
    return outcome.error


def failed_by_time(outcome: Any, limit: float = SHORT) -> bool:
    error = error_of(outcome)
    return error.type == "taskq_sls.errors.TaskTimeout" and f"{limit:g} s" in error.message


async def test_an_async_task_is_cancelled_and_its_traceback_shows_where_it_was() -> None:
    harness = EngineHarness(retry=ONCE)

    @harness.task(timeout=SHORT)
    async def job() -> None:
        await asyncio.sleep(60)  # where it was

    outcome = await harness.run(job)
    assert failed_by_time(outcome)
    assert "# where it was" in str(error_of(outcome).traceback)


async def test_a_timeout_is_a_failed_attempt_like_any_other() -> None:
    harness = EngineHarness(retry=Retry(max_attempts=2, backoff=9, jitter="none"))

    @harness.task(timeout=SHORT)
    async def job() -> None:
        await asyncio.sleep(60)

    assert await harness.run(job) == RetryIn(9, "failed")
    assert harness.record().status is State.RETRYING


async def test_a_sync_task_in_a_pure_python_loop_is_interrupted_and_its_traceback_shows_where_it_was() -> None:
    harness = EngineHarness(retry=ONCE)

    @harness.task(timeout=LONG_ENOUGH_TO_BEGIN)
    def job() -> None:
        while True:
            pass  # where it was

    outcome = await harness.run(job)
    assert failed_by_time(outcome, LONG_ENOUGH_TO_BEGIN)
    assert "in job" in str(error_of(outcome).traceback)


async def test_a_sync_task_that_catches_exceptions_is_interrupted_all_the_same() -> None:
    harness = EngineHarness(retry=ONCE)

    @harness.task(timeout=LONG_ENOUGH_TO_BEGIN)
    def job() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                continue

    assert failed_by_time(await harness.run(job), LONG_ENOUGH_TO_BEGIN)


async def test_a_task_within_its_limit_is_left_alone() -> None:
    harness = EngineHarness()

    @harness.task(timeout=60)
    async def job() -> int:
        await asyncio.sleep(0)
        return 7

    assert await harness.run(job) == Done()


async def test_a_result_that_comes_although_the_limit_struck_is_kept_sync() -> None:
    harness = EngineHarness()

    @harness.task(timeout=SHORT)
    def job() -> int:
        time.sleep(4 * SHORT)  # in C: nothing can interrupt it
        return 7

    # Whether the interrupt strikes before the return is the interpreter's choice; the record tells which it was.
    outcome = await harness.run(job)
    state = harness.record().status
    assert (outcome == Done()) == (state is State.SUCCEEDED)


async def test_a_result_that_comes_although_the_limit_struck_is_kept() -> None:
    harness = EngineHarness()

    @harness.task(timeout=SHORT)
    async def job() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return 7

    driver = asyncio.create_task(harness.run(job))
    assert await driver == Done()
    assert driver.cancelling() == 0
    assert harness.record().result_json == "7"


async def test_a_task_that_swallows_its_cancellation_and_waits_on_may_end_by_itself() -> None:
    harness = EngineHarness()

    @harness.task(timeout=SHORT)
    async def job() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(SHORT)
        return 7

    assert await harness.run(job) == Done()
    assert harness.record().result_json == "7"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_own_error_in_place_of_the_cancellation_leaves_no_trace_for_the_next_attempt(kind: str) -> None:
    harness = EngineHarness(retry=ONCE)

    if kind == "async":

        @harness.task(timeout=SHORT)
        async def own_error() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise ValueError("mine") from None
    else:

        @harness.task(timeout=LONG_ENOUGH_TO_BEGIN)
        def own_error() -> None:
            try:
                while True:
                    pass
            except BaseException:
                raise ValueError("mine") from None

    @harness.task(timeout=SHORT)
    async def slow() -> None:
        await asyncio.sleep(60)

    async def one_after_the_other() -> None:
        first = await harness.process(delivery(own_error, id="a"))
        assert isinstance(first, DeadLetter)
        assert first.error is not None
        assert first.error.message == "mine"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert failed_by_time(await harness.process(delivery(slow, id="b")))

    await asyncio.create_task(one_after_the_other())


async def test_a_shutdown_after_the_limit_struck_is_a_shutdown() -> None:
    harness = EngineHarness()
    struck = asyncio.Event()

    @harness.task(timeout=SHORT)
    async def job() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            struck.set()
            await asyncio.sleep(60)

    driver = asyncio.create_task(harness.run(job))
    await struck.wait()
    executor = await harness.executor()
    executor.stop(next(iter(executor.running.values())), "shutdown")
    await driver
    assert harness.record().status is State.QUEUED
    assert driver.cancelling() == 0


async def test_timeouts_and_groups_inside_the_task_keep_working() -> None:
    harness = EngineHarness(retry=ONCE)

    @harness.task(timeout=60)
    async def inner_timeout() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "inner"
        return "none"

    @harness.task(timeout=SHORT)
    async def outer_timeout() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))

    assert await harness.process(delivery(inner_timeout, id="a")) == Done()
    assert harness.record("a").result_json == '"inner"'
    assert failed_by_time(await harness.process(delivery(outer_timeout, id="b")))


async def test_hooks_outside_of_the_limit_see_the_timeout() -> None:
    seen: list[str] = []

    class Watch(Middleware):
        async def execute(self, context: TaskContext, call_next: Any) -> Any:
            try:
                return await call_next(context)
            except Exception as error:
                seen.append(type(error).__name__)
                raise

    harness = EngineHarness(middleware=[Watch()], retry=ONCE)

    @harness.task(timeout=SHORT)
    def job() -> None:
        while True:
            pass

    assert failed_by_time(await harness.run(job))
    assert seen == ["TaskTimeout"]
