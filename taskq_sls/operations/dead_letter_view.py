"""One dead letter, as an operator sees it: why it was given up, and what it would run."""

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
"""Reason of a message that SQS itself moved, after too many receives: nothing of ours gave it up."""

UNDELIVERED = "undelivered"
"""Reason of the firing of a schedule that never reached its queue."""

ERROR_CODE = "ERROR_CODE"
SCHEDULER_MESSAGE = "ERROR_MESSAGE"
RETRY_ATTEMPTS = "RETRY_ATTEMPTS"
SCHEDULED_TIME = "SCHEDULED_TIME"
SCHEDULE_ARN = "SCHEDULE_ARN"
TARGET_ARN = "TARGET_ARN"
IS_TRUNCATED = "IS_PAYLOAD_TRUNCATED"
"""Attributes that EventBridge Scheduler writes (user guide, dead-letter queues)."""


class DeadLetterQueue(NamedTuple):
    """A dead-letter queue by its logical name, and the queue whose messages end there.

    `source` is None for the schedules' one, whose messages each name the queue they were meant for.
    """

    name: str
    source: str | None


class DeadLetterView(NamedTuple):
    """A message in a dead-letter queue. Times are epoch seconds.

    Args:
        queue: logical name of the dead-letter queue.
        source: logical name of the queue it came from; None for the firing of a schedule.
        message_id: SQS's id of the message, which a redrive changes.
        task, id: of the task; None where the body cannot be read.
        run: the run that the message opens when it comes to its queue.
        reason: why it was given up: ``exhausted``, ``crashed``, ...; ``redriven`` where SQS itself moved the message,
            ``undelivered`` where a schedule could not send it.
        attempts: started in the run that failed; of an undelivered firing, the tries to send it.
        receive_count: of this queue, looks like this one included.
        sent_at: when it was sent; for what SQS moved on a standard queue, to the queue it came from.
        failed_at: when it was given up; None where SQS does not tell.
        payload: key of the object that holds the arguments where they were too large for a message.
        undecodable: what is wrong with the body, where it cannot be read.
        schedule: name of the schedule that made it.
        group: message group.
        attributes: all that it carries.
        message: the body, read; the firing of a schedule has no id in it.
        body: the body; that of a firing with its scheduled time filled in.
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
        """Whether SQS itself moved it: its run was never raised."""
        return self.reason == MOVED_BY_SQS

    @property
    def since(self) -> float:
        """When it was given up, or where that is not known, sent."""
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


def view_of(delivery: Delivery, queue: DeadLetterQueue) -> DeadLetterView:
    """A received dead letter, read as far as it can be."""
    attributes = delivery.attributes
    message, undecodable = None, None
    body = _as_fired(delivery.body, attributes) if queue.source is None else delivery.body
    body = dated(body, delivery.sent_at)
    id: str | None = None
    try:
        message = decode(body)
        # The firing of a schedule gets its id where it is received.
        id = message.id or receive(message, delivery.sent_at)[0].id
    except UndecodableMessage as error:
        message, undecodable = None, f"{error.reason}: {error}"
    failed_at: float | None
    if queue.source is None:
        reason, error_type, error_message = UNDELIVERED, attributes.get(ERROR_CODE), attributes.get(SCHEDULER_MESSAGE)
        attempts, failed_at = _whole(attributes.get(RETRY_ATTEMPTS)), delivery.sent_at
    else:
        reason = attributes.get(REASON) or MOVED_BY_SQS
        error_type, error_message = attributes.get(ERROR_TYPE), attributes.get(ERROR_MESSAGE)
        attempts, failed_at = _whole(attributes.get(ATTEMPTS)), _seconds(attributes.get(DEAD_LETTERED_AT))
    firing = message.schedule if message is not None else None
    name = firing.get("name") if firing else None
    return DeadLetterView(
        queue.name,
        queue.source,
        delivery.message_id,
        message.task if message else attributes.get(TASK) or None,
        id,
        message.run if message else 0,
        reason,
        error_type,
        error_message,
        attributes.get(TRACEBACK),
        attempts,
        delivery.receive_count,
        delivery.sent_at,
        failed_at,
        message.labels if message else {},
        message.args if message else [],
        message.kwargs if message else {},
        message.payload if message else None,
        undecodable,
        name if isinstance(name, str) else None,
        delivery.group,
        attributes,
        message,
        body,
    )


def groups_of(dead_letters: Iterable[DeadLetterView]) -> list[DeadLetterGroup]:
    """How many there are of each reason, task and error type, the most first."""
    found: dict[tuple[str, str, str | None, str | None], list[float]] = {}
    for one in dead_letters:
        found.setdefault((one.queue, one.reason, one.task, one.error_type), []).append(one.since)
    groups = [DeadLetterGroup(*key, len(times), min(times), max(times)) for key, times in found.items()]
    return sorted(groups, key=lambda group: (-group.total, group.queue, group.reason, group.task or ""))


def _as_fired(body: str, attributes: Mapping[str, str]) -> str:
    """The input of a schedule with its scheduled time, should the clock have left it out."""
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
    return seconds if 0 <= seconds < MAX_TIME else None  # neither NaN nor infinity


class Selection(NamedTuple):
    """Dead letters that fit all that is given; an empty selection means all.

    Args:
        tasks: names of tasks.
        reasons: such as ``exhausted`` or ``crashed``.
        older_than: seconds since they were given up (where that is not known, sent).
        labels: all of these.
        ids: ids of tasks.
        message_ids: SQS's ids of messages, as a listing shows them.
        before: epoch seconds; given up (where that is not known, sent) before that time. With the time at which
            one began, a redrive in several steps leaves what fails again meanwhile.
        newer_than: seconds since they were given up at most, as with `older_than`.
    """

    tasks: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    older_than: float | None = None
    labels: Mapping[str, str] = {}
    ids: frozenset[str] = frozenset()
    message_ids: frozenset[str] = frozenset()
    before: float | None = None
    newer_than: float | None = None

    def matches(self, one: DeadLetterView, now: float) -> bool:
        """Whether a dead letter is meant."""
        return (
            (not self.tasks or one.task in self.tasks)
            and (not self.reasons or one.reason in self.reasons)
            and (self.older_than is None or now - one.since >= self.older_than)
            and (self.before is None or one.since < self.before)
            and (self.newer_than is None or now - one.since <= self.newer_than)
            and all(one.labels.get(name) == value for name, value in self.labels.items())
            and (not self.ids or one.id in self.ids)
            and (not self.message_ids or one.message_id in self.message_ids)
        )

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()

    @property
    def max_matches(self) -> int | None:
        """The most dead letters that can fit, where that is known."""
        return len(self.message_ids) or None


ALL = Selection()
