"""Plain functions in threads: interrupts that hit nobody else, results that always arrive."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import threading
import time
import weakref
from typing import Any

import pytest

from taskq_sls.core import threads as threads_module
from taskq_sls.core.interrupts import TaskInterrupted
from taskq_sls.core.threads import ThreadPool, default_threads
from tests.support.waiting import async_until


def count(spins: int) -> int:
    total = 0
    for number in range(spins):
        total += number
    return total


async def test_a_function_runs_in_a_thread_with_the_callers_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("mine")

    def look(suffix: str) -> tuple[str, int]:
        seen = variable.get() + suffix
        variable.set("changed")
        return seen, threading.get_ident()

    seen, thread = await ThreadPool().run(look, "!")
    assert seen == "mine!"
    assert thread != threading.get_ident()
    assert variable.get() == "mine"


async def test_an_error_of_the_function_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x") as raised:
        await ThreadPool().run(fail)
    assert "fail" in [entry.name for entry in raised.traceback]


async def test_no_more_functions_run_at_once_than_the_limit() -> None:
    pool, lock = ThreadPool(3), threading.Lock()
    now = most = 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    await asyncio.gather(*(pool.run(work) for _ in range(30)))
    assert most <= 3  # that it is as many is the next test's


async def test_as_many_functions_run_at_once_as_the_limit_allows() -> None:
    for _ in range(20):
        pool = ThreadPool(4)
        together = threading.Barrier(4)
        await asyncio.gather(*(pool.run(together.wait, 60) for _ in range(4)))
        await asyncio.gather(*(pool.run(together.wait, 60) for _ in range(4)))


async def test_functions_wait_for_a_thread_that_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads_module, "START_RETRY_SECONDS", 0.01)
    start, refusals, begun, release = threading.Thread.start, 0, [], threading.Event()

    def refuse(thread: threading.Thread) -> None:
        nonlocal refusals
        refusals += 1
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = ThreadPool(4)

    def hold() -> None:
        begun.append("first")
        release.wait(60)

    first = asyncio.ensure_future(pool.run(hold))
    await async_until(lambda: refusals > 2)  # the first thread is asked for again and again
    assert not first.done()
    monkeypatch.setattr(threading.Thread, "start", start)
    await async_until(lambda: begun == ["first"])

    monkeypatch.setattr(threading.Thread, "start", refuse)  # now the thread that runs takes the next function too
    second = asyncio.ensure_future(pool.run(begun.append, "second"))
    await asyncio.sleep(0)
    assert not second.done()
    release.set()
    await asyncio.wait_for(asyncio.gather(first, second), 60)
    assert begun == ["first", "second"]
    assert [record.levelname for record in caplog.records if "cannot be started" in record.getMessage()] == ["WARNING"]


async def test_functions_that_wait_for_others_take_none_of_their_places() -> None:
    pool = ThreadPool(1)
    loop = asyncio.get_running_loop()

    def outer(number: int) -> int:
        return asyncio.run_coroutine_threadsafe(pool.run(count, number), loop).result(20)

    assert await asyncio.gather(*(pool.run_waiting(outer, n) for n in range(20))) == [count(n) for n in range(20)]


async def test_results_arrive_over_many_bursts() -> None:
    pool = ThreadPool(4)
    for burst in range(300):
        size = random.randint(1, 12)
        async with asyncio.timeout(20):
            found = await asyncio.gather(*(pool.run(lambda value: value, (burst, n)) for n in range(size)))
        assert found == [(burst, n) for n in range(size)]


def test_loops_in_different_threads_may_share_a_pool() -> None:
    pool = ThreadPool(4)
    ended: list[int] = []

    async def work(number: int) -> None:
        for _ in range(300):
            async with asyncio.timeout(20):
                found = await asyncio.gather(*(pool.run(count, n) for n in range(3)))
            assert found == [0, 0, 1]
        ended.append(number)

    callers = [threading.Thread(target=lambda number=number: asyncio.run(work(number))) for number in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(100)
    assert sorted(ended) == [0, 1, 2]


async def test_a_function_that_comes_while_the_last_thread_goes_to_rest_is_run() -> None:
    pool, resting, go = ThreadPool(1), threading.Event(), threading.Event()
    real = pool._park

    def slow_park() -> bool:
        resting.set()
        go.wait(20)
        return real()

    pool._park = slow_park  # type: ignore[method-assign]  # the moment between the last look and the rest
    await pool.run(count, 1)
    await async_until(resting.is_set)
    late = asyncio.create_task(pool.run(count, 3))
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(20):
        assert await late == 3


async def test_a_caller_cancelled_before_the_start_keeps_the_function_from_running() -> None:
    pool, go = ThreadPool(1), threading.Event()
    ran: list[str] = []
    first = asyncio.create_task(pool.run(go.wait, 20))
    second = asyncio.create_task(pool.run(ran.append, 1))
    await async_until(lambda: pool._jobs and len(pool._jobs) == 1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert await first
    assert await pool.run(count, 3) == 3
    assert ran == []


async def test_cancelling_the_caller_ends_the_function_and_waits_until_it_has_ended() -> None:
    pool, begun, ended = ThreadPool(), threading.Event(), []

    def forever() -> None:
        begun.set()
        try:
            while True:
                pass
        finally:
            time.sleep(0.01)
            ended.append(1)

    task = asyncio.create_task(pool.run(forever))
    await async_until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


async def test_what_a_function_returns_although_it_was_interrupted_is_returned() -> None:
    pool, begun = ThreadPool(), threading.Event()

    def stubborn() -> str:
        begun.set()
        try:
            while True:
                pass
        except TaskInterrupted:
            return "all the same"

    task = asyncio.create_task(pool.run(stubborn))
    await async_until(begun.is_set)
    task.cancel()
    assert await task == "all the same"


async def test_an_interrupt_never_hits_the_next_function() -> None:
    pool = ThreadPool(1)
    dice = random.Random(7)
    for _ in range(400):
        task = asyncio.create_task(pool.run(count, dice.randint(0, 2_000)))
        for _ in range(dice.randint(0, 4)):
            await asyncio.sleep(0)
        task.cancel()
        next_one = asyncio.create_task(pool.run(count, 300))
        async with asyncio.timeout(20):
            assert await next_one == count(300)
            end = (await asyncio.gather(task, return_exceptions=True))[0]
        assert end is None or isinstance(end, int | asyncio.CancelledError)


async def test_an_interrupt_that_meets_an_error_never_makes_it_a_success() -> None:
    pool = ThreadPool(2)
    dice = random.Random(11)

    def fail(spins: int) -> None:
        count(spins)
        raise ValueError("no")

    for _ in range(400):
        task = asyncio.create_task(pool.run(fail, dice.randint(0, 1_000)))
        for _ in range(dice.randint(0, 4)):
            await asyncio.sleep(0)
        task.cancel()
        async with asyncio.timeout(20):
            end = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(end, ValueError | asyncio.CancelledError)


def job_of(function: Any) -> Any:
    return threads_module._ThreadJob(function, (), asyncio.get_running_loop())


async def test_an_interrupt_that_comes_before_the_function_has_a_thread_is_not_lost() -> None:
    ran: list[int] = []
    job = job_of(lambda: ran.append(1))
    job.start_token.clear()  # it begins in a thread now
    assert job.interrupt()
    job.start_token.append(None)
    job.run()
    assert ran == []
    with pytest.raises(asyncio.CancelledError):
        job.outcome()


async def test_an_interrupt_that_strikes_after_the_last_line_leaves_the_value() -> None:
    struck: list[int] = []

    class Struck(threads_module._ThreadJob):
        def end(self) -> None:
            if not struck:
                struck.append(1)
                raise TaskInterrupted
            super().end()

    job = Struck(lambda: 7, (), asyncio.get_running_loop())
    job.run()
    assert job.outcome() == 7
    assert struck


async def test_an_interrupt_that_swallows_an_error_is_no_success() -> None:
    class Unkept(threads_module._ThreadJob):
        """Loses the error, as when the interrupt strikes before the assignment."""

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "error" and isinstance(value, ValueError):
                raise TaskInterrupted
            super().__setattr__(name, value)

    def fail() -> None:
        raise ValueError("no")

    job = Unkept(fail, (), asyncio.get_running_loop())
    job.run()
    with pytest.raises(asyncio.CancelledError):
        job.outcome()


def test_a_loop_that_is_closed_meanwhile_does_not_kill_the_thread() -> None:
    pool, go, ended = ThreadPool(1), threading.Event(), threading.Event()

    def work() -> None:
        go.wait(20)
        ended.set()

    loop = asyncio.new_event_loop()
    task = loop.create_task(pool.run(work))
    loop.run_until_complete(asyncio.sleep(0.01))
    task.cancel = lambda *arguments: False  # type: ignore[method-assign]  # abandoned, as by a killed driver
    loop.close()
    go.set()
    assert ended.wait(20)
    assert asyncio.run(pool.run(count, 3)) == 3
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # nobody will await it


async def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "IDLE_SECONDS", 0.02)
    pool = ThreadPool(3)
    await asyncio.gather(*(pool.run(time.sleep, 0.005) for _ in range(3)))
    await async_until(lambda: pool._threads == 0)
    assert await pool.run(count, 3) == 3
    await async_until(lambda: pool._threads == 0)


async def test_a_pool_that_ends_its_threads_often_loses_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "IDLE_SECONDS", 0.001)
    pool = ThreadPool(3)
    for _ in range(150):
        async with asyncio.timeout(20):
            assert await asyncio.gather(*(pool.run(count, n) for n in range(4))) == [0, 0, 1, 3]
        await asyncio.sleep(random.choice([0, 0.001, 0.002]))


async def test_closing_ends_idle_threads_at_once_and_later_functions_still_run() -> None:
    pool = ThreadPool(3)
    await asyncio.gather(*(pool.run(time.sleep, 0.005) for _ in range(3)))
    pool.close()
    await async_until(lambda: pool._threads == 0)
    assert await pool.run(count, 3) == 3


async def test_a_waiting_thread_keeps_nothing_of_its_last_function_alive() -> None:
    class Thing: ...

    async def run_with(pool: ThreadPool) -> weakref.ref[Thing]:
        thing = Thing()
        await pool.run(lambda given: None, thing)
        return weakref.ref(thing)

    pool = ThreadPool(1)
    reference = await run_with(pool)
    await async_until(lambda: gc.collect() is not None and reference() is None)


async def test_callers_can_be_freed_of_functions_that_do_not_end() -> None:
    pool, begun, go = ThreadPool(), threading.Event(), threading.Event()

    def deaf() -> None:
        begun.set()
        go.wait(20)

    task = asyncio.create_task(pool.run(deaf))
    await async_until(begun.is_set)
    pool.interrupt_all()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()


def test_the_default_leaves_the_interpreter_to_others_too() -> None:
    assert 1 <= default_threads() <= 32
