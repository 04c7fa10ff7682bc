"""Runs sync functions in threads, with few wake-ups.

An executor of the standard library wakes a thread and the event loop once per function. For functions of a few
microseconds those wake-ups are most of the cost. Here one thread is woken for a burst of jobs, and wakes the next thread
only if jobs are left. Finished jobs are collected, and the loop is woken once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from . import forks
from .fault_log import FaultLog
from .interrupts import Interruptible, TaskInterrupted, spare_locks

logger = logging.getLogger("taskq_sls.worker")

RESEND_SECONDS = 0.01
"""Time after which an interrupt that was ignored is sent again."""

IDLE_SECONDS = 30.0
"""Time for which a thread without work is kept."""

START_RETRY_SECONDS = 1.0
"""Time after which a pool without threads tries again to start one, after the system has refused it."""


def default_threads() -> int:
    """min(32, 4 x cores): with more threads computing in Python, the heartbeat would wait too long for the GIL."""
    return min(32, 4 * (os.cpu_count() or 1))


_NO_VALUE = object()
"""The value of a function that has not returned."""


class _ThreadJob(Interruptible):
    __slots__ = (
        "abandoned",
        "args",
        "context",
        "done",
        "error",
        "function",
        "future",
        "loop",
        "start_token",
        "value",
    )

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.function = function
        self.args = args
        self.context = contextvars.copy_context()
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        # The thread that pops the token decides, atomically, if the function begins or never will.
        self.start_token = [None]
        self.abandoned = False
        self.done = False
        self.value: Any = _NO_VALUE
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.start_token.pop()
        except IndexError:
            return
        process = forks.generation
        try:
            try:
                self.begin()
                self.value = self.context.run(self.function, *self.args)
            except BaseException as error:
                self.error = error
            if forks.generation != process:  # else it would run the next functions here too
                forks.end_fork(self.error)
            self.end()
        except TaskInterrupted as late:
            # Raised after the function's last line. Its value counts; an error that was not stored yet is lost.
            if self.value is _NO_VALUE and self.error is None:
                self.error = late
            self.end()

    def interrupt(self) -> bool:
        """Interrupt the function. Returns False if it had not begun, and now never will."""
        try:
            self.start_token.pop()
        except IndexError:
            self.send()
            return True
        return False

    def send_later(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: its caller is gone
            self.loop.call_soon_threadsafe(self.loop.call_later, RESEND_SECONDS, self.send)

    def outcome(self) -> Any:
        if self.abandoned:
            raise asyncio.CancelledError
        if self.error is None:
            return self.value
        error, self.error = self.error, None  # avoids a reference cycle of traceback and frame
        if isinstance(error, TaskInterrupted):
            raise asyncio.CancelledError from error
        raise error


class ThreadPool:
    """A pool of daemon threads for sync tasks.

    Args:
        limit: most threads at once; further functions wait. Default `default_threads()`.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit or default_threads()
        self._jobs: deque[_ThreadJob] = deque()
        self._finished: dict[asyncio.AbstractEventLoop, list[_ThreadJob]] = {}
        self._waiting = 0
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._waking = False
        self._closed = False
        self._awaited: set[_ThreadJob] = set()
        self._faults = FaultLog(logger, "threads for sync tasks cannot be started", "thread_fault")

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Run ``function(*args)`` in a thread, with a copy of the caller's context variables.

        Cancelling the caller interrupts the function, and waits until it has ended. If the function returns all the
        same, its value is returned.
        """
        loop = asyncio.get_running_loop()
        job = _ThreadJob(function, args, loop)
        self._jobs.append(job)
        if not self._waking:
            self._wake()
        self._awaited.add(job)
        try:
            await job.future
        except asyncio.CancelledError:
            if not job.interrupt():
                raise
            while not job.done:
                job.future = loop.create_future()
                try:
                    await job.future
                except asyncio.CancelledError:
                    continue
        finally:
            self._awaited.discard(job)
        return job.outcome()

    async def run_waiting(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Do as `run`, for a function that waits for others in these threads. It does not count for the limit."""
        with self._lock:
            self._waiting += 1
        try:
            return await self.run(function, *args)
        finally:
            with self._lock:
                self._waiting -= 1

    def interrupt_all(self) -> None:
        """Interrupt all functions of the running loop, and cancel their callers at once, because the driver ends.

        Functions that do not end go on in their threads until the process ends.
        """
        loop = asyncio.get_running_loop()
        for job in [job for job in self._awaited if job.loop is loop and not job.done]:
            job.interrupt()
            job.abandoned = job.done = True
            if not job.future.done():
                job.future.set_result(None)

    def close(self) -> None:
        """End idle threads at once, the others after their function. A later `run` starts new threads."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._tokens.put(None)

    def _wake(self) -> None:
        """Wake or start one more thread for the jobs, unless one is about to take them."""
        with self._lock:
            if self._waking:
                return
            if self._idle > 0:
                self._idle -= 1
                self._waking = True
                self._tokens.put(None)
                return
            if self._threads >= self.limit + self._waiting:
                return
            self._threads += 1
            self._waking = True
        spare_locks()
        try:
            threading.Thread(target=self._work, name="taskq-task", daemon=True).start()
        except (RuntimeError, MemoryError) as error:  # a limit of threads or memory is reached
            with self._lock:
                self._threads -= 1
                self._waking = False
                if self._threads > 0:  # another thread takes the jobs after its function
                    return
            self._wake_later(error)
        else:
            self._faults.recovered()

    def _wake_later(self, error: BaseException) -> None:
        """Try again to start the first thread, because functions wait for it."""
        self._faults.failed(error)
        with contextlib.suppress(RuntimeError):  # no loop runs in this thread
            asyncio.get_running_loop().call_later(START_RETRY_SECONDS, self._wake_again)

    def _wake_again(self) -> None:
        if self._jobs:
            self._wake()

    def _work(self) -> None:
        while True:
            self._waking = False
            while True:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    break
                if self._jobs and not self._waking:
                    self._wake()
                job.run()
                self._deliver(job)
                del job  # a waiting thread must not keep the arguments of its last function alive
            if not self._park():
                return

    def _park(self) -> bool:
        """Wait for a token. Returns False if the thread was idle for too long and ends."""
        with self._lock:
            if self._jobs:
                return True
            if self._closed:
                self._threads -= 1
                return False
            self._idle += 1
        try:
            self._tokens.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._idle > 0:
                    self._idle -= 1
                    self._threads -= 1
                    return False
            # `_wake` or `close` has just chosen this thread, and has sent a token for it.
            self._tokens.get()
        return True

    def _deliver(self, job: _ThreadJob) -> None:
        with self._lock:
            burst = self._finished.get(job.loop)
            if burst is not None:  # the loop is about to collect them
                burst.append(job)
                return
            self._finished[job.loop] = [job]
        try:
            job.loop.call_soon_threadsafe(self._collect, job.loop)
        except RuntimeError:  # the loop is closed: its caller is gone
            with self._lock:
                self._finished.pop(job.loop, None)

    def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            burst = self._finished.pop(loop, [])
        for job in burst:
            job.done = True
            if not job.future.done():
                job.future.set_result(None)
