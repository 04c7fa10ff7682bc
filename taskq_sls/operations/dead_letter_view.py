"""A dead letter as an operator sees it: why it failed, and which task it would run. Selecting and counting them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..brokers.dead_letters import ATTEMPTS, DEAD_LETTERED_AT, ERROR_MESSAGE, ERROR_TYPE, REASON, TASK, TRACEBACK
from ..core.delivery import Delivery
from ..core.envelope import MAX_TIME
from ..core.message import Message, decode
from ..errors import UndecodableMessage
from ..scheduler.firing import dated, receive, substitute

MOVED_BY_SQS = "redriven"
"""Reason of a message that SQS itself moved after too many receives. Its attributes give no other reason."""

UNDELIVERED = "undelivered"
"""Reason of a schedule's firing that never reached its queue."""

ERROR_CODE = "ERROR_CODE"
SCHEDULER_MESSAGE = "ERROR_MESSAGE"
RETRY_ATTEMPTS = "RETRY_ATTEMPTS"
SCHEDULED_TIME = "SCHEDULED_TIME"
SCHEDULE_ARN = "SCHEDULE_ARN"
TARGET_ARN = "TARGET_ARN"
IS_TRUNCATED = "IS_PAYLOAD_TRUNCATED"
"""Attributes that EventBridge Scheduler writes (user guide, dead-letter queues)."""


class DeadLetterQueue(NamedTuple):
    """A dead-letter queue by its logical name, and the queue it belongs to.

    `source` is None for the schedules' dead-letter queue: each of its messages names its own target queue.
    """

    name: str
    source: str | None


class DeadLetterView(NamedTuple):
    """A message in a dead-letter queue. Times are epoch seconds.

    Args:
        queue: logical name of the dead-letter queue.
        source: logical name of the queue it came from; None for the firing of a schedule.
        message_id: SQS's id of the message; a redrive changes it.
        task, id: of the task; None if the body cannot be read.
        run: the run that a redrive of the message opens.
        reason: ``exhausted``, ``crashed``, ...; ``redriven`` if SQS itself moved the message, ``undelivered`` if a
            schedule could not send it.
        attempts: attempts in the run that failed; for an undelivered firing, the tries to send it.
        receive_count: receives from the dead-letter queue, this one included.
        sent_at: when it was sent; SQS keeps the original time for messages that it moved on a standard queue.
        failed_at: when it was dead-lettered; None if unknown.
        payload: key of the object that holds arguments too large for a message.
        undecodable: the error if the body cannot be read.
        schedule: name of the schedule that sent it.
        group: message group.
        attributes: all message attributes.
        message: the decoded body; for the firing of a schedule it has no id.
        body: the body; for a firing with its scheduled time filled in.
    """

    queue: str
    source: str | None
    message_id: str
    task: str | None
    id: str | None
    run: int
    reason: str
    error_type: str | None
    error_message: str | None
    traceback: str | None
    attempts: int
    receive_count: int
    sent_at: float
    failed_at: float | None
    labels: Mapping[str, str]
    args: list[Any]
    kwargs: dict[str, Any]
    payload: str | None
    undecodable: str | None
    schedule: str | None
    group: str | None
    attributes: Mapping[str, str]
    message: Message | None
    body: str

    @property
    def moved(self) -> bool:
        """True if SQS itself moved it; its run was then not raised."""
        return self.reason == MOVED_BY_SQS

    @property
    def since(self) -> float:
        """When it was dead-lettered; if unknown, when it was sent."""
        return self.sent_at if self.failed_at is None else self.failed_at


class DeadLetterGroup(NamedTuple):
    """Dead letters of one reason, task and error type. `oldest` and `newest` are epoch seconds."""

    queue: str
    reason: str
    task: str | None
    error_type: str | None
    total: int
    oldest: float
    newest: float


class Selection(NamedTuple):
    """Selects dead letters that match all given fields. An empty selection matches all.

    Args:
        tasks: names of tasks.
        reasons: such as ``exhausted`` or ``crashed``.
        older_than: seconds since the task failed, at least. If that time is unknown, the sent time counts.
        labels: all of these.
        ids: ids of tasks.
        message_ids: SQS's message ids, as a listing shows them.
        before: epoch seconds; failed before that time. A redrive in several steps passes the time of its first step,
            so that tasks that fail again meanwhile are left.
        newer_than: seconds since the task failed, at most.
    """

    tasks: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    older_than: float | None = None
    labels: Mapping[str, str] = {}
    ids: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()
    before: float | None = None
    newer_than: float | None = None

    def matches(self, view: DeadLetterView, now: float) -> bool:
        chosen = ((self.tasks, view.task), (self.reasons, view.reason), (self.ids, view.id))
        return (
            all(not values or value in values for values, value in (*chosen, (self.message_ids, view.message_id)))
            and all(view.labels.get(name) == value for name, value in self.labels.items())
            and self._matches_age(view.since, now)
        )

    def _matches_age(self, since: float, now: float) -> bool:
        return (
            (self.older_than is None or now - since >= self.older_than)
            and (self.newer_than is None or now - since <= self.newer_than)
            and (self.before is None or since < self.before)
        )

    @property
    def everything(self) -> bool:
        """True if it selects all dead letters."""
        return self == Selection()

    @property
    def max_matches(self) -> int | None:
        """The most dead letters that can match; None if unknown."""
        return len(self.message_ids) or None


ALL = Selection()


def view_of(delivery: Delivery, queue: DeadLetterQueue) -> DeadLetterView:
    """A received dead letter, decoded as far as possible."""
    attributes = delivery.attributes
    body = _as_fired(delivery.body, attributes) if queue.source is None else delivery.body
    body = dated(body, delivery.sent_at)
    message, id, undecodable = _decoded(body, delivery.sent_at)
    known = message or Message(id="", task=attributes.get(TASK, ""))
    schedule = (known.schedule or {}).get("name")
    return DeadLetterView(
        queue=queue.name,
        source=queue.source,
        message_id=delivery.message_id,
        task=known.task or None,
        id=id,
        run=known.run,
        traceback=attributes.get(TRACEBACK),
        receive_count=delivery.receive_count,
        sent_at=delivery.sent_at,
        labels=known.labels,
        args=known.args,
        kwargs=known.kwargs,
        payload=known.payload,
        undecodable=undecodable,
        schedule=schedule if isinstance(schedule, str) else None,
        group=delivery.group,
        attributes=attributes,
        message=message,
        body=body,
        **(_undelivered(delivery) if queue.source is None else _failure(attributes)),
    )


def _undelivered(delivery: Delivery) -> dict[str, Any]:
    attributes = delivery.attributes
    return {
        "reason": UNDELIVERED,
        "error_type": attributes.get(ERROR_CODE),
        "error_message": attributes.get(SCHEDULER_MESSAGE),
        "attempts": _whole(attributes.get(RETRY_ATTEMPTS)),
        "failed_at": delivery.sent_at,
    }


def _failure(attributes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "reason": attributes.get(REASON) or MOVED_BY_SQS,
        "error_type": attributes.get(ERROR_TYPE),
        "error_message": attributes.get(ERROR_MESSAGE),
        "attempts": _whole(attributes.get(ATTEMPTS)),
        "failed_at": _seconds(attributes.get(DEAD_LETTERED_AT)),
    }


def _decoded(body: str, sent_at: float) -> tuple[Message | None, str | None, str | None]:
    """The message and its task id, or the reason why the body cannot be read."""
    try:
        message = decode(body)
        # A firing of a schedule has no id in its body; the receiver derives it.
        return message, message.id or receive(message, sent_at)[0].id, None
    except UndecodableMessage as error:
        return None, None, f"{error.reason}: {error}"


def groups_of(dead_letters: Iterable[DeadLetterView]) -> list[DeadLetterGroup]:
    """Dead letters counted by queue, reason, task and error type, the largest group first."""
    found: dict[tuple[str, str, str | None, str | None], list[float]] = {}
    for view in dead_letters:
        found.setdefault((view.queue, view.reason, view.task, view.error_type), []).append(view.since)
    groups = [DeadLetterGroup(*key, len(times), min(times), max(times)) for key, times in found.items()]
    return sorted(groups, key=lambda group: (-group.total, group.queue, group.reason, group.task or ""))


def _as_fired(body: str, attributes: Mapping[str, str]) -> str:
    """The input of a schedule, with its scheduled time filled in if the scheduler left the placeholder."""
    time = attributes.get(SCHEDULED_TIME)
    if time is None or "<aws.scheduler." not in body:
        return body
    try:
        at = datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return body
    if not 0 <= at < MAX_TIME:
        return body
    return substitute(body, attributes.get(SCHEDULE_ARN, ""), at)


def _whole(text: str | None) -> int:
    return int(text) if text is not None and len(text) <= 9 and text.isascii() and text.isdigit() else 0


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < MAX_TIME else None  # excludes NaN and infinity
