"""The firing of a schedule: one scheduled time, one task id, however often its message comes.

The target of a schedule is the queue itself. Its input is the whole envelope, without an id, with a field
``schedule``:

- ``name`` and ``group`` of the schedule, and ``at``: the scheduled time, which the clock fills in;
- ``overlap``: ``skip`` where a firing is dropped while the one before still runs; left out otherwise;
- ``misfire``: what the local clock does with firings it has missed (``skip``, ``once``, ``all``);
- ``jitter``: seconds by which the firing is put off; ``expires_in``: seconds after `at` when it is too late to start.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ..core.envelope import MAX_TIME
from ..core.message import Message, decode
from ..core.number_checks import is_number
from ..core.schedule_spec import DELAY
from ..errors import ArgumentsError, UndecodableMessage

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
"""What EventBridge Scheduler replaces by the scheduled time (user guide, context attributes)."""

MAX_NAME = 100
"""Most characters of a schedule's name and of its group. EventBridge Scheduler allows 64 (API reference, CreateSchedule)."""

Overlap = Literal["allow", "skip"]
Misfire = Literal["skip", "once", "all"]


class Firing(NamedTuple):
    """The ``schedule`` field of an envelope, read. `at` is epoch seconds; `exact` is False where it was made up."""

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
        """When its task may start: `at`, put off by the jitter; None where there is none."""
        if not self.jitter:
            return None
        spread = int.from_bytes(_digest(f"{self.group}/{self.name}", self.at)[-4:], "big") / 0xFFFF_FFFF
        return self.at + round(self.jitter * spread, 3)

    @property
    def key(self) -> str | None:
        """The lock that lets one firing run at a time; None where firings may overlap."""
        return f"schedule:{self.group}/{self.name}" if self.overlap == "skip" else None


def firing_id(group: str, name: str, at: float) -> str:
    """The task id of a firing: a UUID (version 8) that begins with the scheduled time, so that ids sort by time.

    Args:
        at: scheduled time, epoch seconds; fractions do not count.
    """
    digest = int.from_bytes(_digest(f"{group}/{name}", at)[:10], "big")
    value = (int(at) * 1000 & 0xFFFF_FFFF_FFFF) << 80 | digest
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def delay_name(id: str, run: int, attempt: int) -> str:
    """The name of the one-time schedule that carries a task's delay, or the late retry after `attempt`."""
    return DELAY + hashlib.sha256(f"{id}:{run}:{attempt}".encode()).hexdigest()[:48]


def read_firing(fields: dict[str, Any], sent_at: float) -> Firing:
    """Read the ``schedule`` field of a message without an id.

    Args:
        sent_at: when the message was sent, epoch seconds. Its minute stands for a scheduled time that no clock
            has filled in.

    Raises:
        UndecodableMessage: a field is missing, of the wrong kind or out of range.
    """
    name, group, at = fields.get("name"), fields.get("group", ""), fields.get("at")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise _unusable("name", name)
    if not isinstance(group, str) or len(group) > MAX_NAME:
        raise _unusable("group", group)
    overlap, jitter, expires_in = fields.get("overlap", "allow"), fields.get("jitter", 0), fields.get("expires_in")
    if overlap not in ("allow", "skip"):
        raise _unusable("overlap", overlap)
    if not _seconds(jitter):
        raise _unusable("jitter", jitter)
    if expires_in is not None and not _seconds(expires_in):
        raise _unusable("expires_in", expires_in)
    exact = at != SCHEDULED_TIME
    time = _time(at) if exact else sent_at // 60 * 60
    if time + max(jitter, expires_in or 0) >= MAX_TIME:
        raise _unusable("at", at)
    return Firing(name, group, time, overlap, jitter, expires_in, exact)


def receive(message: Message, sent_at: float) -> tuple[Message, bool]:
    """The message of a firing with its id and times, and whether its clock had filled in the scheduled time.

    Args:
        sent_at: see `read_firing`.

    Raises:
        UndecodableMessage: see `read_firing`.
    """
    firing = read_firing(message.schedule or {}, sent_at)
    filled = message._replace(
        id=firing.id,
        not_before=firing.not_before,
        expires_at=None if firing.expires_in is None else firing.at + firing.expires_in,
        unique_key=firing.key,
        schedule={**(message.schedule or {}), "at": scheduled_time(firing.at)},
    )
    return filled, firing.exact


def dated(body: str, sent_at: float) -> str:
    """The body of a message; that of a firing whose clock left the time out gets the one that `receive` takes for it.

    For what is sent again later: then the minute of sending is another one, and so would be the task.
    """
    try:
        message = decode(body)
        if message.id or not message.schedule or message.schedule.get("at") != SCHEDULED_TIME:
            return body
        at = scheduled_time(read_firing(message.schedule, sent_at).at)
        return message._replace(schedule={**message.schedule, "at": at}).encode()
    except (UndecodableMessage, ArgumentsError):  # the latter for a number that JSON text cannot give back
        return body


def scheduled_time(at: float) -> str:
    """A time as EventBridge writes it: ``2026-12-01T09:00:00Z``."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(at: object) -> float:
    if isinstance(at, str):
        try:
            time = datetime.fromisoformat(at)
        except ValueError:
            raise _unusable("at", at) from None
        seconds = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
        if 0 <= seconds < MAX_TIME:
            return seconds
    raise _unusable("at", at)


def _seconds(value: object) -> bool:
    return is_number(value, 0) and value < 1e10


def _digest(schedule: str, at: float) -> bytes:
    return hashlib.sha256(f"{schedule}@{int(at)}".encode()).digest()


def _unusable(field: str, value: object) -> UndecodableMessage:
    return UndecodableMessage("undecodable", f"the schedule's {field} is {value!r:.80}")


SCHEDULE_ARN = "<aws.scheduler.schedule-arn>"
EXECUTION_ID = "<aws.scheduler.execution-id>"
ATTEMPT_NUMBER = "<aws.scheduler.attempt-number>"
"""The other context attributes that EventBridge Scheduler replaces (user guide)."""

_ANY = "<aws.scheduler."


def substitute(body: str, arn: str, at: float) -> str:
    """The message of one firing. Every clock makes the same one, so that FIFO queues drop the second.

    Args:
        arn: of the schedule.
        at: scheduled time, epoch seconds.
    """
    if _ANY not in body:
        return body
    body = body.replace(SCHEDULED_TIME, scheduled_time(at))
    if _ANY in body:
        body = body.replace(SCHEDULE_ARN, json.dumps(arn)[1:-1]).replace(ATTEMPT_NUMBER, "1")
        body = body.replace(EXECUTION_ID, execution_id(arn, at))
    return body


def execution_id(arn: str, at: float) -> str:
    """The id of one firing: in AWS random for each attempt, here the same from every clock."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{arn}@{int(at)}".encode()).digest()[:16], version=4))


def window_offset(arn: str, window: int) -> float:
    """Seconds by which a schedule fires after its scheduled time: evenly spread over its flexible window.

    The same for every firing, so that they stay as far apart as they are, and for every clock.

    Args:
        window: minutes, 0 for none.
    """
    if not window:
        return 0.0
    share = int.from_bytes(hashlib.sha256(arn.encode()).digest()[:4], "big") / 0x1_0000_0000
    return round(share * window * 60.0, 3)
