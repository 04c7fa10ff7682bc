"""Locks of Python itself that an interrupt must not leave taken: those of `logging` and of imports."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .interrupts import TaskInterrupted, interruptible, uninterrupted

P = ParamSpec("P")
T = TypeVar("T")

_once = threading.Lock()
_done = False


def spare_locks() -> None:
    """From now on, in this process: interrupts wait until a call of `logging` or an import in their thread is over.

    Up to Python 3.12 `logging` takes its locks by `acquire` and `release`; in all versions its handlers call code that
    does (queues, exporters, whatever the handler is made of), and imports hold the locks of modules so.
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
    """The end of `importlib`'s use of a module's lock: what it does when the lock is freed is over before `resume`."""

    def leave_and_free(manager: Any, *exception: Any) -> None:
        leave(manager, *exception)
        manager._lock = None

    return _resuming(leave_and_free)


def _not_losing(report: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for exceptions that Python ignores, as in `__del__` and callbacks of weak references."""

    def hook(unraisable: Any) -> None:
        call = interruptible()
        if call is not None and unraisable.exc_type is TaskInterrupted:
            call.lost()
        else:
            report(unraisable)

    return hook
