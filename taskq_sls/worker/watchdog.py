"""Watches a worker's event loop and heartbeat from a thread that takes no lock and logs nothing.

While the heartbeat runs, no other worker gets the messages of this one. So a loop that no longer turns must be noticed.
It may wait for the lock of a logging handler that an interrupted thread left locked, for a pipe without a reader, or
for a callback that does not return.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from ..core.context import _current
from ..core.forced_end import EXIT_SECONDS, exit_after, write_line
from ..engine.attempt import Attempt
from .heartbeat import Heartbeat
from .worker_process import STUCK

CHECK_SECONDS = 0.5
"""Seconds between two checks."""

MAX_STALLED_TIMEOUTS = 3
"""Visibility timeouts after which a worker ends whose loop does not turn."""

RELEASE_SECONDS = 5.0
"""Time that the heartbeat may take to return the messages to their queues."""

_LOGGER = "taskq_sls.worker"


class Watchdog:
    """Ends a worker whose event loop has not turned for three visibility timeouts, time in a task's code excluded.

    Its messages are returned to their queues, its leases end by themselves, and the stacks of all threads are written
    to stderr. A worker whose heartbeat waits as long inside one call of `logging` is stopped cleanly.

    Args:
        visibility: the shortest visibility timeout of the queues, in seconds.
        ask_to_end: stops the worker cleanly; called on the loop's thread, as soon as the loop turns.
        ends_process: end the process, which is the worker's own. If False, the worker ends when its loop turns again.
    """

    def __init__(
        self,
        watch: LoopWatch,
        heartbeat: Heartbeat,
        visibility: float,
        ask_to_end: Callable[[], object],
        ends_process: bool,
    ) -> None:
        self._watch = watch
        self._heartbeat = heartbeat
        self._visibility = visibility
        self._ask_to_end = ask_to_end
        self._ends_process = ends_process
        self._stopped = self._stalled = False
        self._beat_call: FrameType | None = None
        self._beat_stalled = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="taskq-watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the checks. Returns at once."""
        self._stopped = True

    @property
    def live(self) -> bool:
        """True if the loop turns, or runs a task's own code."""
        return not self._stalled and self._watch.stalled < self._visibility

    def _run(self) -> None:
        checked_at = time.monotonic()
        while not self._stopped:
            time.sleep(CHECK_SECONDS)
            now = time.monotonic()
            # The dictionary of attempts may change while it is read.
            with contextlib.suppress(RuntimeError):
                self._watch.check(now)
            if self._watch.stalled >= MAX_STALLED_TIMEOUTS * self._visibility and not self._stopped:
                self._end_worker()
                return
            self._check_heartbeat(min(now - checked_at, 2 * CHECK_SECONDS))
            checked_at = now

    def _end_worker(self) -> None:
        self._stalled = True
        if self._ends_process:
            exit_after(RELEASE_SECONDS + EXIT_SECONDS, STUCK)
        write_line(
            f"the event loop has not turned for {self._watch.stalled:.0f} s, and no task's own code runs there: "
            "this worker returns its messages to their queues and ends",
            action="worker_stalled",
            logger=_LOGGER,
            with_stacks=True,
        )
        self._heartbeat.stop_and_release()
        if not self._ends_process:
            self._watch.call_soon(self._ask_to_end)
            return
        until = time.monotonic() + RELEASE_SECONDS
        while not self._heartbeat.ended and time.monotonic() < until:
            time.sleep(0.02)
        os._exit(STUCK)

    def _check_heartbeat(self, elapsed: float) -> None:
        call = log_call(self._heartbeat.thread)
        same_call = call is not None and call is self._beat_call
        self._beat_call = call
        self._beat_stalled = self._beat_stalled + elapsed if same_call else 0.0
        if self._beat_stalled >= MAX_STALLED_TIMEOUTS * self._visibility:
            self._beat_stalled = 0.0
            write_line(
                "the heartbeat waits inside a call of logging: this worker stops",
                action="heartbeat_stalled",
                logger=_LOGGER,
                with_stacks=True,
            )
            self._watch.call_soon(self._ask_to_end)


MAX_COUNTED_SECONDS = 2.0
"""Most time that one check counts: the loop of a process that was suspended for an hour was not blocked for an hour."""

BLOCKED_SECONDS = 5.0
"""If the loop has not turned for this long, missing polls are due to it, not to SQS."""

_PACKAGE = str(Path(__file__).parents[1]) + "/"
_LOGGING = logging.__file__
_HANDLE = asyncio.Handle._run.__code__


class LoopWatch:
    """Measures for how long an event loop has not turned while it runs no code of a task.

    Made on the loop's thread; `check` is called on another one. Takes no lock.

    Args:
        running: the running attempts.

    Attributes:
        stalled: seconds that the loop has not turned, time in a task's code excluded.
        blocked_until: when the loop was last found blocked for `BLOCKED_SECONDS` or more, by the monotonic clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Callable[[], Collection[Attempt]]) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._running = running
        self._turned = True
        self._checked_at = self._turned_at = time.monotonic()
        self._log_call: FrameType | None = None
        self.stalled = 0.0
        self.blocked_until = 0.0

    def check(self, now: float) -> None:
        """Check if the loop has turned since the last check (monotonic `now`)."""
        elapsed, self._checked_at = min(now - self._checked_at, MAX_COUNTED_SECONDS), now
        if self._turned:
            self._turned, self._turned_at = False, now
            self.stalled, self._log_call = 0.0, None
            try:
                self._loop.call_soon_threadsafe(self._note_turn)
            except RuntimeError:  # the loop is closed
                self._turned = True
            return
        if now - self._turned_at >= BLOCKED_SECONDS:
            self.blocked_until = now
        in_task, log_call = self._place()
        # A task may log as often as it likes. A single call that does not end waits for a lock or for stderr.
        same_call = log_call is not None and log_call is self._log_call
        self._log_call = log_call
        self.stalled = 0.0 if in_task and not same_call else self.stalled + elapsed

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function on the loop's thread, as soon as the loop turns."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    def _note_turn(self) -> None:
        self._turned = True

    def _place(self) -> tuple[bool, FrameType | None]:
        """If the loop is inside the code of a task, and the call of `logging` made there."""
        task = asyncio.current_task(self._loop)
        running = list(self._running())
        if task is None or not running:  # a callback, or idle
            return False, None
        coroutine: Any = task.get_coro()
        outermost = getattr(coroutine, "cr_frame", None)
        frames = _frames(sys._current_frames().get(self._thread), outermost)
        if not frames or frames[0] is not outermost:  # not a Python coroutine: it has no frames
            return True, None
        if not _is_of_attempt(task, frames[0], running):
            return False, None
        entered = False
        for frame in frames:
            file = frame.f_code.co_filename
            if file.startswith(_PACKAGE):
                continue
            if file == _LOGGING:
                return entered, frame if entered else None
            entered = True
        return entered, None


def log_call(thread: int | None) -> FrameType | None:
    """The call of `logging` that a thread is inside of, or None."""
    frames = _frames(sys._current_frames().get(thread or 0), None)
    return next((frame for frame in frames if frame.f_code.co_filename == _LOGGING), None)


def _frames(innermost: FrameType | None, outermost: FrameType | None) -> list[FrameType]:
    """The frames from `outermost` inwards; from the thread's first frame if `outermost` is None or not among them."""
    frames = []
    while innermost is not None:
        frames.append(innermost)
        if innermost is outermost:
            break
        innermost = innermost.f_back
    return frames[::-1]


def _is_of_attempt(task: asyncio.Task[Any], outermost: FrameType, running: Collection[Attempt]) -> bool:
    """True if an attempt runs in `task`, or created it: a created task inherits the context variables."""
    if any(attempt.execution.asyncio_task is task for attempt in running):
        return True
    variables: contextvars.Context | None = None
    if sys.version_info >= (3, 12):
        variables = task.get_context()
    elif outermost.f_back is not None and outermost.f_back.f_code is _HANDLE:
        variables = outermost.f_back.f_locals["self"]._context
    if variables is None:  # another kind of event loop, with Python 3.11
        return True
    current = variables.get(_current)
    return any(attempt.context is current for attempt in running)
