"""Interrupts of sync tasks: they wait for locks that others need, and leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq_sls.aws.blocking import Clients
from taskq_sls.aws.config import ClientOptions
from taskq_sls.core import interrupts
from taskq_sls.core.threads import ThreadPool

BEFORE_3_13 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="logging holds it by `with`, which has no gap")


def interrupt_this_thread() -> None:
    interrupts._here.call.send()


class InterruptedLock:
    """A lock that an interrupt strikes at once when it has been taken."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, *args: Any) -> bool:
        taken = self._lock.acquire(*args)
        if getattr(interrupts._here, "call", None) is not None:
            interrupt_this_thread()
        return taken

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def is_free(self) -> bool:
        free = self._lock.acquire(blocking=False)
        if free:
            self._lock.release()
        return free


@pytest.fixture
def handler() -> logging.Handler:
    handler = logging.StreamHandler(io.StringIO())
    handler.lock = InterruptedLock()  # type: ignore[assignment]  # it is used as an RLock is
    return handler


async def run_interrupted(function: Callable[..., Any], *args: Any) -> list[str]:
    """Run a function that an interrupt strikes in a thread; what ran after it."""
    after: list[str] = []

    def task() -> None:
        function(*args)
        after.append("went on")

    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await ThreadPool().run(task)
    return after


@pytest.mark.parametrize("use", ["log", pytest.param("flush", marks=BEFORE_3_13), "by hand"])
async def test_an_interrupt_leaves_no_lock_of_a_logging_handler_taken(handler: logging.Handler, use: str) -> None:
    logger = logging.Logger("shop")
    logger.addHandler(handler)

    def by_hand() -> None:
        handler.acquire()
        try:
            pass
        finally:
            handler.release()

    uses: dict[str, Callable[[], None]] = {"log": lambda: logger.error("row"), "flush": handler.flush}
    assert await run_interrupted(uses.get(use, by_hand)) == []

    assert isinstance(handler.lock, InterruptedLock)
    assert handler.lock.is_free()  # type: ignore[unreachable]  # another thread replaces the lock


@BEFORE_3_13
@pytest.mark.parametrize("use", ["a new logger", "a level seen for the first time"])
async def test_an_interrupt_leaves_the_lock_of_logging_itself_free(monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    logger = logging.getLogger("tests.interrupts")
    lock = InterruptedLock()
    monkeypatch.setattr(logging, "_lock", lock)

    def task() -> None:
        if use == "a new logger":
            logging.getLogger("tests.interrupts.new")
        else:
            logger.isEnabledFor(17)

    assert await run_interrupted(task) == []
    assert lock.is_free()


async def test_a_record_is_written_as_a_whole_before_the_interrupt_is_raised() -> None:
    written: list[str] = []

    class Exporter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            interrupt_this_thread()
            written.append(record.getMessage())

    logger = logging.Logger("shop")
    logger.addHandler(Exporter())
    assert await run_interrupted(logger.error, "row") == []
    assert written == ["row"]


async def test_an_interrupt_waits_for_the_outermost_of_nested_calls() -> None:
    seen: list[str] = []

    class Nested(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.acquire()
            interrupt_this_thread()
            self.release()
            seen.append("after the inner one")

    logger = logging.Logger("shop")
    logger.addHandler(Nested())
    assert await run_interrupted(logger.error, "row") == []
    assert seen == ["after the inner one"]


async def test_code_that_keeps_a_lock_of_logging_does_not_keep_the_next_task_from_being_interrupted() -> None:
    pool, handler = ThreadPool(1), logging.Handler()
    await pool.run(handler.acquire)
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await pool.run(interrupt_this_thread)


async def test_a_call_to_aws_through_a_shared_client_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Client:
        def send_message(self, **params: Any) -> dict[str, Any]:
            interrupt_this_thread()
            done.append("sent")
            return {}

    clients = Clients(ClientOptions.of({}))
    monkeypatch.setattr(clients, "get", lambda service: Client())
    assert await run_interrupted(clients.invoke, "sqs", "send_message", {}) == []
    assert done == ["sent"]


async def test_an_import_is_completed_before_the_interrupt_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_in_a_task.py").write_text(
        "from taskq_sls.core import interrupts\ninterrupts._here.call.send()\nloaded = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert await run_interrupted(importlib.import_module, "imported_in_a_task") == []
        assert sys.modules["imported_in_a_task"].loaded
    finally:
        sys.modules.pop("imported_in_a_task", None)


async def test_an_import_that_fails_leaves_the_task_interruptible() -> None:
    def task() -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("no_such_module_anywhere")
        assert interrupts._here.call._deferred == 0

    await ThreadPool().run(task)


async def test_an_interrupt_that_strikes_where_exceptions_are_ignored_is_sent_again() -> None:
    class Interrupted:
        def __del__(self) -> None:
            interrupt_this_thread()

    def task() -> None:
        Interrupted()
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            pass

    assert await run_interrupted(task) == []


TRACED = """
import asyncio, sys, threading, time
from taskq_sls.core.threads import ThreadPool

begun = threading.Event()

def forever():
    begun.set()
    while True:
        pass

async def interrupt_a_few():
    pool = ThreadPool()
    for _ in range(5):
        begun.clear()
        task = asyncio.create_task(pool.run(forever))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

calls = []

def traced(number):
    calls.append(number)

asyncio.run(interrupt_a_few())
sys.settrace(lambda frame, event, argument: None)
for number in range(100):
    traced(number)
sys.settrace(None)
assert len(calls) == 100
"""


def test_code_that_is_traced_runs_on_after_a_task_has_been_interrupted() -> None:
    subprocess.run([sys.executable, "-c", TRACED], timeout=60, check=True)


FORKED = """
import os, signal
from taskq_sls.core import interrupts

interrupts._changes.acquire()           # as another thread may, when this one forks
if (child := os.fork()) == 0:
    signal.alarm(30)
    with interrupts._changes:
        os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_forked_child_can_log_although_an_interrupt_was_being_sent() -> None:
    subprocess.run([sys.executable, "-c", FORKED], timeout=60, check=True)
