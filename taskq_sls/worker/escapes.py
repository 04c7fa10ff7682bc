"""Exceptions that asyncio raises out of the event loop, whichever task or callback they come from.

SystemExit and KeyboardInterrupt end the run of a loop at once: `sys.exit` in a gathered coroutine would end a worker
with everything that it holds. Here the loop is run again, so that they reach the code that awaits them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ..core.forked_ends import end_fork

logger = logging.getLogger("taskq_sls.worker")

AWAIT_SECONDS = 1.0
"""Seconds within which such an exception has to reach code that awaits it."""

MAX_BREAKS = 10
"""Exceptions of the event loop itself within `AWAIT_SECONDS` after which it is not run again: its selector was closed,
for example.
"""

T = TypeVar("T")


class Escapes:
    """Runs a coroutine to its end, over exceptions that end the loop's run before.

    Args:
        ask_to_end: called if no code awaits the coroutine or callback that raised.

    Attributes:
        unowned: whether that was so.
    """

    def __init__(self, ask_to_end: Callable[[], None]) -> None:
        self.unowned = False
        self._ask_to_end = ask_to_end
        self._open: list[tuple[BaseException, TracebackType | None]] = []

    def run(self, runner: asyncio.Runner, coroutine: Coroutine[Any, Any, T]) -> T:
        """``runner.run(coroutine)``.

        Raises:
            BaseException: whatever the coroutine itself raised.
        """
        main: asyncio.Task[T] | None = None

        async def noted() -> T:
            nonlocal main
            main = asyncio.current_task()
            return await coroutine

        process = os.getpid()
        try:
            result = runner.run(noted())
        except BaseException as error:
            if os.getpid() != process:
                end_fork(error)
            # Assigned in the coroutine, which mypy does not see.
            begun: asyncio.Task[T] | None = main
            result = self._go_on(runner.get_loop(), begun, error)
        self._decide()
        return result

    def _go_on(self, loop: asyncio.AbstractEventLoop, main: asyncio.Task[T] | None, error: BaseException) -> T:
        breaks: deque[float] = deque(maxlen=MAX_BREAKS)
        while main is not None and not main.done():
            if isinstance(error, Exception):  # of the loop itself, or of a signal handler
                breaks.append(time.monotonic())
                if len(breaks) == MAX_BREAKS and breaks[-1] - breaks[0] < AWAIT_SECONDS:
                    raise error
            # Code that awaits the one that raised, such as an attempt, gets the exception when the loop goes on.
            self._open.append((error, error.__traceback__))
            loop.call_later(AWAIT_SECONDS, self._decide)
            try:
                return loop.run_until_complete(main)
            except BaseException as another:
                error = another
        self._decide()
        raise error

    def _decide(self) -> None:
        found, self._open = self._open, []
        for error, traceback in found:
            if error.__traceback__ is not traceback:  # it was raised again by an await
                continue
            logger.error(
                "%s was raised in the event loop by code that nothing awaits: a created task or a callback",
                type(error).__name__,
                exc_info=error,
                extra={"action": "worker_fault"},
            )
            if isinstance(error, SystemExit | KeyboardInterrupt):
                self.unowned = True
                self._ask_to_end()
