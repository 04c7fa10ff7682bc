"""taskq_sls: a task runtime with no servers of its own.

Functions become tasks; SQS carries them; a Lambda function or a long-polling worker runs them; DynamoDB holds
their state and results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .app import TaskQ
from .client.handle import TaskHandle, await_all, wait_all
from .client.task import Task
from .core.context import Progress, TaskContext, current_task
from .core.loggers import guard_loggers
from .core.queues import Queue
from .core.retry import Retry, RetryLater
from .core.states import State
from .core.version import __version__
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
from .middleware import Middleware
from .results.records import TaskRecord

if TYPE_CHECKING:
    from .client.schedule_handle import ScheduleHandle
    from .client.schedule_value import Schedule
    from .scheduler.parse import at, cron, rate

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
    "__version__",
    "at",
    "await_all",
    "cron",
    "current_task",
    "rate",
    "wait_all",
]

_LAZY_NAMES = {
    "at": "scheduler.parse",
    "cron": "scheduler.parse",
    "rate": "scheduler.parse",
    "Schedule": "client.schedule_value",
    "ScheduleHandle": "client.schedule_handle",
}
"""Modules of names that are imported at first use, since most Lambda containers need none of them."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY_NAMES[name]}", __name__), name)
