"""Unique keys: when a lock counts as free, and how a task that is over gives its key back."""

from __future__ import annotations

import logging

from .base import ResultBackend

logger = logging.getLogger("taskq_sls.task")

RESEND_AFTER = 60.0
"""Seconds after which a lock whose message was never confirmed is taken for one whose enqueue broke off."""


async def give_back(results: ResultBackend, task: str, key: str, id: str, locked_at: float | None = None) -> None:
    """Free a key that a task may hold. A fault leaves it to the next caller, who looks at the task's record."""
    try:
        await results.free_key(task, key, id, locked_at=locked_at)
    except Exception as error:
        logger.warning(
            "the unique key %r of task %s %s could not be freed now: %s",
            key,
            task,
            id,
            error,
            extra={"action": "unique_key_fault", "task_id": id, "task": task},
        )
