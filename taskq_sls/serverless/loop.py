"""The event loop of a Lambda container, and the limits of starts on it."""

from __future__ import annotations

import asyncio
import logging
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..core.clock import Clock
from ..engine.attempt import CompiledTask

logger = logging.getLogger("taskq_sls.serverless")

T = TypeVar("T")

BUSY_SECONDS = 0.005
"""Time without an idle moment after which the loop counts as saturated."""


class IdleSelector(selectors.DefaultSelector):
    """Records when the event loop was last idle.

    CPU time would not show this: a container with a share of a CPU, or a thread that waits for the GIL, uses little.
    """

    def __init__(self) -> None:
        super().__init__()
        self._idle_until = time.monotonic()

    def select(self, timeout: float | None = None) -> list[tuple[Any, Any]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        ready = super().select(timeout)
        self._idle_until = time.monotonic()
        return ready

    def is_saturated(self) -> bool:
        """True if the loop has not been idle for `BUSY_SECONDS`."""
        return time.monotonic() - self._idle_until >= BUSY_SECONDS


def new_event_loop() -> tuple[asyncio.AbstractEventLoop, IdleSelector | None]:
    """A new event loop and its selector. For another kind of loop (uvloop), the selector is None."""
    loop = asyncio.new_event_loop()
    if type(loop) is not asyncio.SelectorEventLoop:
        return loop, None
    loop.close()
    selector = IdleSelector()
    return asyncio.SelectorEventLoop(selector), selector


def run_to_end(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Do as ``loop.run_until_complete(coroutine)`` does, although other coroutines and callbacks may exit.

    asyncio raises SystemExit and KeyboardInterrupt out of the loop, whichever task or callback they come from. When the
    loop runs on, they reach the code that awaits, usually an attempt. The other records are not affected.
    """
    main = loop.create_task(coroutine)
    while True:
        try:
            return loop.run_until_complete(main)
        except (SystemExit, KeyboardInterrupt) as error:
            if main.done():
                raise
            logger.error(
                "%s was raised in a coroutine or callback of a task",
                type(error).__name__,
                exc_info=error,
                extra={"action": "exit_in_loop"},
            )


UNTIMED_NEED_SECONDS = 1.0
"""Time that must remain before the margin to start a task without a timeout."""

LOAD_CHECK_SECONDS = 0.005
"""Pause between two measurements of the load of a saturated loop."""


class StartLimits:
    """Limits the starts of records in one invocation by the remaining time and the load of the event loop.

    Args:
        cutoff: epoch seconds at which work must have ended. None: every record may start.
        selector: the selector of the running loop. None: its load is not known.

    Attributes:
        longest_entry: the longest time so far, in seconds, from the start of a record to that of its function.
        async_running: async functions that run.
        waiting: records that wait until the loop is less busy.
        entering: lets waiting records enter in order.
    """

    def __init__(self, clock: Clock, cutoff: float | None, selector: IdleSelector | None = None) -> None:
        self.clock = clock
        self.cutoff = cutoff
        self.longest_entry = 0.0
        self.async_running = 0
        self.waiting = 0
        self.entering = asyncio.Lock()
        self._selector = selector

    def is_saturated(self) -> bool:
        """True if one more async task would only slow the running ones down: at the cutoff all would be stopped."""
        return self.async_running > 0 and self._selector is not None and self._selector.is_saturated()


class RecordStart:
    """A :class:`~taskq_sls.engine.executor.StartControl` for one record.

    Args:
        first: True for the first record of a batch, which starts if any time is left.

    Attributes:
        running: True while its async function runs. Then `end` must be called.
    """

    __slots__ = ("_first", "_limits", "_started_at", "running")

    def __init__(self, limits: StartLimits, first: bool) -> None:
        self._limits = limits
        self._first = first
        self._started_at = 0.0
        self.running = False

    def may_start(self, task: CompiledTask) -> bool:
        limits = self._limits
        if limits.cutoff is None:
            return True
        self._started_at = now = limits.clock.time()
        if self._first:
            return now < limits.cutoff
        # Earlier records have shown how long the claim and a busy loop delay a start.
        return limits.cutoff - now - limits.longest_entry >= _seconds_needed(task)

    def may_enter(self, task: CompiledTask) -> bool:
        limits = self._limits
        if limits.cutoff is None:
            return True
        if task.is_async and (limits.waiting or limits.is_saturated()):
            return False
        return self._enter(task, limits.clock.time())

    async def wait_to_enter(self, task: CompiledTask) -> bool:
        limits = self._limits
        limits.waiting += 1
        try:
            async with limits.entering:
                # There is no signal for a pause of the loop.
                while task.is_async and limits.is_saturated() and self._has_time(task, limits.clock.time()):  # noqa: ASYNC110
                    await asyncio.sleep(LOAD_CHECK_SECONDS)
        finally:
            limits.waiting -= 1
        return self._enter(task, limits.clock.time())

    def _enter(self, task: CompiledTask, now: float) -> bool:
        limits = self._limits
        if now - self._started_at > limits.longest_entry:
            limits.longest_entry = now - self._started_at
        if not self._has_time(task, now):
            return False
        if task.is_async:
            self.running = True
            limits.async_running += 1
        return True

    def end(self) -> None:
        """Count the end of the async function."""
        self._limits.async_running -= 1

    def _has_time(self, task: CompiledTask, now: float) -> bool:
        cutoff = self._limits.cutoff
        return cutoff is None or (now < cutoff if self._first else cutoff - now >= _seconds_needed(task))


def _seconds_needed(task: CompiledTask) -> float:
    timeout = task.options.timeout
    return UNTIMED_NEED_SECONDS if timeout is None else timeout
