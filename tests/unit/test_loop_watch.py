"""Whose code a standing event loop is inside of, seen from another thread. The clock is moved, the loop is real."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from taskq_sls import Middleware
from taskq_sls.worker.watchdog import MAX_COUNTED_SECONDS, LoopWatch, log_call
from tests.support.engine_harness import EngineHarness, delivery


class Stage:
    """An executor on the event loop of another thread, which its tasks block until the end of the test."""

    def __init__(self) -> None:
        self.harness = EngineHarness()
        self.entered, self.release = threading.Event(), threading.Event()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.watch: LoopWatch = self.on_loop(self._begin()).result(60)
        self.now = time.monotonic()

    async def _begin(self) -> LoopWatch:
        executor = await self.harness.executor()
        return LoopWatch(asyncio.get_running_loop(), executor.running.values)

    def on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def block(self) -> None:
        """Wait without giving the loop back."""
        self.entered.set()
        self.release.wait(60)

    def start(self, task: Any) -> Any:
        return self.on_loop(self.harness.process(delivery(task)))

    def look(self) -> float:
        """One look, a second after the one before; the seconds that the loop has stood still."""
        self.now += 1
        self.watch.check(self.now)
        return self.watch.stalled

    def end(self) -> None:
        self.release.set()
        self.on_loop(asyncio.sleep(0)).result(60)
        self.on_loop(self._cancel_all()).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(tasks, timeout=30) if tasks else None


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.end()


def stalls(stage: Stage) -> bool:
    """Whether time counts as long as the code of the test blocks the loop."""
    assert stage.entered.wait(60)
    stage.look()  # may still see the turn before
    stage.look()
    counted = [stage.look() for _ in range(5)]
    assert counted in ([0.0] * 5, [counted[0] + seconds for seconds in range(5)])
    return counted[-1] > 0


def test_a_task_that_blocks_the_loop_in_its_own_code_does_not_stall_it(stage: Stage) -> None:
    @stage.harness.task
    async def job() -> None:
        stage.block()

    stage.start(job)
    assert not stalls(stage)
    assert stage.watch.blocked_until == stage.now


@pytest.mark.parametrize("how", ["gather", "wait_for", "create_task", "TaskGroup"])
def test_nor_does_a_task_that_it_has_made(stage: Stage, how: str) -> None:
    async def part() -> None:
        stage.block()

    @stage.harness.task
    async def job() -> None:
        if how == "gather":
            await asyncio.gather(part(), asyncio.sleep(0))
        elif how == "wait_for":
            await asyncio.wait_for(part(), 60)
        elif how == "create_task":
            await asyncio.create_task(part())
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(part())

    stage.start(job)
    assert not stalls(stage)


def test_nor_does_a_hook_around_it(stage: Stage) -> None:
    class Hook(Middleware):
        async def execute(self, context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
            stage.block()
            return await call_next(context)

    @stage.harness.task(middleware=[Hook()])
    async def job() -> None: ...

    stage.start(job)
    assert not stalls(stage)


def test_a_callback_that_blocks_the_loop_stalls_it(stage: Stage) -> None:
    @stage.harness.task
    async def job() -> None:
        asyncio.get_running_loop().call_soon(stage.block)
        await asyncio.sleep(60)

    running = stage.start(job)
    assert stalls(stage)
    running.cancel()


def test_a_task_that_has_outlived_its_attempt_stalls_it(stage: Stage) -> None:
    ended, other_runs, other_may_end = asyncio.Event(), threading.Event(), asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def later() -> None:
        await ended.wait()
        stage.block()

    @stage.harness.task
    async def job() -> None:
        left.append(asyncio.create_task(later()))

    @stage.harness.task
    async def other() -> None:
        other_runs.set()
        await other_may_end.wait()

    stage.on_loop(stage.harness.process(delivery(other, id="task-2")))
    assert other_runs.wait(60)
    stage.start(job).result(60)
    stage.loop.call_soon_threadsafe(ended.set)
    assert stalls(stage)
    stage.release.set()
    stage.loop.call_soon_threadsafe(other_may_end.set)


def test_a_loop_that_turns_again_has_not_stalled(stage: Stage) -> None:
    stage.loop.call_soon_threadsafe(stage.block)
    assert stalls(stage)
    stage.release.set()
    stage.on_loop(asyncio.sleep(0)).result(60)
    assert stage.look() == 0


def test_a_process_that_was_stopped_meanwhile_has_not_stalled_all_that_time(stage: Stage) -> None:
    stage.loop.call_soon_threadsafe(stage.block)
    assert stalls(stage)
    before = stage.watch.stalled
    stage.now += 3600
    assert stage.look() == before + MAX_COUNTED_SECONDS


def test_a_loop_that_is_closed_has_not_stalled() -> None:
    loop = asyncio.new_event_loop()
    watch = LoopWatch(loop, list)
    loop.close()
    for second in range(5):
        watch.check(time.monotonic() + second)
    assert watch.stalled == 0


# -- logging --------------------------------------------------------------------------------------------------------


class Nowhere(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write nothing."""


@pytest.fixture
def locked(stage: Stage) -> Iterator[None]:
    """Our loggers have a handler whose lock is taken, by a thread that does not let go of it."""
    handler = Nowhere()
    taken, release = threading.Event(), threading.Event()

    def take() -> None:
        handler.acquire()
        taken.set()
        release.wait(60)
        handler.release()

    thread = threading.Thread(target=take)
    thread.start()
    assert taken.wait(60)
    loggers = [logging.getLogger("taskq_sls.task"), logging.getLogger("rows")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield
    release.set()
    thread.join(60)
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.mark.usefixtures("locked")
def test_our_own_code_that_waits_for_the_lock_of_a_handler_stalls_the_loop(stage: Stage) -> None:
    @stage.harness.task
    async def job() -> None:
        stage.entered.set()

    stage.start(job)
    assert stage.entered.wait(60)
    while stage.look() < 3:
        time.sleep(0.001)


@pytest.mark.usefixtures("locked")
def test_a_task_whose_log_call_waits_for_the_lock_of_a_handler_stalls_the_loop(stage: Stage) -> None:
    @stage.harness.task
    async def job() -> None:
        stage.entered.set()
        logging.getLogger("rows").warning("never written")

    stage.start(job)
    assert stage.entered.wait(60)
    while stage.look() < 3:
        time.sleep(0.001)


def test_a_task_that_logs_without_end_does_not_stall_the_loop(stage: Stage) -> None:
    calls: list[object] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            calls.append(record)
            stage.entered.set()
            time.sleep(0.002)

    rows = logging.getLogger("rows.slow")
    rows.addHandler(Slow())
    rows.propagate = False

    @stage.harness.task
    async def job() -> None:
        while not stage.release.is_set():
            rows.warning("row")

    stage.start(job)
    assert stage.entered.wait(60)
    stage.look()
    stage.look()
    for _ in range(5):
        seen = len(calls)
        while len(calls) < seen + 3:
            time.sleep(0.001)
        assert stage.look() == 0


@pytest.mark.usefixtures("locked")
def test_the_log_call_of_a_thread_is_found() -> None:
    thread = threading.Thread(target=logging.getLogger("rows").warning, args=("waits",), daemon=True)
    thread.start()
    while (call := log_call(thread.ident)) is None:
        time.sleep(0.001)
    while (again := log_call(thread.ident)) is not call:
        call = again
    assert log_call(threading.get_ident()) is None
    assert log_call(None) is None
