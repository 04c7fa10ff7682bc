"""The execute onion: hooks and function composed into one coroutine function, once per task.

Each layer is either a coroutine function or a plain one. Plain layers that lie on each other share one
thread; where a plain layer has a coroutine inside, its ``call_next`` runs that on the event loop and waits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from ..context import TaskContext
from .base import Middleware, overrides

Layer = Callable[[TaskContext], Any]
Onion = Callable[[TaskContext], Awaitable[Any]]


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
        return lambda context: hook(context, inner), False

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
    def start(context: TaskContext) -> Any:
        return threads.run(layer, context)

    return start


async def _to_the_end(inner: Layer, context: TaskContext) -> tuple[Any, BaseException | None]:
    """What `inner` returned or raised. As a value, since a task that ends with SystemExit takes its loop along."""
    # The thread outside cannot be interrupted while it waits: a stop must reach the code that runs.
    outer, context._task = context._task, asyncio.current_task()
    try:
        return await inner(context), None
    except BaseException as error:
        return None, error
    finally:
        context._task = outer
