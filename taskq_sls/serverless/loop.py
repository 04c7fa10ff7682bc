"""The event loop of a Lambda container."""

from __future__ import annotations

import asyncio
import logging
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

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
