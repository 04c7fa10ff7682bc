"""Tasks: requests to send, cancel and retry them, and their records."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...client.app import App
from ...core.message import ID_PATTERN
from ...core.redaction import redact
from ...core.states import State
from ...operations.presenters import record_fields, shown_record
from ...results.records import TaskRecord
from ..limits import MAX_ANSWER_BYTES, MAX_BATCH_TASKS, MAX_LABELS, clipped
from ..request_context import RequestBody, TaskName

ResultState = Literal["none", "present", "too_large", "missing"]

ID = f"^{ID_PATTERN.pattern}$"


class EnqueueTask(RequestBody):
    """A task to send. Its JSON arguments are converted by the task's annotations."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task": "shop.tasks:resize", "args": ["a.png"], "kwargs": {"width": 200}}]}
    )

    task: str = TaskName
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: str | None = Field(default=None, description="A queue of the app. Default: the queue of the task.")
    delay: float | None = Field(default=None, description="Seconds to wait before the task starts, up to a year.")
    group: str | None = Field(default=None, description="Message group, needed on FIFO queues.")
    id: str | None = Field(
        default=None,
        pattern=ID,
        description="Chosen by the caller: sending it again with the same id is safe. The answer has the task's id, "
        "`http-<digest of the caller>-<id>`.",
    )
    labels: dict[str, str] | None = Field(
        default=None, description="Names and texts kept with the task, 4,096 bytes in all."
    )
    expires_in: float | None = Field(
        default=None, description="Seconds after which the task is dropped if it has not started."
    )
    unique_key: str | None = Field(default=None, description="Only one task of a name may hold a key at a time.")
    unique_ttl: float | None = Field(
        default=None, description="Seconds after which the key is free, even if the task has not ended."
    )
    unique: Literal["return", "raise"] | None = Field(
        default=None,
        description="If the key is taken: return the task that holds it, or raise the problem duplicate-task.",
    )

    def options(self) -> dict[str, Any]:
        """Return the options that are set."""
        given = self.model_dump(exclude={"task", "args", "kwargs"})
        return {name: value for name, value in given.items() if value is not None}


class EnqueueBatch(RequestBody):
    """Several tasks to send at once."""

    tasks: list[EnqueueTask] = Field(min_length=1, max_length=MAX_BATCH_TASKS)


class Enqueued(BaseModel):
    """A task that a queue has accepted, or the task that already holds its unique key."""

    id: str = Field(examples=["019ab2c4-5f60-7a31-9d6e-2b1f0c8a7e55"])
    task: str = TaskName
    queue: str = Field(examples=["default"])
    existing: bool = Field(
        default=False, description="Nothing was sent: this task holds the unique key and has not ended."
    )


class EnqueuedBatch(BaseModel):
    """The tasks of a batch, in order."""

    tasks: list[Enqueued]


class Progress(BaseModel):
    """The progress that a task has reported."""

    done: float
    total: float | None
    note: str | None


class Error(BaseModel):
    """The error of the last attempt."""

    type: str = Field(examples=["ValueError"])
    message: str
    traceback: str | None = Field(default=None, description="Not in listings.")


class Arguments(BaseModel):
    """The arguments of a task; redacted values are masked."""

    args: list[Any]
    kwargs: dict[str, Any]


class PastAttempt(BaseModel):
    """An attempt that failed and was retried."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    error: str = Field(description="Type and message, shortened.", examples=["TimeoutError: no answer within 30 s"])


class TaskSummary(BaseModel):
    """A task in a listing; long texts are shortened."""

    id: str
    task: str
    queue: str
    status: State
    stalled: bool = Field(description="15 minutes have passed since its lease ended or its next attempt was due.")
    run: int = Field(description="Number of redrives.")
    attempt: int = Field(description="Attempts started in this run.")
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    next_at: datetime | None = Field(description="When a retry is due.")
    duration: float | None = Field(description="Seconds of the last attempt; of a running one, so far.")
    cancel_requested: bool
    reason: str | None = Field(description="Why it was not retried.", examples=["exhausted"])
    progress: Progress | None
    error: Error | None
    labels: dict[str, str]
    parent: str | None = Field(description="Id of the task that enqueued it, or of the task that it repeats.")
    expires_at: datetime | None = Field(description="When its record expires.")


class TaskDetail(TaskSummary):
    """A task with its result."""

    done: bool = Field(description="The task has ended, or is stalled.")
    result: Any = Field(default=None, description="The returned value as JSON, if result_state is present.")
    result_state: ResultState = Field(
        description="too_large: it does not fit into an answer; missing: it is no longer in the bucket."
    )
    result_key: str | None = Field(description="Key of the bucket's object with a large result.")
    lease_until: datetime | None
    unique_key: str | None
    arguments: Arguments | None = Field(
        default=None, description="Null if not recorded: above 400 bytes, or turned off for the task."
    )
    attempts: list[PastAttempt] = Field(
        default=[],
        description="The attempts of this run that failed and were retried, of the last ten, oldest first. The end of an "
        "attempt that is missing is unknown.",
    )


class TaskPage(BaseModel):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class Cancelled(BaseModel):
    """The outcome of a cancel."""

    answer: Literal["cancelled", "requested", "too_late"] = Field(
        description="cancelled: it will not run again; requested: it is running and will be stopped; too_late: it had ended."
    )
    status: State


class CancelTask(RequestBody):
    """Name and queue, to cancel a task that has no record."""

    task: str | None = Field(
        default=None, description="Name of the task, needed if it has no record yet.", max_length=200
    )
    queue: str | None = None


class RetryTask(RequestBody):
    """New arguments or labels for a task that is run again; null keeps the old ones."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    labels: dict[str, str] | None = None
    group: str | None = Field(default=None, description="Message group of a new task on a FIFO queue.")


class Retried(BaseModel):
    """A task that will run again."""

    id: str = Field(description="The same id if its dead letter was redriven, else the id of a new task.")
    task: str
    queue: str
    run: int
    parent: str | None = Field(description="Id of the task that a new task repeats.")


def summary(app: App, record: TaskRecord) -> TaskSummary:
    """Return a record for a listing."""
    fields = _fields(app, record._replace(result_json=None, call=None))  # not shown, so not parsed either
    if (error := fields["error"]) is not None:
        error |= {"message": clipped(error["message"]), "traceback": None}
    return TaskSummary(**{**fields, "labels": shown_labels(app, record.task, record.labels)})


def detail(app: App, record: TaskRecord, *, missing: bool = False) -> TaskDetail:
    """Return a record with its result.

    Args:
        missing: the result was not found in the bucket.
    """
    text = record.result_json
    state: ResultState = "none" if record.result_key is None else "missing" if missing else "too_large"
    if text is not None and len(text.encode("utf-8", "replace")) > MAX_ANSWER_BYTES // 2:
        state, record = "too_large", record._replace(result_json=None)
    elif text is not None:
        state = "present"
    fields = _fields(app, shown_record(app, record))
    if (error := fields["error"]) is not None:
        error |= {"message": clipped(error["message"], 100_000), "traceback": error["traceback"][-200_000:]}
    return TaskDetail(**fields, done=record.status.terminal or fields["stalled"], result_state=state)


def shown_labels(app: App, task: str | None, labels: Any) -> dict[str, str]:
    """Return labels for a listing: redacted and shortened."""
    shown = redact(dict(list(labels.items())[:MAX_LABELS]), app.redaction(task))
    return {clipped(name, 100): clipped(value, 200) for name, value in shown.items()}


def _fields(app: App, record: TaskRecord) -> dict[str, Any]:
    fields = record_fields(record, app.clock.time())
    if not record.updated_at:  # not recorded
        fields["updated_at"] = None
    if fields["error"] is not None:
        fields["error"]["type"] = clipped(fields["error"]["type"], 200)
    if fields["progress"] is not None and fields["progress"]["note"]:
        fields["progress"]["note"] = clipped(fields["progress"]["note"])
    return fields
