"""Interrupts sync tasks: raises an exception in their thread, but not while the code there holds certain locks.

Such an exception may be raised between any two bytecodes. Between `lock.acquire()` and the `try` after it, the lock would
never be released. So an interrupt is deferred while its thread logs, imports a module for the first time, or calls AWS
through a shared client.

Locks of the task's own code are not covered. In CPython 3.11 to 3.13 a `with` statement over a lock of `threading` has no
such gap: no interrupt is raised between the return of `__enter__` and the block. `acquire()` has one, and so have locks
with an `__enter__` written in Python (`Condition`, and so `queue.Queue`).
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class TaskInterrupted(BaseException):
    """Raised inside a task's thread when its attempt must end: time limit, lost lease or shutdown.

    Not an Exception, so that ``except Exception`` in a task does not swallow it.
    """


_changes = threading.Lock()
"""Held while an interrupt is sent, and while its target begins or ends code that must not be interrupted."""

_here = threading.local()
"""`call`: the `Interruptible` that runs in this thread, or None."""


class Interruptible:
    """A call in a thread that other threads may interrupt.

    Attributes:
        interrupted: True once it was interrupted.
        thread: the thread that runs it; None before and after.
    """

    __slots__ = ("_deferred", "_due", "interrupted", "thread")

    def __init__(self) -> None:
        self.thread: int | None = None
        self.interrupted = False
        self._deferred = 0
        self._due = False

    def begin(self) -> None:
        """Begin to raise interrupts in this thread.

        Raises:
            TaskInterrupted: it was interrupted before.
        """
        _here.call = self
        self.thread = threading.get_ident()
        if self.interrupted:
            raise TaskInterrupted

    def send(self) -> None:
        """Interrupt it from another thread. Inside of code that must not be interrupted, this is deferred to its end."""
        import ctypes  # not under the lock: an import takes locks too

        with _changes:
            self.interrupted = True
            if self._deferred:
                self._due = True
            elif self.thread is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self.thread), ctypes.py_object(TaskInterrupted)
                )

    def send_later(self) -> None:
        """Let another thread send an interrupt soon."""

    def lost(self) -> None:
        """In its thread: send an interrupt again that was raised in code where Python ignores exceptions."""
        before = self._deferred
        while True:
            try:
                with _changes:
                    self._deferred = before + 1  # this code would ignore it too
                for _ in range(2):  # as in `end`
                    pass
                break
            except TaskInterrupted:
                continue
        while not before:
            self.send_later()
            with _changes:
                if not self._due:
                    self._deferred = 0
                    return
                self._due = False
        with _changes:
            self._deferred, self._due = before, True

    def end(self) -> None:
        """In its thread: end the call. After this, no interrupt is pending.

        A pending interrupt is raised in here. It is not withdrawn: CPython 3.11 hangs at the next traced call if a request
        is withdrawn after it was raised.
        """
        while True:
            try:
                with _changes:
                    self.thread = None
                    self._deferred, self._due = 0, False
                for _ in range(2):  # CPython raises pending exceptions where a loop jumps back
                    pass
            except TaskInterrupted:
                continue
            _here.call = None
            return

    def defer(self) -> None:
        """In its thread: raise no interrupts until `resume`. May be nested.

        Raises:
            TaskInterrupted: one was pending. Then interrupts are not deferred.
        """
        before = self._deferred
        try:
            if before:
                self._deferred = before + 1
                return
            with _changes:
                self._deferred = 1
            for _ in range(2):  # as in `end`
                pass
        except TaskInterrupted:
            self._deferred = before
            raise

    def resume(self) -> None:
        """In its thread: raise interrupts again.

        Raises:
            TaskInterrupted: one was deferred.
        """
        if self._deferred > 1:
            self._deferred -= 1
            return
        with _changes:
            self._deferred = 0
            due, self._due = self._due, False
        if due:
            raise TaskInterrupted


def interruptible() -> Interruptible | None:
    """The interruptible call of this thread, or None."""
    return getattr(_here, "call", None)


def uninterrupted(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that interrupts are deferred until it has ended."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        call = interruptible()
        if call is None:
            return function(*args, **kwargs)
        call.defer()
        try:
            return function(*args, **kwargs)
        finally:
            call.resume()

    return run


def _in_forked_child() -> None:
    """Make a new lock, since another thread may have held it. No thread interrupts in this process."""
    global _changes
    _changes = threading.Lock()
    _here.call = None


os.register_at_fork(after_in_child=_in_forked_child)


_once = threading.Lock()
_done = False


def spare_locks() -> None:
    """Defer interrupts in this process while their thread logs or imports a module.

    Up to Python 3.12 `logging` takes its locks by `acquire` and `release`. In all versions, code of handlers (queues,
    exporters) and imports do so too.
    """
    global _done
    machinery: Any = importlib._bootstrap
    locks = getattr(machinery, "_ModuleLockManager", None)
    with _once:
        if _done:
            return
        _done = True
        for owner, name, wrap in (
            (logging.Logger, "handle", uninterrupted),
            (logging.Handler, "acquire", _deferring),
            (logging.Handler, "release", _resuming),
            (logging, "_acquireLock", _deferring),  # up to 3.12
            (logging, "_releaseLock", _resuming),
            (locks, "__enter__", _deferring),
            (locks, "__exit__", _freeing),
            (machinery, "_lock_unlock_module", uninterrupted),
        ):
            if (function := getattr(owner, name, None)) is not None:
                setattr(owner, name, wrap(function))
        sys.unraisablehook = _not_losing(sys.unraisablehook)


def _deferring(acquire: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(acquire)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        call = interruptible()
        if call is None:
            return acquire(*args, **kwargs)
        call.defer()
        try:
            return acquire(*args, **kwargs)
        except BaseException:
            call.resume()
            raise

    return run


def _resuming(release: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(release)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return release(*args, **kwargs)
        finally:
            if (call := interruptible()) is not None:
                call.resume()

    return run


def _freeing(leave: Callable[..., None]) -> Callable[..., None]:
    """Wrap the end of `importlib`'s use of a module's lock: the lock is freed before interrupts are resumed."""

    def leave_and_free(manager: Any, *exception: Any) -> None:
        leave(manager, *exception)
        manager._lock = None

    return _resuming(leave_and_free)


def _not_losing(report: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for exceptions that Python ignores, as in `__del__` and in callbacks of weak references."""

    def hook(unraisable: Any) -> None:
        call = interruptible()
        if call is not None and unraisable.exc_type is TaskInterrupted:
            call.lost()
        else:
            report(unraisable)

    return hook
