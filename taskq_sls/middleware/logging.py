"""One log line per event in an attempt's life, readable by people and machines."""

from __future__ import annotations

import logging
import time
from typing import Any

from ..core.context import TaskContext
from .base import ExecuteNext, Middleware

logger = logging.getLogger("taskq_sls.task")


class StructuredLogging(Middleware):
    """Logs the start (DEBUG) and the success (INFO) of every attempt.

    Retries and failures are logged by the engine, which decides on them. Each record carries
    ``action``, ``task_id``, ``task_name``, ``attempt``, ``queue`` and, at the end, ``duration`` in seconds.
    """

    async def execute(self, context: TaskContext, call_next: ExecuteNext) -> Any:
        if not logger.isEnabledFor(logging.INFO):
            return await call_next(context)
        logger.debug("%s started (attempt %d)", context.task, context.attempt, extra=fields(context, "task_started"))
        started = time.perf_counter()
        result = await call_next(context)
        duration = time.perf_counter() - started
        logger.info(
            "%s succeeded in %.3f s",
            context.task,
            duration,
            extra={**fields(context, "task_succeeded"), "duration": round(duration, 6)},
        )
        return result


def fields(context: TaskContext, action: str) -> dict[str, Any]:
    """The structured part of a log record about an attempt."""
    return {
        "action": action,
        "task_id": context.id,
        "task_name": context.task,
        "attempt": context.attempt,
        "queue": context.queue,
    }
