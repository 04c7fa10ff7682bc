"""The execute onion: hooks and function composed into one coroutine function, once per task.

Async hooks lie outside. Plain hooks lie directly around a plain function, and share its thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType
from typing import Any, Protocol

from ..core.context import TaskContext
from ..errors import ConfigError
from .base import Middleware, overrides
from .time_limit import TimeLimit

Layer = Callable[[TaskContext], Any]
Onion = Callable[[TaskContext], Awaitable[Any]]


class ThreadRunner(Protocol):
    """Runs a plain function in a thread, with the caller's context variables."""

    async def run(self, function: Callable[..., Any], /, *args: Any) -> Any: ...


def check_hooks(where: str, function: str | None, middlewares: Sequence[Middleware]) -> None:
    """Refuse a plain execute hook around a coroutine: its thread could not wait for it.

    Args:
        function: a description of the innermost coroutine; None for a plain function that runs in a thread.

    Raises:
        ConfigError: a hook inside a plain one is async, or the function is.
    """
    inner = function
    for middleware in reversed(middlewares):
        name = type(middleware).__name__
        if not overrides(middleware, "execute"):
            continue
        if _is_async(middleware):
            inner = f"the async hook of {name} is inside it"
        elif inner is not None:
            raise ConfigError(
                f"{where}: the execute hook of middleware {name} is a plain function, and {inner}. Make it `async def "
                "execute` with `await call_next(context)`: such a hook wraps async and sync tasks. Call blocking code "
                "in it by `await asyncio.to_thread(...)`"
            )


def compose(
    function: Layer, is_async: bool, middlewares: Sequence[Middleware], threads: ThreadRunner, *, timed: bool = False
) -> Onion:
    """Wrap `function` in the execute hooks of `middlewares`, the first one outermost. `check_hooks` has passed them.

    Args:
        timed: add the time limit, as the innermost async hook.
    """
    layer = function
    hooks = [middleware for middleware in middlewares if overrides(middleware, "execute")]
    if not is_async:
        while hooks and not _is_async(hooks[-1]):
            plain = hooks.pop()
            layer = _around(plain, _without_coroutine(layer, plain))
        layer = _in_thread(layer, threads)
    if timed:
        hooks.append(TimeLimit())
    for middleware in reversed(hooks):
        layer = _around(middleware, layer)
    return layer


def _is_async(middleware: Middleware) -> bool:
    return inspect.iscoroutinefunction(middleware.execute)


def _around(middleware: Middleware, call_next: Layer) -> Layer:
    hook = middleware.execute
    return lambda context: hook(context, call_next)


def _in_thread(layer: Layer, threads: ThreadRunner) -> Layer:
    async def start(context: TaskContext) -> Any:
        result = await threads.run(layer, context)
        # A plain function returns a coroutine where a plain decorator hides an async one.
        return await result if type(result) is CoroutineType else result

    return start


def _without_coroutine(layer: Layer, middleware: Middleware) -> Layer:
    """The layer inside a plain hook. A coroutine that it returns is an error: the hook would end before it begins."""

    def call(context: TaskContext) -> Any:
        result = layer(context)
        if type(result) is not CoroutineType:
            return result
        result.close()
        raise ConfigError(
            f"task {context.task}: its plain function returned a coroutine, and the execute hook of middleware "
            f"{type(middleware).__name__} is plain too. Make the hook `async def execute`, or the function `async def`"
        )

    return call
