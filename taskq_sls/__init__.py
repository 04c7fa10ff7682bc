"""taskq_sls: a task runtime with no servers of its own.

Functions become tasks; SQS carries them; a Lambda function or a long-polling worker runs them; DynamoDB holds
their state and results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .app import TaskQ
from .context import TaskContext, current_task
from .errors import (
    ArgumentsError,
    AwsError,
    ConfigError,
    DuplicateTask,
    EnqueueError,
    MissingResource,
    PayloadMissing,
    PayloadTooLarge,
    ResultTimeout,
    TaskCancelled,
    TaskCrashed,
    TaskError,
    TaskExpired,
    TaskFailed,
    TaskQError,
    TaskStalled,
    TaskTimeout,
    WaitInTask,
)
from .handle import TaskHandle, await_all, wait_all
from .loggers import guard_loggers
from .middleware import Middleware
from .queues import Queue
from .results.records import Progress, State, TaskRecord
from .retry import Retry, RetryLater
from .task import Task

if TYPE_CHECKING:
    from .scheduler.expressions import at, cron, rate
    from .schedules import Schedule, ScheduleHandle

__version__ = "0.1.0"

guard_loggers()

__all__ = [
    "ArgumentsError",
    "AwsError",
    "ConfigError",
    "DuplicateTask",
    "EnqueueError",
    "Middleware",
    "MissingResource",
    "PayloadMissing",
    "PayloadTooLarge",
    "Progress",
    "Queue",
    "ResultTimeout",
    "Retry",
    "RetryLater",
    "Schedule",
    "ScheduleHandle",
    "State",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskCrashed",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskQ",
    "TaskQError",
    "TaskRecord",
    "TaskStalled",
    "TaskTimeout",
    "WaitInTask",
    "at",
    "await_all",
    "cron",
    "current_task",
    "rate",
    "wait_all",
]

_TIMED = {
    "at": "scheduler.expressions",
    "cron": "scheduler.expressions",
    "rate": "scheduler.expressions",
    "Schedule": "schedules",
    "ScheduleHandle": "schedules",
}
"""Where the names of timed tasks live: imported at first use, since most Lambda containers need none of them."""


def __getattr__(name: str) -> Any:
    if name not in _TIMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_TIMED[name]}", __name__), name)
