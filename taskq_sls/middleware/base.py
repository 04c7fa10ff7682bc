"""Middleware: two onions, one around the dispatch of a message, one around the execution of an attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from ..core.context import TaskContext
from ..core.message import Message

DispatchNext = Callable[[Message], Any]
ExecuteNext = Callable[[TaskContext], Any]


class Middleware:
    """Override one hook or both. The layer outside a hook sees its return value.

    An ``async def`` hook awaits ``call_next``; in a plain one ``call_next`` returns the value itself. An exception in a
    hook fails the dispatch or the attempt.

    Attributes:
        options: task options this middleware understands, each with the function that checks a value
            (returns it, normalised; raises ValueError or TypeError with the reason). They may be given to
            ``@app.task`` and ``TaskQ`` and are found in ``context.options``.
    """

    options: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    def dispatch(self, message: Message, call_next: DispatchNext) -> Message | Awaitable[Message]:
        """Around the sending of one message. Pass on a changed copy: ``message._replace(labels=...)``.

        An ``async def`` hook keeps `enqueue_many` in batches; a plain one makes it send one by one, since it
        has to wait for its own message. In a synchronous ``enqueue`` an async hook must not really suspend.
        """
        raise NotImplementedError

    def execute(self, context: TaskContext, call_next: ExecuteNext) -> Any:
        """Around one attempt. Returns the task's result.

        An ``async def`` hook wraps async and sync tasks; call blocking code in it by ``await asyncio.to_thread(...)``. A
        plain hook wraps sync tasks only, and shares their thread: around an async task, an async hook or a task with
        ``run_in="process"`` it is refused when the task is registered.
        """
        raise NotImplementedError


def overrides(middleware: Middleware, hook: str) -> bool:
    """True if the middleware overrides `hook`."""
    return getattr(type(middleware), hook) is not getattr(Middleware, hook)
