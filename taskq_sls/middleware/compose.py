"""The execute onion: hooks and function composed into one coroutine function, once per task.

Each layer is either a coroutine function or a plain one. Plain layers that lie on each other share one
thread; where a plain layer has a coroutine inside, its ``call_next`` runs that on the event loop and waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import CoroutineType
from typing import Any, Protocol

from ..core.context import TaskContext
from .base import Middleware, overrides

Layer = Callable[[TaskContext], Any]
Onion = Callable[[TaskContext], Awaitable[Any]]

INTERRUPT_CHECK_SECONDS = 0.2
"""Seconds after which a thread that waits for the event loop can be interrupted."""


class ThreadRunner(Protocol):
    """Runs a plain function in a thread, with the caller's context variables."""

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any: ...

    async def run_waiting(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """The same for a function that waits for others which run here."""


def compose(function: Layer, is_async: bool, middlewares: Sequence[Middleware], threads: ThreadRunner) -> Onion:
    """Wrap `function` in the execute hooks of `middlewares`, the first one outermost."""
    layer, layer_is_async = function, is_async
    for middleware in reversed(middlewares):
        if overrides(middleware, "execute"):
            layer, layer_is_async = _wrap(middleware.execute, layer, layer_is_async, threads)
    return layer if layer_is_async else _in_thread(layer, threads)


def _wrap(hook: Callable[..., Any], inner: Layer, inner_is_async: bool, threads: ThreadRunner) -> tuple[Layer, bool]:
    if inspect.iscoroutinefunction(hook):
        call_next = inner if inner_is_async else _in_thread(inner, threads)

        def around(context: TaskContext) -> Any:
            return hook(context, call_next)

        return around, True
    if not inner_is_async:

        def inside(context: TaskContext) -> Any:
            result = inner(context)
            return _wait_in_thread(result, context) if type(result) is CoroutineType else result

        return lambda context: hook(context, inside), False

    def with_loop(context: TaskContext, loop: asyncio.AbstractEventLoop) -> Any:
        def call_next(context: TaskContext) -> Any:
            value, error = asyncio.run_coroutine_threadsafe(_to_the_end(inner, context), loop).result()
            if error is not None:
                raise error
            return value

        return hook(context, call_next)

    async def bridged(context: TaskContext) -> Any:
        return await threads.run_waiting(with_loop, context, asyncio.get_running_loop())

    return bridged, True


def _in_thread(layer: Layer, threads: ThreadRunner) -> Layer:
    async def start(context: TaskContext) -> Any:
        result = await threads.run(layer, context)
        # A plain function returns a coroutine where a plain decorator hides an async one.
        return await result if type(result) is CoroutineType else result

    return start


def _wait_in_thread(coroutine: Coroutine[Any, Any, Any], context: TaskContext) -> Any:
    """The value of a coroutine that runs on the attempt's event loop. An interrupt of this thread cancels it."""
    task = context._execution.asyncio_task
    assert task is not None
    running = asyncio.run_coroutine_threadsafe(_to_the_end(lambda _: coroutine, context), task.get_loop())
    try:
        while not running.done():
            # In short waits, since an interrupt reaches a thread only between them.
            concurrent.futures.wait([running], INTERRUPT_CHECK_SECONDS)
        value, error = running.result()
    except BaseException:
        running.cancel()
        raise
    if error is not None:
        raise error
    return value


async def _to_the_end(inner: Layer, context: TaskContext) -> tuple[Any, BaseException | None]:
    """The result or the exception of `inner`, as values, since a SystemExit raised in a task would end its event loop."""
    # The thread outside cannot be interrupted while it waits: a stop must reach the code that runs.
    execution = context._execution
    outer, execution.asyncio_task = execution.asyncio_task, asyncio.current_task()
    try:
        return await inner(context), None
    except BaseException as error:
        return None, error
    finally:
        execution.asyncio_task = outer
