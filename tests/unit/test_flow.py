"""How shared coroutines run without an event loop, and on one."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import subprocess
import sys
import threading
import warnings

import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow, BlockingFlow, call_sync, drive
from taskq_sls.errors import SuspendedError

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


async def answer(value: object) -> object:
    return value


async def a_hook_that_sleeps() -> None:
    await asyncio.sleep(0.01)


async def a_hook_that_yields_to_the_loop() -> None:
    await asyncio.sleep(0)


async def around(inner: object) -> None:
    await inner  # type: ignore[misc]  # a coroutine


class TestDrive:
    def test_it_returns_the_value(self) -> None:
        assert drive(answer(42)) == 42

    @pytest.mark.parametrize("value", [(1, 2), StopIteration(3), None, ValueError("a value, not a failure")])
    def test_it_returns_values_that_stop_iteration_could_misread(self, value: object) -> None:
        assert drive(answer(value)) is value

    def test_it_lets_errors_through(self) -> None:
        async def fail() -> None:
            raise KeyError("gone")

        with pytest.raises(KeyError, match="gone"):
            drive(fail())

    def test_a_stop_iteration_inside_is_not_taken_for_the_end(self) -> None:
        async def fail() -> str:
            return next(iter(list[str]()))

        with pytest.raises(RuntimeError, match="StopIteration"):
            drive(fail())

    def test_it_names_the_function_that_waits_for_a_loop(self) -> None:
        with pytest.raises(SuspendedError, match="a_hook_that_yields_to_the_loop awaited"):
            drive(around(a_hook_that_yields_to_the_loop()))

    async def test_it_refuses_to_wait_on_the_thread_of_a_running_loop(self) -> None:
        with pytest.raises(SuspendedError, match="a_hook_that_sleeps awaited"):
            drive(around(a_hook_that_sleeps()))

    async def test_what_it_refused_to_wait_for_is_cancelled(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await future

        with pytest.raises(SuspendedError):
            drive(wait())
        assert future.cancelled()

    def test_the_refused_coroutine_is_closed_and_cleans_up(self) -> None:
        cleaned = []

        async def hook() -> None:
            try:
                await asyncio.sleep(0)
            finally:
                cleaned.append(True)

        with pytest.raises(SuspendedError):
            drive(coroutine := hook())
        assert cleaned == [True]
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    def test_context_variables_are_seen_inside_and_do_not_leak_out(self) -> None:
        async def enter() -> str:
            before = tenant.get()
            tenant.set("inside")
            return before

        token = tenant.set("caller")
        try:
            assert drive(enter()) == "caller"
            assert tenant.get() == "caller"
        finally:
            tenant.reset(token)


class TestBlockingFlow:
    def test_sleeping_moves_the_clock_and_never_suspends(self) -> None:
        clock = ManualClock(100.0)
        drive(BlockingFlow(clock).sleep(7))
        assert clock.time() == 107.0

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_map_answers_in_the_order_of_the_items(self, limit: int) -> None:
        async def double(number: int) -> int:
            return 2 * number

        items = list(range(20))
        assert drive(BlockingFlow(ManualClock()).map(double, items, limit)) == [2 * number for number in items]

    def test_map_runs_items_side_by_side_up_to_the_limit(self) -> None:
        meeting = threading.Barrier(4, timeout=30)

        async def meet(_: int) -> int:
            return meeting.wait()

        places = drive(BlockingFlow(ManualClock()).map(meet, range(4), 4))
        assert sorted(places) == [0, 1, 2, 3]

    def test_map_never_runs_more_than_the_limit(self) -> None:
        lock = threading.Lock()
        running = 0
        most = 0

        async def count(_: int) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.001)
            with lock:
                running -= 1

        drive(BlockingFlow(ManualClock()).map(count, range(30), 3))
        assert most <= 3

    @pytest.mark.parametrize("limit", [1, 8])
    def test_map_raises_the_first_error_in_order(self, limit: int) -> None:
        async def fail(number: int) -> int:
            if number in (2, 5):
                raise ValueError(f"item {number}")
            return number

        with pytest.raises(ValueError, match="item 2"):
            drive(BlockingFlow(ManualClock()).map(fail, range(8), limit))

    def test_map_of_nothing_is_nothing(self) -> None:
        assert drive(BlockingFlow(ManualClock()).map(answer, [], 8)) == []

    def test_a_mapped_function_that_waits_for_a_loop_is_refused(self) -> None:
        async def wait(_: int) -> None:
            await a_hook_that_yields_to_the_loop()

        with pytest.raises(SuspendedError, match="a_hook_that_yields_to_the_loop"):
            drive(BlockingFlow(ManualClock()).map(wait, range(3), 3))


class TestAsyncFlow:
    async def test_map_answers_in_order_and_keeps_the_limit(self) -> None:
        running = most = 0

        async def double(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return 2 * number

        items = list(range(20))
        assert await AsyncFlow(ManualClock()).map(double, items, 4) == [2 * number for number in items]
        assert most == 4

    async def test_map_of_nothing_is_nothing(self) -> None:
        assert await AsyncFlow(ManualClock()).map(answer, [], 8) == []

    async def test_sleeping_moves_the_clock(self) -> None:
        clock = ManualClock(100.0)
        await AsyncFlow(clock).sleep(7)
        assert clock.time() == 107.0


class TestCallSync:
    def test_off_a_loop_it_does_not_warn(self) -> None:
        assert call_sync("quiet", answer(1)) == 1

    async def test_on_a_loops_thread_it_works_and_warns_once_per_name_at_the_callers_line(self) -> None:
        def enqueue() -> object:
            return call_sync("enqueue_in_test_flow", answer(1))

        with pytest.warns(RuntimeWarning, match=r"use aenqueue_in_test_flow\(\) there") as caught:
            assert enqueue() == 1
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert enqueue() == 1

    async def test_a_warning_that_is_an_error_leaves_no_coroutine_behind(self) -> None:
        coroutine = answer(1)
        with pytest.raises(RuntimeWarning):
            call_sync("strict_in_test_flow", coroutine)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


AFTER_MAIN = """
import asyncio, atexit, threading
from taskq_sls import Middleware, Queue, TaskQ
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import SystemClock
from taskq_sls.results.memory import MemoryResults

class Plain(Middleware):  # makes enqueue_many send one by one, in threads
    def dispatch(self, message, call_next):
        return call_next(message)

app = TaskQ("shop", broker=MemoryBroker(SystemClock(), [Queue("default")]), results=MemoryResults(), middleware=[Plain()])

@app.task(name="job")
def job(number: int) -> None: ...

def send(when):
    print(when, len(job.enqueue_many([(number,) for number in range(25)])), flush=True)

def outlive():
    threading.main_thread().join()
    send("outlives")

atexit.register(send, "atexit")
threading.Thread(target=outlive).start()
send("main")
"""


def test_many_are_sent_at_exit_and_by_threads_that_outlive_the_main_thread() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_MAIN], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split("\n"), done.stderr) == (["main 25", "outlives 25", "atexit 25", ""], "")


def test_where_no_thread_can_be_started_the_caller_does_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert drive(BlockingFlow(ManualClock()).map(answer, list(range(30)), 8)) == list(range(30))


def test_a_failure_of_one_item_keeps_those_that_have_not_begun_from_beginning() -> None:
    begun: list[int] = []

    async def fail(item: int) -> None:
        begun.append(item)
        raise LookupError(item)

    with pytest.raises(LookupError):
        drive(BlockingFlow(ManualClock()).map(fail, list(range(100)), 2))
    assert len(begun) <= 4
