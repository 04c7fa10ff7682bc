"""An event loop in which time passes only when nothing else is left to do.

Sleeps, timeouts and timers of asyncio all follow the one clock, so hours of a storm take seconds, and the same
seed gives the same order of events.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from taskq_sls.core.clock import ManualClock

T = TypeVar("T")


class VirtualClock(ManualClock):
    """A manual clock whose sleepers wait for each other: the loop moves it to the next of them."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait for a timeout: it moves the clock there."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits and no timer is set: the simulation would hang")
        self._clock.travel(max(0.0, timeout))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time is the clock's."""

    def __init__(self, clock: ManualClock) -> None:
        self._virtual_clock = clock
        super().__init__(_JumpingSelector(clock))
        # A timer is due when it is less than this away: at epoch seconds, the default is below what a float holds.
        self._clock_resolution = 1e-5

    def time(self) -> float:
        return self._virtual_clock.time()


def run_virtually(clock: ManualClock, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in the clock's time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(coroutine)
