"""The time limit of an attempt: the `timeout` option."""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.context import TaskContext
from ..errors import TaskTimeout
from .base import ExecuteNext, Middleware


class TimeLimit(Middleware):
    """Stops an attempt that runs longer than its ``timeout``: a failed attempt with :class:`TaskTimeout`.

    Async tasks are cancelled. In a sync task an exception is raised in its thread, at the next bytecode: a call
    into C code is not interrupted before it returns. A child process is killed. An attempt that ends with a result although the limit has
    struck keeps its result.
    """

    async def execute(self, context: TaskContext, call_next: ExecuteNext) -> Any:
        timeout = context.timeout
        if timeout is None:
            return await call_next(context)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt must run inside an asyncio task")
        execution, struck = context._execution, False
        outside = task.cancelling()

        def strike() -> None:
            nonlocal struck
            struck = True
            if execution.stuck_after is not None:
                # Counted from here: while another task blocked the loop, this one was not told.
                execution.stuck_at = loop.time() + execution.stuck_after - timeout
            task.cancel()

        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout, strike)
        try:
            result = await call_next(context)
        except BaseException as error:
            # Only our own cancel becomes a timeout; one more from outside stays a cancel.
            if struck and task.uncancel() <= outside and isinstance(error, asyncio.CancelledError):
                # The cause shows where the function was.
                raise TaskTimeout(f"the attempt ran longer than its timeout of {timeout:g} s") from error
            raise
        finally:
            timer.cancel()
            execution.stuck_at = None
        if struck:
            task.uncancel()
        return result
