"""How shared code waits and fans out, with and without an event loop.

All logic above the AWS port is written once, as coroutines that await nothing but a client call
and the two methods here. Driven by :func:`drive` over blocking implementations such a coroutine
never suspends, so a sync caller needs neither a loop nor a background thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from ..errors import SuspendedError
from .clock import Clock

T = TypeVar("T")
U = TypeVar("U")


class Flow(Protocol):
    """Waiting and fan-out for code that must run in both worlds."""

    async def sleep(self, seconds: float) -> None: ...

    async def map(self, fn: Callable[[T], Awaitable[U]], items: Sequence[T], limit: int) -> list[U]:
        """``[await fn(item) for item in items]``, up to `limit` at a time, answers in order."""
        ...


class AsyncFlow:
    """On an event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def map(self, fn: Callable[[T], Awaitable[U]], items: Sequence[T], limit: int) -> list[U]:
        if len(items) == 1:
            return [await fn(items[0])]
        gate = asyncio.Semaphore(limit)

        async def one(item: T) -> U:
            async with gate:
                return await fn(item)

        return list(await asyncio.gather(*(one(item) for item in items)))


class BlockingFlow:
    """In a thread without a loop: never suspends. Fan-out uses threads that end with the call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.block(seconds)

    async def map(self, fn: Callable[[T], Awaitable[U]], items: Sequence[T], limit: int) -> list[U]:
        if len(items) <= 1 or limit <= 1:
            return [await fn(item) for item in items]
        # Each with a copy of the caller's context variables, as a task on an event loop has.
        waiting = deque((index, item, contextvars.copy_context()) for index, item in enumerate(items))
        answers: dict[int, U] = {}
        failures: dict[int, BaseException] = {}

        def work() -> None:
            while True:
                try:
                    index, item, context = waiting.popleft()
                except IndexError:
                    return
                try:
                    answers[index] = context.run(drive, _await(fn(item)))
                except BaseException as error:
                    failures[index] = error
                    waiting.clear()

        # No executor of the standard library, which refuses work once the main thread has ended (`atexit`, threads
        # that outlive it). The caller works too, so that it goes on where no thread can be started any more.
        helpers: list[threading.Thread] = []
        try:
            for _ in range(min(limit, len(items)) - 1):
                helper = threading.Thread(target=work, name="taskq-map")
                try:
                    helper.start()
                except RuntimeError:
                    break
                helpers.append(helper)
            work()
        finally:
            waiting.clear()
            for helper in helpers:
                helper.join()
        if failures:
            raise failures[min(failures)]
        return [answers[index] for index in range(len(items))]


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end and return its value.

    It runs in a copy of the caller's context, so context variables set inside do not leak.

    Raises:
        SuspendedError: it tried to wait for an event loop; the message names the function that did.
    """
    try:
        waiting_for = contextvars.copy_context().run(coroutine.send, None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise _suspended(coroutine, waiting_for)


def _suspended(coroutine: Coroutine[Any, Any, Any], waiting_for: object) -> SuspendedError:
    """Close a coroutine that waits for an event loop. Returns the error to raise."""
    name = innermost(coroutine)
    coroutine.close()
    if asyncio.isfuture(waiting_for):
        waiting_for.cancel()
    return SuspendedError(
        f"{name} awaited something that needs an event loop, inside a synchronous call; "
        "use the async form of the call (the name with an 'a' in front), or do not wait there"
    )


def innermost(coroutine: Any) -> str:
    """The qualified name of the deepest coroutine written in Python that is waiting."""
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    while (coroutine := getattr(coroutine, "cr_await", None)) is not None:
        if (code := getattr(coroutine, "cr_code", None)) is not None and "asyncio" not in code.co_filename:
            name = coroutine.__qualname__
    return name


@functools.cache
def warn_on_loop(api: str) -> None:
    """Warn, once per sync name, that it is called on a running event loop's thread."""
    import warnings

    warnings.warn(
        f"{api}() blocks the running event loop while it talks to AWS; use a{api}() there",
        RuntimeWarning,
        stacklevel=4,
    )


def call_sync(api: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """The one way a public sync method runs its coroutine."""
    if asyncio._get_running_loop() is not None:
        try:
            warn_on_loop(api)
        except BaseException:
            coroutine.close()
            raise
    # As `drive`, whose frame this saves: every frame is a line in the tracebacks that users read.
    try:
        waiting_for = contextvars.copy_context().run(coroutine.send, None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise _suspended(coroutine, waiting_for)
