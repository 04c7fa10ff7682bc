"""Plain functions in threads, handed over with few wake-ups.

An executor of the standard library wakes a thread and the event loop once per function; at a few microseconds of
work per task those wake-ups are most of the cost. Here jobs gather in a deque: one thread is woken for a burst, and
wakes the next only while there is more to do; finished jobs gather in another deque, and the loop is woken only when
it has not been told yet.
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

from .fault_log import FaultLog
from .forks import end_fork
from .interrupts import Interruptible, TaskInterrupted, spare_locks

logger = logging.getLogger("taskq_sls.worker")

AGAIN_SECONDS = 0.01
"""After which an interrupt that was ignored is sent again."""

IDLE_SECONDS = 30.0
"""How long a thread without work is kept."""

START_AGAIN_SECONDS = 1.0
"""Seconds after which a pool without threads tries again to start one that the system has refused."""


def default_threads() -> int:
    """min(32, 4 x cores): more threads computing in Python would starve the heartbeat of the interpreter lock."""
    return min(32, 4 * (os.cpu_count() or 1))


_NO_VALUE = object()
"""The value of a function that has not returned."""


class _Job(Interruptible):
    __slots__ = (
        "abandoned",
        "args",
        "context",
        "done",
        "error",
        "function",
        "future",
        "loop",
        "ticket",
        "value",
    )

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.function = function
        self.args = args
        self.context = contextvars.copy_context()
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        # Who pops it decides, atomically, whether the function begins or never will.
        self.ticket = [None]
        self.abandoned = False
        self.done = False
        self.value: Any = _NO_VALUE
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.ticket.pop()
        except IndexError:
            return
        process = os.getpid()
        try:
            try:
                self.begin()
                self.value = self.context.run(self.function, *self.args)
            except BaseException as error:
                self.error = error
            if os.getpid() != process:  # else it would run the next functions here too
                end_fork(self.error)
            self.end()
        except TaskInterrupted as late:
            # It struck after the function's last line. A value counts; an error that was not kept yet is lost.
            if self.value is _NO_VALUE and self.error is None:
                self.error = late
            self.end()

    def interrupt(self) -> bool:
        """Make the function end; False if it had not begun, and now never will."""
        try:
            self.ticket.pop()
        except IndexError:
            self.send()
            return True
        return False

    def send_later(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
            self.loop.call_soon_threadsafe(self.loop.call_later, AGAIN_SECONDS, self.send)

    def outcome(self) -> Any:
        if self.abandoned:
            raise asyncio.CancelledError
        if self.error is None:
            return self.value
        error, self.error = self.error, None  # or the traceback would keep this frame, and the frame the traceback
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
        self._jobs: deque[_Job] = deque()
        self._finished: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._waiting = 0
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._waking = False
        self._closed = False
        self._awaited: set[_Job] = set()
        self._faults = FaultLog(logger, "threads for sync tasks cannot be started", "thread_fault")

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Run ``function(*args)`` in a thread, with a copy of the caller's context variables.

        Cancelling the caller interrupts the function and then waits until it has really ended: what the
        function returns although it was interrupted is returned.
        """
        loop = asyncio.get_running_loop()
        job = _Job(function, args, loop)
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
        """As `run`, for a function that waits for others in these threads: it takes away none of their places."""
        with self._lock:
            self._waiting += 1
        try:
            return await self.run(function, *args)
        finally:
            with self._lock:
                self._waiting -= 1

    def abandon(self) -> None:
        """Let callers on the running loop wait no more for functions that do not end, and interrupt those.

        They see a cancellation. For a driver that ends: the threads go on, and die with the process.
        """
        loop = asyncio.get_running_loop()
        for job in [job for job in self._awaited if job.loop is loop and not job.done]:
            job.interrupt()
            job.abandoned = job.done = True
            if not job.future.done():
                job.future.set_result(None)

    def close(self) -> None:
        """Let idle threads end; those that run a function end after it. A later `run` starts new ones."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            self._tokens.put(None)

    def _wake(self) -> None:
        """Have one more thread look at the jobs, unless one is on its way."""
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
        except (RuntimeError, MemoryError) as error:  # the limit of threads, or of memory
            with self._lock:
                self._threads -= 1
                self._waking = False
                if self._threads > 0:  # one that runs a function looks at the jobs after it
                    return
            self._wake_later(error)
        else:
            self._faults.recovered()

    def _wake_later(self, error: BaseException) -> None:
        """Try again to start the first thread while functions wait for it: none of them has begun."""
        self._faults.failed(error)
        with contextlib.suppress(RuntimeError):  # no loop runs here
            asyncio.get_running_loop().call_later(START_AGAIN_SECONDS, self._wake_again)

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
                del job  # a thread that waits must not keep what its last function was given
            if not self._park():
                return

    def _park(self) -> bool:
        """Wait to be woken. False: the thread has waited long enough and ends."""
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
            # Somebody counted on this thread a moment ago: its token is there.
            self._tokens.get()
        return True

    def _deliver(self, job: _Job) -> None:
        with self._lock:
            burst = self._finished.get(job.loop)
            if burst is not None:  # the loop has been told, and has not looked yet
                burst.append(job)
                return
            self._finished[job.loop] = [job]
        try:
            job.loop.call_soon_threadsafe(self._collect, job.loop)
        except RuntimeError:  # the loop is closed: nobody waits for it any more
            with self._lock:
                self._finished.pop(job.loop, None)

    def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            burst = self._finished.pop(loop, [])
        for job in burst:
            job.done = True
            if not job.future.done():
                job.future.set_result(None)
