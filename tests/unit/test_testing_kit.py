"""The kit for users' own tests: an app in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from taskq_sls import Retry, Schedule, State, TaskContext, TaskFailed, TaskQ, TaskQError, cron, rate
from taskq_sls.core.clock import SystemClock
from taskq_sls.testing import InMemory, ManualClock, in_memory
from tests.support.apps import shop


def test_nothing_runs_until_the_test_says_so() -> None:
    app, ran = shop(), []

    @app.task
    def job(number: int) -> None:
        ran.append(number)

    with in_memory(app) as memory:
        job.enqueue_many([(1,), (2,)])
        assert ran == []
        assert memory.run_until_idle() == 2
        assert ran == [1, 2]
        assert memory.run_until_idle() == 0


def test_immediate_mode_runs_tasks_as_they_are_enqueued_with_their_retries_and_children() -> None:
    app, ran = shop(retry=Retry(max_attempts=3, backoff=100)), []

    @app.task
    def child() -> None:
        ran.append("child")

    @app.task
    def job(ctx: TaskContext) -> str:
        ran.append(f"job {ctx.attempt}")
        if ctx.attempt < 3:
            raise ValueError("again")
        child.enqueue()
        return "done"

    with in_memory(app, immediate=True):
        handle = job.enqueue()
        assert ran == ["job 1", "job 2", "job 3", "child"]
        assert handle.result(timeout=0) == "done"


async def test_immediate_mode_in_async_tests() -> None:
    app = shop()

    @app.task
    async def job() -> str:
        await asyncio.sleep(0)
        return "done"

    with in_memory(app, immediate=True):
        assert await (await job.aenqueue()).aresult(timeout=0) == "done"


def test_waiting_for_a_result_runs_what_it_takes_and_lets_time_pass() -> None:
    app = shop(retry=Retry(max_attempts=3, backoff=100, jitter="none"))

    @app.task
    def job(ctx: TaskContext) -> int:
        if ctx.attempt < 3:
            raise ValueError("again")
        return ctx.attempt

    with in_memory(app) as memory:
        start = memory.clock.time()
        assert job.with_options(delay=50).enqueue().result() == 3
        assert memory.clock.time() - start == pytest.approx(350, abs=3)


async def test_waiting_for_a_result_in_async_tests() -> None:
    app = shop()

    @app.task
    async def job() -> int:
        return 5

    with in_memory(app):
        assert await (await job.with_options(delay=50).aenqueue()).aresult() == 5


def test_waiting_for_what_is_in_no_queue_says_so_instead_of_hanging() -> None:
    app = shop()

    @app.task
    def job() -> None: ...

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.broker._queues["default"].messages.clear()
        with pytest.raises(TaskQError, match="in no queue"):
            handle.result()


def test_travelling_reaches_delays_and_retries() -> None:
    app, times = shop(retry=Retry(max_attempts=2, backoff=30, jitter="none")), []

    @app.task
    def job() -> None:
        times.append(app.clock.time())
        raise ValueError("no")

    with in_memory(app, start=1_000_000.0) as memory:
        job.with_options(delay=60).enqueue()
        assert memory.run_until_idle() == 0
        assert memory.next_due() == 1_000_060
        assert memory.run_until_idle(travel=True) == 2
        assert times == [1_000_060, 1_000_090]
        assert memory.next_due() is None


def test_dead_letters_can_be_looked_at() -> None:
    app = shop(retry=Retry(max_attempts=1))

    @app.task(queue="slow")
    def job() -> None:
        raise ValueError("no")

    with in_memory(app) as memory:
        handle = job.enqueue()
        memory.run_until_idle()
        assert memory.dead_letters() == []
        [letter] = memory.dead_letters("slow")
        assert letter.attributes["taskq.error_message"] == "no"
        assert handle.id in letter.body
        assert memory.dead_letters("slow") == [letter]


def test_fifo_order_holds_within_a_group_over_a_failure() -> None:
    app, ran = shop(retry=Retry(max_attempts=2, backoff=10)), []

    @app.task(queue="ledger.fifo")
    def book(group: str, number: int) -> None:
        ran.append((group, number))
        if (group, number) == ("a", 1) and ran.count((group, number)) == 1:
            raise ValueError("later")

    with in_memory(app) as memory:
        for number in (1, 2, 3):
            for group in ("a", "b"):
                book.with_options(group=group).enqueue(group, number)
        memory.run_until_idle(travel=True)
        assert [one for one in ran if one[0] == "a"] == [("a", 1), ("a", 1), ("a", 2), ("a", 3)]
        assert [one for one in ran if one[0] == "b"] == [("b", 1), ("b", 2), ("b", 3)]
        assert ran.index(("b", 3)) < ran.index(("a", 2))


def test_tasks_that_enqueue_each_other_forever_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq_sls.testing import memory as kit

    monkeypatch.setattr(kit, "MOST_DELIVERIES", 50)
    app = shop(max_depth=1_000)

    @app.task
    def again() -> None:
        again.enqueue()

    with in_memory(app) as memory:
        again.enqueue()
        with pytest.raises(TaskQError, match="enqueue each other forever"):
            memory.run_until_idle()


def test_the_app_is_what_it_was_afterwards_even_if_the_test_failed() -> None:
    app = shop()
    services = app.services
    with pytest.raises(ZeroDivisionError), in_memory(app):
        raise ZeroDivisionError
    assert isinstance(app.clock, SystemClock)
    assert app.services is services


def test_the_fixture_puts_apps_in_memory(taskq_memory: Callable[..., InMemory]) -> None:
    app = shop()

    @app.task
    def job() -> str:
        return "done"

    memory = taskq_memory(app, immediate=True)
    assert job.enqueue().result() == "done"
    assert isinstance(memory.clock, ManualClock)


def test_the_clock_goes_forward_only() -> None:
    clock = ManualClock(5)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.travel(-1)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.travel(float("nan"))
    clock.travel_to(3)
    assert clock.time() == 5


def test_a_task_that_waits_for_another_says_so_instead_of_hanging() -> None:
    app = shop(retry=Retry(max_attempts=1))

    @app.task
    def child() -> None: ...

    @app.task
    def mother() -> None:
        child.enqueue().result(allow_wait=True)

    with in_memory(app) as memory:
        handle = mother.enqueue()
        memory.run_until_idle()
        with pytest.raises(TaskFailed, match="tasks run one after the other"):
            handle.result()


async def test_a_task_may_wait_for_another_with_a_timeout() -> None:
    app = shop(retry=Retry(max_attempts=1))

    @app.task
    async def child() -> None: ...

    @app.task
    async def mother() -> None:
        await (await child.aenqueue()).aresult(timeout=10, allow_wait=True)

    with in_memory(app) as memory:
        handle = await mother.aenqueue()
        await memory.arun_until_idle()
        with pytest.raises(TaskFailed, match="ResultTimeout"):
            await handle.aresult()


def test_a_finish_that_has_to_wait_does_not_let_the_hold_pass() -> None:
    from tests.support.faulty_backends import FaultyResults

    app = shop()

    @app.task
    def job() -> None: ...

    memory = in_memory(app)
    memory.results = results = FaultyResults()
    results.fail("finish", times=3)
    with memory:
        handle = job.enqueue()
        start = memory.clock.time()
        assert memory.run_until_idle() == 1
        assert memory.clock.time() - start < 5
        assert handle.status() is State.SUCCEEDED


def test_declared_schedules_fire_as_the_clock_travels() -> None:
    app = TaskQ("shop")
    ran = []

    @app.task(schedule=[cron("0 12 * * ? *"), Schedule(rate(hours=6), args=("rate",))])
    def report(word: str = "noon") -> None:
        ran.append(word)

    with in_memory(app, schedules=True, start=1_800_000_000) as memory:  # 2027-01-15T08:00:00Z
        memory.run_until_idle()
        assert ran == ["rate"]
        memory.travel(86_400)
        memory.run_until_idle()
        assert sorted(ran) == ["noon"] + ["rate"] * 5
    with in_memory(app, start=1_800_000_000) as memory:
        memory.travel(86_400)
        assert memory.run_until_idle() == 0
