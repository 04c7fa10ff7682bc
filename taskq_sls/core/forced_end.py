"""Ends the process although a lock may never be released: no code here logs, imports, or waits for a thread.

An interrupted thread can leave a lock locked for ever, for example that of a logging handler. A pipe without a reader
blocks every writer. Code that ends such a process must not depend on either.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from time import monotonic, sleep  # code of tasks may replace those of the module
from typing import NoReturn

WRITE_SECONDS = 1.0
"""Time that stderr may take to accept the next bytes. A pipe without a reader accepts none."""

EXIT_SECONDS = 3.0
"""Time after which the process ends although stderr blocks the writing thread."""

WRITE_BYTES = 512
"""Bytes of one write: so few that a writable pipe, socket or terminal accepts them without blocking."""

MAX_FRAMES = 50
"""Most frames that are written of each thread, the innermost first."""


def end_process(status: int, message: str, *, action: str, logger: str, with_stacks: bool = False) -> NoReturn:
    """Write a line to stderr and end the process at once, without flushing buffers or calling exit handlers.

    Args:
        status: exit status of the process.
        message: the reason.
        action: machine-readable name of the event.
        logger: name of the logger in the line.
        with_stacks: write the stacks of all threads too.
    """
    try:
        exit_after(EXIT_SECONDS, status)
        write_line(message, action=action, logger=logger, with_stacks=with_stacks)
    finally:
        os._exit(status)


def exit_after(seconds: float, status: int) -> None:
    """End the process after `seconds` from another thread, in case this one is blocked.

    If no thread can be started, SIGALRM ends it.
    """

    def wait() -> None:
        sleep(seconds)
        os._exit(status)

    try:
        _thread.start_new_thread(wait, ())
    except (RuntimeError, MemoryError):
        _alarm(seconds)


def write_line(message: str, *, action: str, logger: str, with_stacks: bool = False) -> None:
    """Write a critical event to stderr: text to a terminal, else one line of JSON. Then the stacks, as text.

    The rest is dropped if stderr accepts nothing for `WRITE_SECONDS`.
    """
    line = {
        "timestamp": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
        "level": "CRITICAL",
        "logger": logger,
        "message": message,
        "action": action,
    }
    text = f"CRITICAL {message}\n" if os.isatty(2) else json.dumps(line) + "\n"
    if with_stacks:
        text += stacks()
    _write(text.encode(errors="replace"))


def stacks() -> str:
    """The stacks of all threads. Without source lines, which would have to be read from files."""
    # The dictionary itself: `threading.enumerate` takes a lock.
    threads = dict(getattr(threading, "_active", {}))
    text = []
    for ident, frame in sys._current_frames().items():
        name = threads[ident].name if ident in threads else "unknown"
        text.append(f"Thread {ident} ({name}), most recent call first:")
        inner, count = frame, 0
        while inner is not None and count < MAX_FRAMES:
            code = inner.f_code
            text.append(f'  File "{code.co_filename}", line {inner.f_lineno}, in {code.co_qualname}')
            inner, count = inner.f_back, count + 1  # type: ignore[assignment]  # typeshed: the last one is None
    return "\n".join(text) + "\n"


class ShutdownWatchdog:
    """Ends the process at a given time unless it is cancelled before.

    `arm` and `cancel` may be called anywhere, also in a signal handler. If no thread can be started, because a limit of
    threads or memory is reached, SIGALRM ends the process.

    Args:
        message: the reason, which is written at that time.
        action: machine-readable name of the event.
        logger: name of the logger in the line.
    """

    def __init__(self, message: str, *, action: str, logger: str) -> None:
        self._message = message
        self._action = action
        self._logger = logger
        self._at: float | None = None
        self._status = 1
        self._watched = self._alarmed = False

    @property
    def armed(self) -> bool:
        """True if the process will be ended."""
        return self._at is not None

    def arm(self, seconds: float, status: int = 1) -> None:
        """End the process after `seconds` with this status. If there are several calls, the earliest time counts."""
        self._status = status
        at = monotonic() + seconds
        self._at = at if self._at is None else min(at, self._at)
        if not self._watched:
            self._watched = True
            try:
                _thread.start_new_thread(self._watch, ())
            except (RuntimeError, MemoryError):
                self._watched = False
                self._alarmed = True
                _alarm(self._at - monotonic())

    def cancel(self) -> None:
        """Do not end the process."""
        self._at = None
        if self._alarmed:
            self._alarmed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _watch(self) -> None:
        while True:
            if (at := self._at) is None:
                self._watched = False
                if self._at is None:  # else `arm` was called in between
                    return
                self._watched = True
                continue
            left = at - monotonic()
            if left <= 0:
                end_process(self._status, self._message, action=self._action, logger=self._logger)
            sleep(min(left, 0.2))


def _alarm(seconds: float) -> None:
    """End the process by SIGALRM. Its handler can be reset in the main thread only."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))


def _write(data: bytes) -> None:
    try:
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        while data and poll.poll(WRITE_SECONDS * 1000):
            data = data[os.write(2, data[:WRITE_BYTES]) :]
    except OSError:  # closed, or without a reader
        return
