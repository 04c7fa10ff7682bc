"""Firings: one scheduled time of a schedule makes one task id, however often its message arrives.

The target of a schedule is the queue itself. Its input is the whole envelope, without an id, with a field
``schedule``:

- ``name`` and ``group`` of the schedule, and ``at``: the scheduled time, which the clock fills in;
- ``overlap``: ``skip`` drops a firing while the one before still runs; left out otherwise;
- ``misfire``: the local clock's policy for missed firings (``skip``, ``once``, ``all``);
- ``jitter``: largest random delay in seconds; ``expires_in``: seconds after `at` when it is too late to start.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

from ..core.envelope import MAX_TIME
from ..core.message import Message, decode
from ..core.schedule_spec import DELAY
from ..errors import ArgumentsError, UndecodableMessage

PLACEHOLDER = "<aws.scheduler."
"""Start of the placeholders that clocks replace in a message (EventBridge Scheduler user guide, context attributes)."""

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
SCHEDULE_ARN = "<aws.scheduler.schedule-arn>"
EXECUTION_ID = "<aws.scheduler.execution-id>"
ATTEMPT_NUMBER = "<aws.scheduler.attempt-number>"

MAX_RECEIVED_NAME = 100
"""Longest name of a schedule or a group in a message, in characters. EventBridge Scheduler allows 64 (API reference,
CreateSchedule)."""

Overlap = Literal["allow", "skip"]
Misfire = Literal["skip", "once", "all"]


class Firing(NamedTuple):
    """The parsed ``schedule`` field of an envelope. `at` is epoch seconds; `exact` is False if the clock omitted it."""

    name: str
    group: str
    at: float
    overlap: str = "allow"
    jitter: float = 0.0
    expires_in: float | None = None
    exact: bool = True

    @property
    def id(self) -> str:
        """The id of the task it makes."""
        return firing_id(self.group, self.name, self.at)

    @property
    def not_before(self) -> float | None:
        """When its task may start: `at` plus its share of the jitter; None without jitter."""
        if not self.jitter:
            return None
        share = int.from_bytes(_digest(f"{self.group}/{self.name}", self.at)[-4:], "big") / 0xFFFF_FFFF
        return self.at + round(self.jitter * share, 3)

    @property
    def key(self) -> str | None:
        """The unique key that lets one firing run at a time; None if firings may overlap."""
        return f"schedule:{self.group}/{self.name}" if self.overlap == "skip" else None


def firing_id(group: str, name: str, at: float) -> str:
    """The task id of a firing: a UUID (version 8) that begins with the scheduled time, so that ids sort by time.

    Args:
        at: scheduled time, epoch seconds; fractions are ignored.
    """
    digest = int.from_bytes(_digest(f"{group}/{name}", at)[:10], "big")
    value = (int(at) * 1000 & 0xFFFF_FFFF_FFFF) << 80 | digest
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def delay_name(id: str, run: int, attempt: int) -> str:
    """The name of the one-time schedule for a task's delay, or for its late retry after `attempt`."""
    return DELAY + hashlib.sha256(f"{id}:{run}:{attempt}".encode()).hexdigest()[:48]


def read_firing(fields: dict[str, Any], sent_at: float) -> Firing:
    """Parse the ``schedule`` field of a message without an id.

    Args:
        sent_at: when the message was sent, epoch seconds. Its minute replaces a scheduled time that no clock has filled
            in.

    Raises:
        UndecodableMessage: a field is missing, of the wrong type or out of range.
    """
    name, group = fields.get("name"), fields.get("group", "")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_RECEIVED_NAME:
        raise _unusable("name", name)
    if not isinstance(group, str) or len(group) > MAX_RECEIVED_NAME:
        raise _unusable("group", group)
    overlap = fields.get("overlap", "allow")
    if overlap not in ("allow", "skip"):
        raise _unusable("overlap", overlap)
    jitter = _seconds("jitter", fields.get("jitter", 0))
    expires_in = None if fields.get("expires_in") is None else _seconds("expires_in", fields["expires_in"])
    at = fields.get("at")
    exact = at != SCHEDULED_TIME
    time = _parse_time(at) if exact else sent_at // 60 * 60
    if time + max(jitter, expires_in or 0) >= MAX_TIME:
        raise _unusable("at", at)
    return Firing(name, group, time, overlap=overlap, jitter=jitter, expires_in=expires_in, exact=exact)


def receive(message: Message, sent_at: float) -> tuple[Message, str | None]:
    """The message of a firing with its id and times; and, if the clock omitted the scheduled time, the body with it.

    Without that time, a body that is sent again later would get another time, and so another task id.

    Args:
        sent_at: see `read_firing`.

    Raises:
        UndecodableMessage: see `read_firing`.
    """
    firing = read_firing(message.schedule or {}, sent_at)
    timed = message._replace(schedule={**(message.schedule or {}), "at": scheduled_time(firing.at)})
    filled = timed._replace(
        id=firing.id,
        not_before=firing.not_before,
        expires_at=None if firing.expires_in is None else firing.at + firing.expires_in,
        unique_key=firing.key,
    )
    return filled, None if firing.exact else timed.encode()


def dated(body: str, sent_at: float) -> str:
    """Fill in the scheduled time of a message if the clock omitted it, as `receive` does."""
    try:
        message = decode(body)
        is_firing = not message.id and message.schedule is not None
        return (is_firing and receive(message, sent_at)[1]) or body
    except (UndecodableMessage, ArgumentsError):
        return body


def misfire_policy(body: str) -> str:
    """The misfire policy in a message body; ``once`` if it has none, or is not an envelope."""
    if '"misfire"' not in body:
        return "once"
    try:
        policy = json.loads(body)["schedule"]["misfire"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "once"
    return policy if policy in get_args(Misfire) else "once"


def substitute(body: str, arn: str, at: float) -> str:
    """Fill in the placeholders for one firing. All clocks make the same message, so that FIFO queues drop the second.

    Args:
        arn: ARN of the schedule.
        at: scheduled time, epoch seconds.
    """
    if PLACEHOLDER not in body:
        return body
    body = body.replace(SCHEDULED_TIME, scheduled_time(at))
    if PLACEHOLDER in body:
        # In AWS the execution id is random for each attempt; here it is the same from every clock.
        digest = hashlib.sha256(f"{arn}@{int(at)}".encode()).digest()
        body = body.replace(SCHEDULE_ARN, json.dumps(arn)[1:-1]).replace(ATTEMPT_NUMBER, "1")
        body = body.replace(EXECUTION_ID, str(uuid.UUID(bytes=digest[:16], version=4)))
    return body


def window_offset(arn: str, window: int) -> float:
    """Seconds after its scheduled time at which a schedule fires: spread evenly over the flexible window.

    The same for every firing, so that the intervals between them stay, and for every clock.

    Args:
        window: minutes, 0 for none.
    """
    if not window:
        return 0.0
    share = int.from_bytes(hashlib.sha256(arn.encode()).digest()[:4], "big") / 0x1_0000_0000
    return round(share * window * 60.0, 3)


def scheduled_time(at: float) -> str:
    """A time as EventBridge writes it: ``2026-12-01T09:00:00Z``."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_time(at: object) -> float:
    if isinstance(at, str):
        try:
            time = datetime.fromisoformat(at)
        except ValueError:
            raise _unusable("at", at) from None
        seconds = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
        if 0 <= seconds < MAX_TIME:
            return seconds
    raise _unusable("at", at)


def _seconds(field: str, value: object) -> float:
    if type(value) in (int, float) and isinstance(value, int | float) and 0 <= value < 1e10:
        return value
    raise _unusable(field, value)


def _digest(schedule: str, at: float) -> bytes:
    return hashlib.sha256(f"{schedule}@{int(at)}".encode()).digest()


def _unusable(field: str, value: object) -> UndecodableMessage:
    return UndecodableMessage("undecodable", f"the schedule's {field} is {value!r:.80}")
