"""Which records of an invocation may still start."""

from __future__ import annotations

import asyncio

from ..core.clock import Clock
from ..engine.plan import CompiledTask
from .loop import IdleSelector

UNTIMED_NEED_SECONDS = 1.0
"""Time that must remain before the margin to start a record whose task has no timeout."""

LOAD_CHECK_SECONDS = 0.005
"""Pause between two measurements of the load of a saturated loop."""


class StartLimits:
    """Limits the starts of one invocation's records: the time that remains, and the load of the event loop.

    Args:
        cutoff: epoch seconds at which work must have ended, or None: then nothing is refused.
        selector: that of the running loop, or None: then its load is not known.

    Attributes:
        longest_entry: seconds of the longest way of a record so far, from its start to its function.
        async_running: async tasks that have entered their functions and not ended.
        waiting: records that wait until the loop is less busy.
        entering: lets them enter in order.
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
        """True if one more async task would only take turns with the running ones: at the cutoff all would be cut."""
        return self.async_running > 0 and self._selector is not None and self._selector.is_saturated()


class RecordStart:
    """A :class:`~taskq_sls.engine.executor.StartControl` for one record.

    Args:
        first: True for the first record of a batch, which starts while any time is left.

    Attributes:
        running: True if it has entered an async function; call `end` then.
    """

    __slots__ = ("_first", "_limits", "_started_at", "running")

    def __init__(self, limits: StartLimits, first: bool) -> None:
        self._limits = limits
        self._first = first
        self._started_at = 0.0
        self.running = False

    def may_start(self, plan: CompiledTask) -> bool:
        limits = self._limits
        if limits.cutoff is None:
            return True
        self._started_at = now = limits.clock.time()
        if self._first:
            return now < limits.cutoff
        # Records that started earlier have shown how long the claim and a busy loop delay an attempt.
        return limits.cutoff - now - limits.longest_entry >= _need(plan)

    def may_enter(self, plan: CompiledTask) -> bool:
        limits = self._limits
        if limits.cutoff is None:
            return True
        if plan.is_async and (limits.waiting or limits.is_saturated()):
            return False
        return self._enter(plan, limits.clock.time())

    async def wait_to_enter(self, plan: CompiledTask) -> bool:
        limits = self._limits
        limits.waiting += 1
        try:
            async with limits.entering:
                # Nothing signals that the loop has had a pause.
                while plan.is_async and limits.is_saturated() and self._has_time(plan, limits.clock.time()):  # noqa: ASYNC110
                    await asyncio.sleep(LOAD_CHECK_SECONDS)
        finally:
            limits.waiting -= 1
        return self._enter(plan, limits.clock.time())

    def _enter(self, plan: CompiledTask, now: float) -> bool:
        limits = self._limits
        if now - self._started_at > limits.longest_entry:
            limits.longest_entry = now - self._started_at
        if not self._has_time(plan, now):
            return False
        if plan.is_async:
            self.running = True
            limits.async_running += 1
        return True

    def end(self) -> None:
        """The async task that was entered has ended."""
        self._limits.async_running -= 1

    def _has_time(self, plan: CompiledTask, now: float) -> bool:
        cutoff = self._limits.cutoff
        return cutoff is None or (now < cutoff if self._first else cutoff - now >= _need(plan))


def _need(plan: CompiledTask) -> float:
    timeout = plan.options.timeout
    return UNTIMED_NEED_SECONDS if timeout is None else timeout
