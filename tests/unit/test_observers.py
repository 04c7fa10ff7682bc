"""Observers of the engine: they see every attempt, and change nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq_sls import Retry, State
from taskq_sls.client import app as app_module
from taskq_sls.core.delivery import Done, Outcome, Release, RetryIn
from taskq_sls.core.message import Message
from taskq_sls.engine.attempt import Attempt, Engine
from taskq_sls.engine.policies.base import Observer
from taskq_sls.results.records import AttemptEnd
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.waiting import async_until

HOOKS = ["admit", "attempt_started", "attempt_failing", "attempt_ended", "attempt_dropped", "message_done"]


class Seen(Observer):
    def __init__(self) -> None:
        self.hooks: list[Any] = []
        self.thread_waits: dict[str, float] = {}

    def admit(self, engine: Engine, attempt: Attempt) -> None:
        self.hooks.append("admit")

    def attempt_started(self, attempt: Attempt) -> None:
        self.hooks.append("started")
        self.thread_waits[attempt.context.id] = attempt.thread_wait

    def attempt_failing(self, attempt: Attempt, end: AttemptEnd) -> None:
        self.hooks.append(("failing", end.state))

    def attempt_ended(self, attempt: Attempt, end: AttemptEnd) -> None:
        self.hooks.append(("ended", end.state, end.reason))

    def attempt_dropped(self, attempt: Attempt, reason: str) -> None:
        self.hooks.append(("dropped", reason))

    def message_done(self, engine: Engine, message: Message) -> None:
        self.hooks.append("done")


@pytest.fixture
def observe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Observer], None]:
    registered = app_module.observers  # type: ignore[attr-defined]  # the name to replace

    def add(observer: Observer) -> None:
        monkeypatch.setattr(app_module, "observers", lambda meter: [*registered(meter), observer])

    return add


async def test_an_observer_sees_the_start_and_the_stored_end(observe: Callable[[Observer], None]) -> None:
    observe(seen := Seen())
    harness = EngineHarness()

    @harness.task
    async def job() -> None: ...

    assert await harness.run(job) == Done()
    succeeded = State.SUCCEEDED
    assert seen.hooks == ["admit", "started", ("ended", succeeded, None), "done"]


async def test_an_observer_sees_a_retry_and_its_reason_in_the_end(observe: Callable[[Observer], None]) -> None:
    observe(seen := Seen())
    harness = EngineHarness()

    @harness.task(retry=Retry(max_attempts=1))
    async def job() -> None:
        raise ValueError

    await harness.run(job)
    assert seen.hooks[2:] == [("failing", State.FAILED), ("ended", State.FAILED, "exhausted"), "done"]


async def test_an_observer_sees_no_end_of_an_attempt_that_is_released(observe: Callable[[Observer], None]) -> None:
    observe(seen := Seen())
    harness = EngineHarness()

    @harness.task
    async def job() -> None:
        executor = await harness.executor()
        [attempt] = executor.running.values()
        executor.stop(attempt, "shutdown")
        await asyncio.sleep(60)

    assert await harness.run(job) == Release(0)
    assert seen.hooks == ["admit", "started", ("dropped", "released")]


async def test_an_observer_sees_no_end_of_an_attempt_whose_end_another_holder_refused(
    observe: Callable[[Observer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    observe(seen := Seen())
    harness = EngineHarness()

    @harness.task
    async def job() -> None: ...

    async def refused(*args: Any) -> None:
        return None

    monkeypatch.setattr(harness.results, "finish", refused)
    await harness.run(job)
    assert seen.hooks == ["admit", "started", ("dropped", "lease_lost")]


async def test_an_observer_learns_how_long_a_sync_task_waited_for_a_thread(observe: Callable[[Observer], None]) -> None:
    import threading

    observe(seen := Seen())
    harness = EngineHarness()
    harness.app.threads.limit = 1
    go = threading.Event()

    @harness.task
    def job() -> None:
        go.wait(60)

    executor = await harness.executor()
    first = asyncio.create_task(harness.process(delivery(job, id="first")))
    await async_until(lambda: executor.running)
    second = asyncio.create_task(harness.process(delivery(job, id="second")))
    await async_until(lambda: executor.threads.waiting)
    await asyncio.sleep(0.02)
    go.set()
    await asyncio.gather(first, second)
    assert seen.thread_waits["first"] == 0
    assert seen.thread_waits["second"] >= 0.02


@pytest.mark.parametrize("hook", HOOKS)
async def test_an_observer_that_raises_changes_nothing(
    hook: str, observe: Callable[[Observer], None], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Observer, *args: Any) -> None:
        raise RuntimeError("a fault of the observer")

    observe(type("Broken", (Observer,), {hook: fail})())
    harness = EngineHarness()

    @harness.task(retry=Retry(max_attempts=2, jitter="none"))
    async def job(how: str) -> None:
        if how == "fail":
            raise ValueError
        if how == "stop":
            executor = await harness.executor()
            for attempt in list(executor.running.values()):
                executor.stop(attempt, "shutdown")
            await asyncio.sleep(60)

    with caplog.at_level(logging.ERROR):
        assert await harness.run(job, "succeed", id="succeed") == Done()
        assert await harness.run(job, "fail", id="fail") == RetryIn(1.0, "failed")
        assert await harness.run(job, "stop", id="stop") == Release(0)
    assert harness.record("succeed").status is State.SUCCEEDED
    assert harness.record("fail").status is State.RETRYING
    assert harness.record("stop").status is State.QUEUED
    assert {"observer_fault"} == {getattr(record, "action", None) for record in caplog.records}


async def test_an_observer_can_keep_a_claimed_attempt_from_starting(observe: Callable[[Observer], None]) -> None:
    from taskq_sls.engine.recording import release

    class Never(Observer):
        def admit(self, engine: Engine, attempt: Attempt) -> Awaitable[Outcome]:
            return release(engine, attempt)

    observe(Never())
    harness = EngineHarness()
    ran = False

    @harness.task
    async def job() -> None:
        nonlocal ran
        ran = True

    assert await harness.run(job) == Release(0)
    assert not ran
    assert harness.record().status is State.QUEUED
