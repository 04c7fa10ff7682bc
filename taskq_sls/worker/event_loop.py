"""The end of a worker's event loop, in bounded time whatever its tasks have left behind."""

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
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from ..core.forks import end_fork

TASK_SECONDS = 1.0
"""Seconds that cancelled tasks may take to end before the loop is left as it is."""

EXECUTOR_SECONDS = 1.0
"""Seconds that functions of `loop.run_in_executor(None, ...)` may take to end before they are left alone."""


class DefaultExecutor(ThreadPoolExecutor):
    """The event loop's default executor, whose end waits for its threads for `EXECUTOR_SECONDS` only."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Start nothing more and let idle threads end."""
        super().shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + EXECUTOR_SECONDS
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))


def close_runner(runner: asyncio.Runner) -> None:
    """Close the runner and its loop, unless a task ignores its cancellation: then both are left as they are."""
    loop = runner.get_loop()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):  # asyncio raises those of tasks here
            loop.run_until_complete(asyncio.wait(tasks, timeout=TASK_SECONDS))
    if not asyncio.all_tasks(loop):
        runner.close()


async def in_new_thread(function: Callable[[], object], seconds: float) -> None:
    """Run a function in a thread of its own, which no task can have taken, and wait for it at most so long.

    Raises:
        Exception: whatever the function raised.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def note(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(note, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    threading.Thread(target=run, name="taskq-closing", daemon=True).start()
    await asyncio.wait([ended], timeout=seconds)
    if ended.done():
        ended.result()


logger = logging.getLogger("taskq_sls.worker")

AWAIT_SECONDS = 1.0
"""Seconds within which such an exception has to reach code that awaits it."""

MAX_BREAKS = 10
"""Exceptions of the event loop itself within `AWAIT_SECONDS` after which it is not run again: its selector was closed,
for example.
"""

T = TypeVar("T")


class Escapes:
    """Runs a coroutine to its end, over exceptions that end the loop's run before.

    Args:
        ask_to_end: called if no code awaits the coroutine or callback that raised.

    Attributes:
        unowned: whether that was so.
    """

    def __init__(self, ask_to_end: Callable[[], None]) -> None:
        self.unowned = False
        self._ask_to_end = ask_to_end
        self._open: list[tuple[BaseException, TracebackType | None]] = []

    def run(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
        """``runner.run(coroutine)``.

        Raises:
            BaseException: whatever the coroutine itself raised.
        """
        main: asyncio.Task[T] | None = None

        async def noted() -> T:
            nonlocal main
            main = asyncio.current_task()
            return await coroutine

        process = os.getpid()
        try:
            result = runner.run(noted())
        except BaseException as error:
            if os.getpid() != process:
                end_fork(error)
            # Assigned in the coroutine, which mypy does not see.
            begun: asyncio.Task[T] | None = main
            result = self._go_on(runner.get_loop(), begun, error)
        self._decide()
        return result

    def _go_on(self, loop: asyncio.AbstractEventLoop, main: asyncio.Task[T] | None, error: BaseException) -> T:
        breaks: deque[float] = deque(maxlen=MAX_BREAKS)
        while main is not None and not main.done():
            if isinstance(error, Exception):  # of the loop itself, or of a signal handler
                breaks.append(time.monotonic())
                if len(breaks) == MAX_BREAKS and breaks[-1] - breaks[0] < AWAIT_SECONDS:
                    raise error
            # Code that awaits the one that raised, such as an attempt, gets the exception when the loop goes on.
            self._open.append((error, error.__traceback__))
            loop.call_later(AWAIT_SECONDS, self._decide)
            try:
                return loop.run_until_complete(main)
            except BaseException as another:
                error = another
        self._decide()
        raise error

    def _decide(self) -> None:
        found, self._open = self._open, []
        for error, traceback in found:
            if error.__traceback__ is not traceback:  # it was raised again by an await
                continue
            logger.error(
                "%s was raised in the event loop by code that nothing awaits: a created task or a callback",
                type(error).__name__,
                exc_info=error,
                extra={"action": "worker_fault"},
            )
            if isinstance(error, SystemExit | KeyboardInterrupt):
                self.unowned = True
                self._ask_to_end()


def watch_signals(arrived: Callable[[int], None]) -> Callable[[], None]:
    """Have another thread call `arrived` with the number of each signal that has a handler of Python's.

    To be called in the main thread. Nothing is watched if an event loop or the program has done so already: the
    interpreter writes signals to one descriptor only.

    Args:
        arrived: takes no lock; called on a thread of its own.

    Returns:
        Ends it.
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
        if (now := signal.set_wakeup_fd(-1)) != writing:  # asyncio's, by `add_signal_handler`
            signal.set_wakeup_fd(now)
        os.close(writing)

    threading.Thread(target=read, name="taskq-signals", daemon=True).start()
    return end
