"""Dead letters."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from ...client.app import App
from ...core.redaction import redact
from ...operations.dead_letter_view import DeadLetterGroup, DeadLetterView, Selection
from ...operations.dead_letters import Problem as OperationProblem
from ..limits import MAX_DEAD_LETTERS, clipped
from .base import Timestamp
from .tasks import RequestBody, moment, shown_labels


class DeadLetter(BaseModel):
    """A message in a dead-letter queue, as a listing shows it."""

    queue: str = Field(description="The dead-letter queue.", examples=["default-dlq"])
    source: str | None = Field(description="The queue it came from; null for a schedule's firing.")
    message_id: str = Field(description="SQS's id, which a redrive changes.")
    task: str | None
    id: str | None = Field(description="The task's id; null where the body cannot be read.")
    run: int
    reason: str = Field(examples=["exhausted"])
    error_type: str | None
    error_message: str | None
    attempts: int
    receive_count: int = Field(description="Looks at it, this one included.")
    sent_at: datetime | None
    failed_at: datetime | None
    labels: dict[str, str]
    undecodable: str | None = Field(description="What is wrong with its body, where it cannot be read.")
    schedule: str | None
    group: str | None

    @classmethod
    def of(cls, app: App, view: DeadLetterView) -> DeadLetter:
        return cls(**_fields(app, view))


class DeadLetterDetail(DeadLetter):
    """A dead letter with its arguments."""

    args: list[Any]
    kwargs: dict[str, Any]
    payload: str | None = Field(description="Key of the object that holds the arguments where they are large.")
    traceback: str | None
    body: str | None = Field(description="The body where it cannot be read, unless the app hides values by name.")

    @classmethod
    def of(cls, app: App, view: DeadLetterView) -> DeadLetterDetail:
        args, kwargs = app.redacted(view.task, view.args, view.kwargs)
        shows_body = view.undecodable is not None and not app.log_redaction
        return cls(
            **{**_fields(app, view), "labels": redact(dict(view.labels), app.redaction(view.task))},
            args=args,
            kwargs=kwargs,
            payload=view.payload,
            traceback=view.traceback,
            body=view.body if shows_body else None,
        )


class Group(BaseModel):
    """How many dead letters there are of one reason, task and error type."""

    queue: str
    reason: str
    task: str | None
    error_type: str | None
    total: int
    oldest: datetime | None
    newest: datetime | None

    @classmethod
    def of(cls, group: DeadLetterGroup) -> Group:
        return cls(**{**group._asdict(), "oldest": moment(group.oldest), "newest": moment(group.newest)})


class DeadLetters(BaseModel):
    """What a look into dead-letter queues found, the latest failures first. SQS has no pages: narrow the filter."""

    dead_letters: list[DeadLetter]
    groups: list[Group]
    seen: int = Field(description="Messages that were looked at.")
    missed: int = Field(description="About so many were not: others hold them, or a limit was reached.")
    missing: list[str] = Field(default=[], description="Dead-letter queues of the app that do not exist.")


class DeadLetterFilter(RequestBody):
    """Dead letters that fit all that is given."""

    queue: str | None = Field(default=None, description="Only those of this queue, or in this dead-letter queue.")
    tasks: list[str] = Field(default=[], max_length=100)
    reasons: list[str] = Field(default=[], max_length=100)
    older_than: float | None = Field(default=None, ge=0, description="Seconds since they were given up.")
    before: Timestamp | None = Field(
        default=None,
        description="Given up before this time. Asking again while `more` is set, give the time at which you began: "
        "what has failed again since then is left.",
    )
    labels: dict[str, str] = {}
    ids: list[str] = Field(default=[], max_length=MAX_DEAD_LETTERS, description="Ids of tasks.")
    message_ids: list[str] = Field(default=[], max_length=MAX_DEAD_LETTERS)
    everything: bool = Field(default=False, description="Needed where nothing else says which ones.")
    limit: int = Field(default=100, ge=1, le=MAX_DEAD_LETTERS)
    dry_run: bool = Field(default=False, description="Change nothing.")

    def selection(self) -> Selection:
        """As the operations take it."""
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
    """Dead letters to send back to their queues."""

    rate: float | None = Field(
        default=None, gt=0, le=10_000, description="Messages a second. Default: as fast as it goes."
    )
    args: list[Any] | None = Field(default=None, description="Other arguments for all that are chosen.")
    kwargs: dict[str, Any] | None = None
    set_labels: dict[str, str] | None = Field(default=None, description="Other labels for all that are chosen.")
    group: str | None = Field(
        default=None, description="Message group of firings for FIFO queues whose schedule is gone."
    )


class PurgeDeadLetters(DeadLetterFilter):
    """Dead letters to delete for good."""


class Left(BaseModel):
    """A dead letter that was left where it is."""

    message_id: str
    id: str | None
    code: str
    message: str

    @classmethod
    def of(cls, kept: OperationProblem) -> Left:
        letter = kept.dead_letter
        return cls(message_id=letter.message_id, id=letter.id, code=kept.code, message=clipped(kept.message))


class Redrive(BaseModel):
    """A dead letter that was sent back."""

    message_id: str
    id: str | None
    task: str | None
    queue: str
    run: int


class RedriveDone(BaseModel):
    """What a redrive did. Where `more` is set, ask again to go on."""

    redriven: list[Redrive]
    kept: list[Left]
    undeleted: list[Left] = Field(description="Sent, and there still: harmless.")
    seen: int
    missing: list[str] = Field(default=[], description="Dead-letter queues of the app that do not exist.")
    more: bool = Field(description="The limit was reached, or what the rate allows in one request.")


class PurgeDone(BaseModel):
    """What a purge did."""

    purged: list[DeadLetter]
    kept: list[Left]
    seen: int
    missing: list[str] = Field(default=[], description="Dead-letter queues of the app that do not exist.")
    more: bool = Field(description="The limit was reached.")


def _fields(app: App, view: DeadLetterView) -> dict[str, Any]:
    return {
        "queue": view.queue,
        "source": view.source,
        "message_id": view.message_id,
        "task": view.task,
        "id": view.id,
        "run": view.run,
        "reason": clipped(view.reason, 200),
        "error_type": view.error_type and clipped(view.error_type, 200),
        "error_message": view.error_message and clipped(view.error_message),
        "attempts": view.attempts,
        "receive_count": view.receive_count,
        "sent_at": moment(view.sent_at),
        "failed_at": moment(view.failed_at),
        "labels": shown_labels(app, view.task, view.labels),
        "undecodable": view.undecodable and clipped(view.undecodable),
        "schedule": view.schedule,
        "group": view.group,
    }
