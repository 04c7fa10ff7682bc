"""The event loop of a worker: runs on after exceptions that leave it, sees signals, and ends in bounded time.

asyncio lets SystemExit and KeyboardInterrupt out of the loop, whichever task or callback raised them: `sys.exit` in a
gathered coroutine would end a worker with all its messages in flight. Here the loop runs on, so that the exception
reaches the code that awaits it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from ..core.forks import end_fork

CANCEL_SECONDS = 1.0
"""Time that cancelled tasks may take to end. After it the loop is left open."""

EXECUTOR_SECONDS = 1.0
"""Time that functions of `loop.run_in_executor(None, ...)` may take to end. After it their threads are left running."""


class DefaultExecutor(ThreadPoolExecutor):
    """The loop's default executor. Its shutdown waits for its threads for `EXECUTOR_SECONDS` only."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + EXECUTOR_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))


def close_runner(runner: asyncio.Runner) -> None:
    """Close the runner and its loop. If a task ignores its cancellation, both are left open."""
    loop = runner.get_loop()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):  # asyncio raises those of tasks here
            loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_SECONDS))
    if not asyncio.all_tasks(loop):
        runner.close()


async def in_new_thread(function: Callable[[], object], seconds: float) -> None:
    """Run a function in a thread of its own, since tasks may use all others, and wait for it up to `seconds`.

    Raises:
        Exception: the error of the function.
    """
    ended: Future[None] = Future()
    ended.set_running_or_notify_cancel()  # it cannot be cancelled any more

    def run() -> None:
        try:
            function()
        except BaseException as error:
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=run, name="taskq-closing", daemon=True).start()
    await asyncio.wait([asyncio.wrap_future(ended)], timeout=seconds)
    if ended.done():
        ended.result()


logger = logging.getLogger("taskq_sls.worker")

AWAIT_SECONDS = 1.0
"""Time within which an exception that left the loop has to reach code that awaits it."""

MAX_LOOP_FAULTS = 10
"""Exceptions of the loop itself within `AWAIT_SECONDS` after which it is not run again. It may have lost its selector."""

T = TypeVar("T")


class LoopRunner:
    """Runs a coroutine to its end, although exceptions of other code leave the loop before.

    Args:
        ask_to_end: called if such an exception came from a coroutine or callback that nothing awaits.

    Attributes:
        unhandled: True if `ask_to_end` was called.
    """

    def __init__(self, ask_to_end: Callable[[], None]) -> None:
        self.unhandled = False
        self._ask_to_end = ask_to_end
        self._undecided: list[tuple[BaseException, TracebackType | None]] = []

    def run(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do as ``runner.run(coroutine)`` does.

        Raises:
            BaseException: the error of the coroutine itself.
        """
        main: asyncio.Task[T] | None = None

        async def run_as_main() -> T:
            nonlocal main
            main = asyncio.current_task()
            return await coroutine

        process = os.getpid()
        try:
            result = runner.run(run_as_main())
        except BaseException as error:
            if os.getpid() != process:
                end_fork(error)
            # mypy does not see the assignment in the coroutine.
            begun: asyncio.Task[T] | None = main
            result = self._run_on(runner.get_loop(), begun, error)
        self._decide()
        return result

    def _run_on(self, loop: asyncio.AbstractEventLoop, main: asyncio.Task[T] | None, error: BaseException) -> T:
        faults: deque[float] = deque(maxlen=MAX_LOOP_FAULTS)
        while main is not None and not main.done():
            if isinstance(error, Exception):  # of the loop itself, or of a signal handler
                faults.append(time.monotonic())
                if len(faults) == MAX_LOOP_FAULTS and faults[-1] - faults[0] < AWAIT_SECONDS:
                    raise error
            # Code that awaits the failed coroutine, such as an attempt, gets the exception when the loop runs on.
            self._undecided.append((error, error.__traceback__))
            loop.call_later(AWAIT_SECONDS, self._decide)
            try:
                return loop.run_until_complete(main)
            except BaseException as another:
                error = another
        self._decide()
        raise error

    def _decide(self) -> None:
        found, self._undecided = self._undecided, []
        for error, traceback in found:
            if error.__traceback__ is not traceback:  # an await has raised it again
                continue
            logger.error(
                "%s was raised in the event loop by code that nothing awaits: a created task or a callback",
                type(error).__name__,
                exc_info=error,
                extra={"action": "worker_fault"},
            )
            if isinstance(error, SystemExit | KeyboardInterrupt):
                self.unhandled = True
                self._ask_to_end()


def watch_signals(arrived: Callable[[int], None]) -> Callable[[], None]:
    """Call `arrived` on another thread with the number of each signal that has a Python handler.

    The handler itself cannot run while the main thread is inside C code. Call this in the main thread. Signals are not
    watched if an event loop or the program does so already: the interpreter writes them to one descriptor only.

    Args:
        arrived: takes no lock.

    Returns:
        A function that ends the watch.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
        return lambda: None

    def read() -> None:
        while numbers := os.read(reading, 1):
            arrived(numbers[0])
        os.close(reading)

    def end() -> None:
        if (now := signal.set_wakeup_fd(-1)) != writing:  # of asyncio's `add_signal_handler`
            signal.set_wakeup_fd(now)
        os.close(writing)

    threading.Thread(target=read, name="taskq-signals", daemon=True).start()
    return end
