"""The one-time schedules that carry a task's delay, or its late retry."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from ..core.delivery import Delivery
from ..core.message import Message
from ..core.schedule_spec import ScheduleSpec
from .firing import delay_name

MINUTE = 60
"""Seconds of EventBridge Scheduler's precision: it fires within the minute that is named (user guide)."""

PLACEHOLDER = "<aws.scheduler."
"""Start of what clocks replace in a message (EventBridge Scheduler user guide, context attributes)."""

ROOM = 10
"""Seconds from now within which no schedule is aimed: it must stand before its minute begins."""


def delay_spec(
    *, id: str, run: int, attempt: int, due: float, now: float, queue: str, group: str | None, body: str = ""
) -> ScheduleSpec:
    """The schedule that brings a task's message to `queue`, once.

    On a standard queue it comes in the minute before `due`, so that the receiver can hide it up to the second. A FIFO
    queue gets it in the next full minute at or after `due`: hiding it would stop its whole group.

    Args:
        due: when the task may start, epoch seconds.
        now: epoch seconds.
    """
    if queue.endswith(".fifo"):
        minute = math.ceil(max(due, now + ROOM) / MINUTE)
    else:
        minute = int(max(due // MINUTE - 1, (now + ROOM) // MINUTE + 1))
    expression = f"at({datetime.fromtimestamp(minute * MINUTE, UTC):%Y-%m-%dT%H:%M:%S})"
    return ScheduleSpec(delay_name(id, run, attempt), expression, "UTC", queue, body, group=group, delete_after=True)


def late_retry(delivery: Delivery, message: Message, attempt: int, due: float, now: float) -> ScheduleSpec:
    """The schedule that brings a received message anew.

    Args:
        attempt: the last one that was started; with id and run it names the schedule, so that making it twice is safe.
    """
    again = message._replace(attempt=attempt, not_before=round(due, 3))
    if message.payload is not None:  # its arguments stay in the bucket
        again = again._replace(args=[], kwargs={})
    body = literal(again.encode())
    return delay_spec(
        id=message.id,
        run=message.run,
        attempt=attempt,
        due=due,
        now=now,
        queue=delivery.queue,
        group=delivery.group,
        body=body,
    )


def literal(body: str) -> str:
    """The same JSON, in which a clock finds nothing to replace: an argument may hold such text."""
    return body.replace(PLACEHOLDER, "\\u003c" + PLACEHOLDER[1:])
