"""Dead letters: listings, filters, and the outcome of a redrive or purge."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from ...client.app import App
from ...operations.dead_letter_view import DeadLetterGroup, DeadLetterView, Selection
from ...operations.dead_letters import Problem as OperationProblem
from ...operations.presenters import dead_letter_fields, group_fields, problem_fields, shown_dead_letter
from ..limits import MAX_DEAD_LETTERS, clipped
from ..request_context import RequestBody, Timestamp
from .tasks import shown_labels

MissingQueues: Any = Field(default=[], description="Dead-letter queues of the app that do not exist.")


class DeadLetter(BaseModel):
    """A message in a dead-letter queue, in a listing."""

    queue: str = Field(description="The dead-letter queue.", examples=["default-dlq"])
    source: str | None = Field(
        description="The queue that it came from; null for a scheduled message that could not be delivered."
    )
    message_id: str = Field(description="The message id of SQS; a redrive changes it.")
    task: str | None
    id: str | None = Field(description="The task's id; null if the body cannot be read.")
    run: int
    reason: str = Field(examples=["exhausted"])
    error_type: str | None
    error_message: str | None
    attempts: int
    receive_count: int = Field(description="How often it was received, listings included.")
    sent_at: datetime | None
    failed_at: datetime | None
    labels: dict[str, str]
    undecodable: str | None = Field(description="Why its body cannot be read; null if it can.")
    schedule: str | None
    group: str | None

    @classmethod
    def of(cls, app: App, view: DeadLetterView) -> DeadLetter:
        return cls(**_fields(app, view))


class DeadLetterDetail(DeadLetter):
    """A dead letter with its arguments."""

    args: list[Any]
    kwargs: dict[str, Any]
    payload: str | None = Field(description="Key of the bucket's object with large arguments.")
    traceback: str | None
    body: str | None = Field(description="A body that cannot be read, unless the app redacts values.")

    @classmethod
    def of(cls, app: App, view: DeadLetterView) -> DeadLetterDetail:
        shown = shown_dead_letter(app, view)
        shows_body = view.undecodable is not None and not app.log_redaction
        return cls(
            **{
                **_fields(app, shown),
                "labels": dict(shown.labels),
                "traceback": view.traceback,
                "body": view.body if shows_body else None,
            }
        )


class Group(BaseModel):
    """The number of dead letters with the same reason, task and error type."""

    queue: str
    reason: str
    task: str | None
    error_type: str | None
    total: int
    oldest: datetime | None
    newest: datetime | None

    @classmethod
    def of(cls, group: DeadLetterGroup) -> Group:
        return cls(**{**group_fields(group), "total": group.total})


class DeadLetters(BaseModel):
    """Dead letters, latest failures first. SQS has no pages: narrow the filter."""

    dead_letters: list[DeadLetter]
    groups: list[Group]
    seen: int = Field(description="Messages that were received.")
    missed: int = Field(
        description="About how many were not received: other consumers hold them, or a limit was reached."
    )
    missing: list[str] = MissingQueues


class DeadLetterFilter(RequestBody):
    """Selects the dead letters that match all given fields."""

    queue: str | None = Field(default=None, description="Name of a queue or of a dead-letter queue.")
    tasks: list[str] = Field(default=[], max_length=100)
    reasons: list[str] = Field(default=[], max_length=100)
    older_than: float | None = Field(default=None, ge=0, description="Seconds since they failed for good.")
    before: Timestamp | None = Field(
        default=None,
        description="Failed for good before this time. If you repeat a request while `more` is set, send the time of the "
        "first request: tasks that have failed again since then are left.",
    )
    labels: dict[str, str] = {}
    ids: list[str] = Field(default=[], max_length=MAX_DEAD_LETTERS, description="Ids of tasks.")
    message_ids: list[str] = Field(default=[], max_length=MAX_DEAD_LETTERS)
    everything: bool = Field(default=False, description="Needed if no other filter is given.")
    limit: int = Field(default=100, ge=1, le=MAX_DEAD_LETTERS)
    dry_run: bool = Field(default=False, description="Change nothing.")

    def selection(self) -> Selection:
        """Return the filter of the operations."""
        return Selection(
            tasks=frozenset(self.tasks),
            reasons=frozenset(self.reasons),
            older_than=self.older_than,
            labels=self.labels,
            ids=frozenset(self.ids),
            message_ids=frozenset(self.message_ids),
            before=None if self.before is None else self.before.timestamp(),
        )


class RedriveDeadLetters(DeadLetterFilter):
    """Dead letters to redrive to their queues."""

    rate: float | None = Field(default=None, gt=0, le=10_000, description="Messages a second. Default: no limit.")
    args: list[Any] | None = Field(default=None, description="New arguments for all selected dead letters.")
    kwargs: dict[str, Any] | None = None
    set_labels: dict[str, str] | None = Field(default=None, description="New labels for all selected dead letters.")
    group: str | None = Field(
        default=None,
        description="Message group for scheduled messages of FIFO queues if their schedule no longer exists.",
    )


class PurgeDeadLetters(DeadLetterFilter):
    """Dead letters to delete for good."""


class Left(BaseModel):
    """A dead letter that stays in its queue."""

    message_id: str
    id: str | None
    code: str
    message: str

    @classmethod
    def of(cls, kept: OperationProblem) -> Left:
        return cls(**{**problem_fields(kept), "message": clipped(kept.message)})


class Redrive(BaseModel):
    """A dead letter that was redriven."""

    message_id: str
    id: str | None
    task: str | None
    queue: str
    run: int


class RedriveDone(BaseModel):
    """The outcome of a redrive. If `more` is set, repeat the request to continue."""

    redriven: list[Redrive]
    kept: list[Left]
    undeleted: list[Left] = Field(description="Sent, but not deleted; harmless.")
    seen: int
    missing: list[str] = MissingQueues
    more: bool = Field(description="The limit was reached, or the number that the rate allows in one request.")


class PurgeDone(BaseModel):
    """The outcome of a purge."""

    purged: list[DeadLetter]
    kept: list[Left]
    seen: int
    missing: list[str] = MissingQueues
    more: bool = Field(description="The limit was reached.")


def _fields(app: App, view: DeadLetterView) -> dict[str, Any]:
    return {
        **dead_letter_fields(view, app.clock.time()),
        "reason": clipped(view.reason, 200),
        "error_type": view.error_type and clipped(view.error_type, 200),
        "error_message": view.error_message and clipped(view.error_message),
        "labels": shown_labels(app, view.task, view.labels),
        "undecodable": view.undecodable and clipped(view.undecodable),
    }
