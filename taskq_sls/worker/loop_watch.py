"""Checks from another thread if the event loop turns, and if not, what its thread is doing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

from ..core.context import TaskContext, _current

MAX_COUNTED = 2.0
"""Seconds that one look adds at most: a process that was stopped for an hour has not stood still for an hour."""

BLOCKED_SECONDS = 5.0
"""Seconds without a turn after which missing polls are due to the blocked loop, not to SQS."""

_PACKAGE = str(Path(__file__).parents[1]) + "/"
_LOGGING = logging.__file__
_HANDLE = asyncio.Handle._run.__code__


class LoopWatch:
    """Counts how long an event loop has not turned while no task's own code runs there.

    To be made on the loop's thread; `look` belongs to another one. It takes no lock.

    Args:
        running: the attempts under way.

    Attributes:
        stalled: seconds that the loop has not turned, without those inside a task's own code.
        blocked_until: when the loop was last seen blocked for `BLOCKED_SECONDS` or more, by the monotonic clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Callable[[], Collection[TaskContext]]) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._running = running
        self._turned = True
        self._looked = self._turned_at = time.monotonic()
        self._log_call: FrameType | None = None
        self.stalled = 0.0
        self.blocked_until = 0.0

    def look(self, now: float) -> None:
        """See whether the loop has turned since the last look (monotonic `now`)."""
        elapsed, self._looked = min(now - self._looked, MAX_COUNTED), now
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
        # A task may log as often as it likes; one call that goes on and on waits for a lock or for stderr.
        same_call = log_call is not None and log_call is self._log_call
        self._log_call = log_call
        self.stalled = 0.0 if in_task and not same_call else self.stalled + elapsed

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the loop call a function, as soon as it turns."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    def _note_turn(self) -> None:
        self._turned = True

    def _place(self) -> tuple[bool, FrameType | None]:
        """True if the loop is inside a task's own code, and the call of `logging` that this code has made."""
        task = asyncio.current_task(self._loop)
        running = list(self._running())
        if task is None or not running:  # a callback, or nobody's code
            return False, None
        coroutine: Any = task.get_coro()
        outermost = getattr(coroutine, "cr_frame", None)
        frames = _frames(sys._current_frames().get(self._thread), outermost)
        if not frames or frames[0] is not outermost:  # no coroutine of Python's own: nothing can be seen
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
    """From `outermost` inwards; from the thread's first frame where it is None or not there."""
    frames = []
    while innermost is not None:
        frames.append(innermost)
        if innermost is outermost:
            break
        innermost = innermost.f_back
    return frames[::-1]


def _is_of_attempt(task: asyncio.Task[Any], outermost: FrameType, running: Collection[TaskContext]) -> bool:
    """True if an attempt runs in `task`, or made it: tasks that code creates inherit its context variables."""
    if any(context._task is task for context in running):
        return True
    variables: contextvars.Context | None = None
    if sys.version_info >= (3, 12):
        variables = task.get_context()
    elif outermost.f_back is not None and outermost.f_back.f_code is _HANDLE:
        variables = outermost.f_back.f_locals["self"]._context
    if variables is None:  # another kind of event loop, with Python 3.11
        return True
    current = variables.get(_current)
    return any(context is current for context in running)
