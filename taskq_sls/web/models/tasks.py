"""Tasks: what is sent, and what is known of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...client.app import App
from ...core.message import ID_PATTERN
from ...core.redaction import MASK, redact
from ...core.states import State
from ...results import records
from ...results.records import TaskRecord
from ..limits import MAX_ANSWER_BYTES, MAX_BATCH_TASKS, MAX_LABELS, clipped

TaskName = Field(examples=["shop.tasks:resize"], max_length=200)

ResultState = Literal["none", "present", "too_large", "missing"]

ID = f"^{ID_PATTERN.pattern}$"


class RequestBody(BaseModel):
    """The body of a request: what it does not know, it refuses."""

    # Strict, as the schema says: false is no number, and 0 no boolean.
    model_config = ConfigDict(extra="forbid", strict=True)


class EnqueueTask(RequestBody):
    """A task to send. Arguments are JSON; the task's annotations say what they become."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task": "shop.tasks:resize", "args": ["a.png"], "kwargs": {"width": 200}}]}
    )

    task: str = TaskName
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    queue: str | None = Field(default=None, description="A queue of the app. Default: the task's.")
    delay: float | None = Field(default=None, description="Start no earlier than after so many seconds: up to a year.")
    group: str | None = Field(default=None, description="Message group, needed on FIFO queues.")
    id: str | None = Field(
        default=None,
        pattern=ID,
        description="Chosen by the caller: sending it again with the same id is safe. The task's id is made of "
        "it and of who calls: `http-<digest>-<id>`, as the answer says.",
    )
    labels: dict[str, str] | None = Field(
        default=None, description="Text by name, kept with the task: 4,096 bytes in all."
    )
    expires_in: float | None = Field(
        default=None, description="It is dropped if it has not started after so many seconds."
    )
    unique_key: str | None = Field(default=None, description="No two tasks of one name hold the same key at a time.")
    unique_ttl: float | None = Field(default=None, description="Seconds after which the key is free in any case.")
    unique: Literal["return", "raise"] | None = Field(
        default=None,
        description="Where the key is taken: answer the task that holds it, or the problem duplicate-task.",
    )

    def options(self) -> dict[str, Any]:
        """The options of the enqueue that are given."""
        given = self.model_dump(exclude={"task", "args", "kwargs"})
        return {name: value for name, value in given.items() if value is not None}


class EnqueueBatch(RequestBody):
    """Several tasks to send at once."""

    tasks: list[EnqueueTask] = Field(min_length=1, max_length=MAX_BATCH_TASKS)


class Enqueued(BaseModel):
    """A task that a queue has accepted, or that stood already under its unique key."""

    id: str = Field(examples=["019ab2c4-5f60-7a31-9d6e-2b1f0c8a7e55"])
    task: str = TaskName
    queue: str = Field(examples=["default"])
    existing: bool = Field(default=False, description="Nothing was sent: the task with this unique key has not ended.")


class EnqueuedBatch(BaseModel):
    """The tasks of a batch, in the order given."""

    tasks: list[Enqueued]


class Progress(BaseModel):
    """How far a task says it is."""

    done: float
    total: float | None
    note: str | None


class Error(BaseModel):
    """Why the last attempt failed."""

    type: str = Field(examples=["ValueError"])
    message: str
    traceback: str | None = Field(default=None, description="Not in listings.")


class Arguments(BaseModel):
    """What a task was called with; values that are hidden by name are not shown."""

    args: list[Any]
    kwargs: dict[str, Any]


class PastAttempt(BaseModel):
    """An attempt that failed and was tried again."""

    attempt: int
    started_at: datetime
    ended_at: datetime
    error: str = Field(description="Type and message, cut.", examples=["TimeoutError: no answer within 30 s"])


class TaskSummary(BaseModel):
    """A task as a listing shows it; long texts are cut."""

    id: str
    task: str
    queue: str
    status: State
    stalled: bool = Field(description="Nobody took it up for 15 minutes after its lease or its next attempt was due.")
    run: int = Field(description="How often it was redriven.")
    attempt: int = Field(description="Attempts started in this run.")
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime | None
    next_at: datetime | None = Field(description="When a retry is due.")
    duration: float | None = Field(description="Seconds of the last attempt; of a running one, so far.")
    cancel_requested: bool
    reason: str | None = Field(description="Why it was not tried again.", examples=["exhausted"])
    progress: Progress | None
    error: Error | None
    labels: dict[str, str]
    parent: str | None = Field(description="The task that enqueued it, or that it repeats.")
    expires_at: datetime | None = Field(description="When its record is dropped.")


class TaskDetail(TaskSummary):
    """A task, with what it returned."""

    done: bool = Field(description="Whether it has ended, or nobody will end it.")
    result: Any = Field(default=None, description="What it returned, as JSON, where result_state is present.")
    result_state: ResultState = Field(
        description="too_large: above what an answer can hold; missing: gone from the bucket."
    )
    result_key: str | None = Field(description="Key of the object in the bucket that holds a large result.")
    lease_until: datetime | None
    unique_key: str | None
    arguments: Arguments | None = Field(
        default=None, description="Null where they are not recorded: above 400 bytes, or the task is declared without."
    )
    attempts: list[PastAttempt] = Field(
        default=[],
        description="The attempts of this run that failed and were tried again, of the last ten; the first one first. One "
        "that is missing never said how it ended.",
    )


class TaskPage(BaseModel):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    cursor: str | None = Field(description="Asks for the next page; null on the last one.")


class Cancelled(BaseModel):
    """What a cancel did."""

    answer: Literal["cancelled", "requested", "too_late"] = Field(
        description="cancelled: it will not run again; requested: it runs, and was told; too_late: it had ended."
    )
    status: State


class CancelTask(RequestBody):
    """What a task without a record is."""

    task: str | None = Field(
        default=None, description="Name of the task, needed where it has no record yet.", max_length=200
    )
    queue: str | None = None


class RetryTask(RequestBody):
    """Other arguments or labels for a task that is run again; null leaves them."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    labels: dict[str, str] | None = None
    group: str | None = Field(default=None, description="Message group of a new task on a FIFO queue.")


class Retried(BaseModel):
    """A task that will run again."""

    id: str = Field(description="The same where its dead letter was sent back, else a new one.")
    task: str
    queue: str
    run: int
    parent: str | None = Field(description="The task that a new one repeats.")


def moment(epoch: float | None) -> datetime | None:
    """Epoch seconds as a time in UTC."""
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def summary(app: App, record: TaskRecord) -> TaskSummary:
    """A record as a listing shows it."""
    return TaskSummary(**_fields(app, record, whole=False))


def detail(app: App, record: TaskRecord, *, missing: bool = False) -> TaskDetail:
    """A record with its result.

    Args:
        missing: the result is gone from the bucket.
    """
    text = record.result_json
    state: ResultState = "none" if record.result_key is None else "missing" if missing else "too_large"
    result = None
    if text is not None and len(text.encode("utf-8", "replace")) > MAX_ANSWER_BYTES // 2:
        state = "too_large"
    elif text is not None:
        result, state = redact(app.shown_result(record.task, text), app.redaction(record.task)), "present"
    return TaskDetail(
        **_fields(app, record, whole=True),
        done=record.status.terminal or record.stalled(app.clock.time()),
        result=result,
        result_state=state,
        result_key=record.result_key,
        lease_until=moment(record.lease_until),
        # It may be made of any argument.
        unique_key=MASK if record.unique_key and app.redaction(record.task) else record.unique_key,
        arguments=_arguments(app, record),
        attempts=[_past(attempt) for attempt in record.past],
    )


def _arguments(app: App, record: TaskRecord) -> Arguments | None:
    if record.call is None:
        return None
    call = json.loads(record.call)
    # Hidden already when they were recorded; more names may have been declared since.
    args, kwargs = app.redacted(record.task, call["args"], call["kwargs"])
    return Arguments(args=args, kwargs=kwargs)


def _past(attempt: records.PastAttempt) -> PastAttempt:
    started, ended = datetime.fromtimestamp(attempt.started_at, UTC), datetime.fromtimestamp(attempt.ended_at, UTC)
    return PastAttempt(attempt=attempt.attempt, started_at=started, ended_at=ended, error=attempt.error)


def shown_labels(app: App, task: str | None, labels: Any) -> dict[str, str]:
    """Labels as a listing shows them."""
    shown = redact(dict(list(labels.items())[:MAX_LABELS]), app.redaction(task))
    return {clipped(name, 100): clipped(value, 200) for name, value in shown.items()}


def _fields(app: App, record: TaskRecord, *, whole: bool) -> dict[str, Any]:
    now = app.clock.time()
    error, progress = record.error, record.progress
    return {
        "id": record.id,
        "task": record.task,
        "queue": record.queue,
        "status": record.status,
        "stalled": record.stalled(now),
        "run": record.run,
        "attempt": record.attempt,
        "enqueued_at": moment(record.enqueued_at),
        "started_at": moment(record.started_at),
        "finished_at": moment(record.finished_at),
        "updated_at": moment(record.updated_at or None),
        "next_at": moment(record.next_at),
        "duration": _duration(record, now),
        "cancel_requested": record.cancel_requested,
        "reason": record.reason,
        "progress": progress
        and Progress(done=progress.done, total=progress.total, note=progress.note and clipped(progress.note)),
        "error": error
        and Error(
            type=clipped(error.type, 200),
            message=clipped(error.message, 100_000 if whole else 2_000),
            traceback=error.traceback[-200_000:] if whole else None,
        ),
        "labels": redact(dict(record.labels), app.redaction(record.task))
        if whole
        else shown_labels(app, record.task, record.labels),
        "parent": record.parent,
        "expires_at": moment(record.ttl),
    }


def _duration(record: TaskRecord, now: float) -> float | None:
    if record.started_at is None:
        return None
    end = now if record.status is State.RUNNING else record.finished_at
    return None if end is None else round(max(0.0, end - record.started_at), 3)
