"""The end of a process that a task has forked: it is not the worker, and must not go on as if it were."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn


def end_fork(error: BaseException | None) -> NoReturn:
    """End this process as a program would that came to its end, by itself or with an exception. No exit handler runs."""
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
"""`before`: the signals that were blocked in this thread before it began to fork."""


def reset_in_forks(*numbers: signal.Signals) -> Callable[[], None]:
    """Give processes forked from now on Python's own handlers of these signals, SIGTERM and SIGINT.

    Returns:
        Ends it.
    """
    _reset.update(numbers)
    return lambda: _reset.difference_update(numbers)


def _before() -> None:
    # A SIGTERM that comes to the new process before its handlers are reset must not be lost.
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _reset)


def _in_child() -> None:
    if _reset:
        signal.set_wakeup_fd(-1)
    for number in _reset:
        signal.signal(number, _DEFAULTS[number])
    _restore()


def _restore() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


os.register_at_fork(before=_before, after_in_child=_in_child, after_in_parent=_restore)
