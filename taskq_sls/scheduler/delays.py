"""One-time schedules for the delay of a task, or for its late retry."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from ..core.delivery import Delivery, RetryIn
from ..core.message import Message
from ..core.schedule_spec import ScheduleSpec
from .firing import PLACEHOLDER, delay_name
from .store import ScheduleStore

logger = logging.getLogger("taskq_sls.delivery")

MINUTE_SECONDS = 60
"""EventBridge Scheduler's precision: it fires within the minute that is named (user guide)."""

LEAD_SECONDS = 10
"""A schedule aims at least this far ahead: it must exist before its minute begins."""


def delay_spec(
    *, id: str, run: int, attempt: int, due: float, now: float, queue: str, group: str | None, body: str = ""
) -> ScheduleSpec:
    """The schedule that sends a task's message to `queue`, once.

    On a standard queue the message arrives in the minute before `due`; the receiver then hides it until the exact second.
    On a FIFO queue it arrives in the next full minute at or after `due`: hiding it would block its whole group.

    Args:
        due: when the task may start, epoch seconds.
        now: epoch seconds.
    """
    if queue.endswith(".fifo"):
        minute = math.ceil(max(due, now + LEAD_SECONDS) / MINUTE_SECONDS)
    else:
        minute = int(max(due // MINUTE_SECONDS - 1, (now + LEAD_SECONDS) // MINUTE_SECONDS + 1))
    time = datetime.fromtimestamp(minute * MINUTE_SECONDS, UTC)
    return ScheduleSpec(
        name=delay_name(id, run, attempt),
        expression=f"at({time:%Y-%m-%dT%H:%M:%S})",
        timezone="UTC",
        queue=queue,
        body=body,
        group=group,
        delete_after=True,
    )


def late_retry(delivery: Delivery, message: Message, attempt: int, due: float, now: float) -> ScheduleSpec:
    """The schedule that sends a received message again.

    Args:
        attempt: the last attempt; id, run and attempt name the schedule, so that it can safely be created twice.
        due, now: epoch seconds, as for `delay_spec`.
    """
    again = message._replace(attempt=attempt, not_before=round(due, 3))
    if message.payload is not None:  # its arguments stay in the bucket
        again = again._replace(args=[], kwargs={})
    return delay_spec(
        id=message.id,
        run=message.run,
        attempt=attempt,
        due=due,
        now=now,
        queue=delivery.queue,
        group=delivery.group,
        body=literal(again.encode()),
    )


def literal(body: str) -> str:
    """The same JSON, escaped so that a clock replaces nothing in it: an argument may contain a placeholder."""
    return body.replace(PLACEHOLDER, "\\u003c" + PLACEHOLDER[1:])


async def reschedule(schedules: ScheduleStore | None, entries: Sequence[tuple[Delivery, RetryIn]]) -> list[bool]:
    """Make the schedules that bring messages again; for each entry, True if its original may be deleted now.

    A schedule that exists already counts as made. A message without one stays in its queue, and is hidden instead.
    """
    made = []
    for delivery, outcome in entries:
        made.append(schedules is not None and outcome.later is not None)
        try:
            if schedules is not None and outcome.later is not None:
                await schedules.create(outcome.later)
        except Exception as error:
            made[-1] = False
            logger.warning(
                "message %s could not be rescheduled, and is hidden instead: %s",
                delivery.message_id,
                error,
                extra={"action": "schedule_fault", "queue": delivery.queue},
            )
    return made
