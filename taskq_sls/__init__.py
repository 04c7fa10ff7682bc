"""taskq_sls: a task runtime with no servers of its own.

Functions become tasks; SQS carries them; a Lambda function or a long-polling worker runs them; DynamoDB holds
their state and results.
"""

from __future__ import annotations

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
)
from .handle import TaskHandle, await_all, wait_all
from .middleware import Middleware
from .queues import Queue
from .results.records import Progress, State, TaskRecord
from .retry import Retry, RetryLater
from .task import Task

__version__ = "0.1.0"

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
    "await_all",
    "current_task",
    "wait_all",
]
