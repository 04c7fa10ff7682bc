"""Workers whose event loop is blocked, in threads of the test's process, which they must leave alone."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq_sls import Queue, Retry, TaskContext, TaskFailed
from taskq_sls.worker import session as session_module
from taskq_sls.worker import watchdog
from taskq_sls.worker import watchdog as loop_watch
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

MakeBench = Callable[..., AwsBench]


class Running:
    """A worker in a thread of its own."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.why: str | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.why = self.worker.run()

    async def health(self) -> tuple[int, dict[str, Any]]:
        return await asyncio.to_thread(self._health)

    def _health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.worker.health.port}/", timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    async def end(self) -> str | None:
        await asyncio.to_thread(self._thread.join, 60)
        return self.why


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends whatever a test blocks."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_loop_that_stands_still_is_told_by_the_health_endpoint_and_lets_its_messages_go(
    make_aws_bench: MakeBench,
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watchdog, "MAX_STALLED_TIMEOUTS", 1 / 60)  # one second
    bench = make_aws_bench(Queue("default", visibility_timeout=60))
    entered = threading.Event()

    def block() -> None:
        entered.set()
        release.wait(60)

    @bench.app.task(name="leave_a_callback")
    async def leave_a_callback() -> None:
        asyncio.get_running_loop().call_soon(block)
        await asyncio.sleep(60)

    await leave_a_callback.aenqueue()
    running = Running(bench.app.worker(poll_wait=1, grace=0, health=("127.0.0.1", 0)))
    await async_until(entered.is_set)
    status, body = await running.health()
    assert (status, body["loop"]) == (200, True)

    async def fails() -> bool:
        status, body = await running.health()
        return status == 503 and not body["loop"]

    await async_until(fails)

    async def is_visible() -> bool:
        return await bench.depth() == (1, 0, 0)

    await async_until(is_visible)
    written = capfd.readouterr().err
    assert "worker_stalled" in written
    assert "in test_a_loop_that_stands_still" in written

    release.set()  # this process is not the worker's, and goes on
    assert await running.end() == "stuck"


async def test_a_task_that_blocks_the_loop_does_not_make_its_worker_look_dead(
    make_aws_bench: MakeBench, release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "MAX_STALLED_TIMEOUTS", 0.2)
    monkeypatch.setattr(loop_watch, "BLOCKED_SECONDS", 0.3)
    monkeypatch.setattr(session_module, "MAX_SILENCE_SECONDS", 3.0)
    bench = make_aws_bench(Queue("default", visibility_timeout=5))
    entered = threading.Event()

    @bench.app.task(name="block")
    async def block(ctx: TaskContext) -> int:
        entered.set()
        release.wait(60)
        return ctx.attempt

    handle = await block.aenqueue()
    running = Running(bench.app.worker(poll_wait=1, health=("127.0.0.1", 0)))
    await async_until(entered.is_set)
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        assert (await running.health())[0] == 200
        await asyncio.sleep(0.1)
    release.set()
    assert await handle.aresult(60) == 1
    assert (await running.health())[0] == 200
    running.worker.stop()
    assert await running.end() == "stopped"


async def test_a_heartbeat_that_waits_for_the_lock_of_a_handler_stops_its_worker(
    make_aws_bench: MakeBench,
    release: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watchdog, "MAX_STALLED_TIMEOUTS", 0.2)
    bench = make_aws_bench(Queue("default", visibility_timeout=5), aws_options={"max_attempts": 1})
    entered = threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "action", None) == "heartbeat_fault":
                self.release()  # only the heartbeat waits here
                try:
                    entered.set()
                    release.wait(60)
                finally:
                    self.acquire()

    @bench.app.task(name="sleep")
    async def sleep() -> None:
        await asyncio.sleep(60)

    handler = Stuck()
    logging.getLogger("taskq_sls.worker").addHandler(handler)
    try:
        await sleep.aenqueue()
        bench.wire.fails = lambda operation: operation == "ChangeMessageVisibilityBatch"
        bench.wire.fault = "503"
        running = Running(bench.app.worker(poll_wait=1, grace=0))
        await async_until(entered.is_set)
        await async_until(lambda: "heartbeat_stalled" in capfd.readouterr().err)
        release.set()
        assert await running.end() == "stuck"
    finally:
        release.set()
        logging.getLogger("taskq_sls.worker").removeHandler(handler)


async def test_attempts_that_end_late_because_another_one_blocks_the_loop_do_not_end_the_worker(
    make_aws_bench: MakeBench,
) -> None:
    bench = make_aws_bench(Queue("default", visibility_timeout=5))
    started, all_started = [], asyncio.Event()

    @bench.app.task(name="limited", timeout=0.5, hard_timeout=1.0, retry=Retry(max_attempts=1))
    async def limited() -> None:
        started.append("limited")
        if len(started) == 3:
            all_started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)

    @bench.app.task(name="blocker")
    async def blocker() -> None:
        await all_started.wait()
        for _ in range(6):
            time.sleep(0.8)  # noqa: ASYNC251  # blocking the loop is what this is about
            await asyncio.sleep(0)

    limits = [await limited.aenqueue() for _ in range(3)]
    blocks = await blocker.aenqueue()
    running = Running(bench.app.worker(poll_wait=1))
    try:
        await blocks.aresult(60)
        for handle in limits:
            with pytest.raises(TaskFailed, match="timeout of"):
                await handle.aresult(60)
    finally:
        running.worker.stop()
    assert await running.end() == "stopped"
