"""Plain functions in threads, handed over with one wake-up of the loop per burst.

An executor of the standard library wakes the event loop once per function; at a few microseconds of work
per task that wake-up is most of the cost. Here finished jobs gather in a deque and the loop is woken only
when it has not been told yet.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

IDLE_SECONDS = 30.0
"""How long a thread without work is kept."""


class TaskInterrupted(BaseException):
    """Raised inside a task's thread when its attempt must end: time limit, lost lease or shutdown.

    Not an Exception, so that ``except Exception`` in a task does not swallow it.
    """


def default_threads() -> int:
    """min(32, 4 x cores): more threads computing in Python would starve the heartbeat of the interpreter lock."""
    return min(32, 4 * (os.cpu_count() or 1))


class _Job:
    __slots__ = ("args", "context", "done", "error", "function", "future", "lock", "loop", "state", "thread", "value")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.args = args
        self.context = contextvars.copy_context()
        self.loop = loop
        self.future = loop.create_future()
        self.lock = threading.Lock()
        self.state = "queued"
        self.thread = 0
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        with self.lock:
            if self.state != "queued":
                return
            self.state = "running"
            self.thread = threading.get_ident()
        try:
            try:
                self.value = self.context.run(self.function, *self.args)
            except BaseException as error:
                self.error = error
            self._close()
        except TaskInterrupted:
            # It struck between the function's last line and the lock: the function had ended, and its end counts.
            self._close()

    def _close(self) -> None:
        with self.lock:
            self.state = "ended"
        _raise_in(self.thread, None)

    def interrupt(self) -> bool:
        """Make the function end; False if it had not begun, and now never will."""
        with self.lock:
            if self.state == "queued":
                self.state = "dropped"
                return False
            if self.state == "running":
                _raise_in(self.thread, TaskInterrupted)
            return True

    def outcome(self) -> Any:
        if isinstance(self.error, TaskInterrupted):
            raise asyncio.CancelledError from self.error
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # or the traceback would keep this frame, and the frame the traceback
        return self.value


class Threads:
    """A pool of daemon threads for sync tasks.

    Args:
        limit: most threads at once; further functions wait. Default `default_threads()`.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit or default_threads()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._finished: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._woken: set[asyncio.AbstractEventLoop] = set()

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Run ``function(*args)`` in a thread, with a copy of the caller's context variables.

        Cancelling the caller interrupts the function and then waits until it has really ended: what the
        function returns although it was interrupted is returned.
        """
        loop = asyncio.get_running_loop()
        job = _Job(function, args, loop)
        self._submit(job)
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
        return job.outcome()

    def close(self) -> None:
        """Let idle threads end; those that run a function end after it."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _submit(self, job: _Job) -> None:
        with self._lock:
            self._jobs.put(job)
            if self._idle > 0:
                self._idle -= 1
                return
            if self._threads >= self.limit:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="taskq-task", daemon=True).start()

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            job.run()
            self._deliver(job)

    def _next(self) -> _Job | None:
        from queue import Empty

        try:
            return self._jobs.get_nowait()
        except Empty:
            pass
        with self._lock:
            self._idle += 1
        try:
            job = self._jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if self._idle > 0:
                    self._idle -= 1
                    self._threads -= 1
                    return None
            # A submit counted on this thread a moment ago, so its job is in the queue.
            job = self._jobs.get()
        if job is None:
            with self._lock:
                self._threads -= 1
        return job

    def _deliver(self, job: _Job) -> None:
        self._finished.append(job)
        with self._lock:
            if job.loop in self._woken:
                return
            self._woken.add(job.loop)
        try:
            job.loop.call_soon_threadsafe(self._collect, job.loop)
        except RuntimeError:  # the loop is closed: nobody waits for it any more
            with self._lock:
                self._woken.discard(job.loop)

    def _collect(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._woken.discard(loop)
        for _ in range(len(self._finished)):
            try:
                job = self._finished.popleft()
            except IndexError:
                return
            if job.loop is not loop:
                self._finished.append(job)
                continue
            job.done = True
            if not job.future.done():
                job.future.set_result(None)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise `error` in a thread at its next bytecode; None takes back one that has not been raised yet."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error is not None else None
    )
