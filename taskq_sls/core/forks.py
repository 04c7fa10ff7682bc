"""Processes that a task forks: their signal handlers and their end. They must not go on as the worker does."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

generation = 0
"""Differs between a process and those that it forks. Asking for the process id is a system call."""


def end_fork(error: BaseException | None) -> NoReturn:
    """End a forked process as a program ends, by itself or with an exception. No exit handler runs."""
    status = 0 if error is None else 1
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status & 0xFF)


_DEFAULTS: dict[int, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}

_reset: set[signal.Signals] = set()

_mask = threading.local()
"""`before`: the signals that were blocked in this thread before the fork."""


def reset_in_forks(*numbers: signal.Signals) -> Callable[[], None]:
    """Give processes that are forked from now on Python's default handlers of these signals (SIGTERM, SIGINT).

    Returns:
        A function that ends this.
    """
    _reset.update(numbers)
    return lambda: _reset.difference_update(numbers)


def _before() -> None:
    # Block them until the handlers are reset: a SIGTERM to the new process must not be lost in between.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _reset)


def _in_child() -> None:
    global generation
    generation += 1
    if _reset:
        signal.set_wakeup_fd(-1)
    for number in _reset:
        signal.signal(number, _DEFAULTS[number])
    _restore()


def _restore() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


os.register_at_fork(before=_before, after_in_child=_in_child, after_in_parent=_restore)
