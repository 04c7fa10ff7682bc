"""The definition of a schedule, and the limits that several packages check."""

from __future__ import annotations

from typing import NamedTuple

DECLARED = "d-"
RUNTIME = "r-"
DELAY = "t-"
"""Prefixes of schedule names: declared in code, made at run time, the delay or late retry of one task."""

MAX_EXPRESSION = 256
"""Longest schedule expression, in characters (EventBridge Scheduler API reference, ScheduleExpression)."""

MAX_WINDOW_MINUTES = 1_440
"""Longest flexible time window (EventBridge Scheduler API reference, FlexibleTimeWindow)."""


class ScheduleSpec(NamedTuple):
    """The definition of a schedule. Times are epoch seconds, whole.

    Args:
        name: 1 to 64 of ``[0-9a-zA-Z-_.]``; begins with ``d-``, ``r-`` or ``t-``.
        expression, timezone: see :class:`~taskq_sls.scheduler.expressions.When`.
        queue: logical name of the queue that gets the message.
        body: the message body; ``<aws.scheduler.scheduled-time>`` is replaced by the time of the firing.
        start, end: nothing fires before and after.
        window: minutes of flexible time window, 0 for none.
        enabled: False keeps the schedule without firing.
        group: message group of a FIFO queue.
        delete_after: the store deletes it after its last firing.
    """

    name: str
    expression: str
    timezone: str
    queue: str
    body: str
    start: float | None = None
    end: float | None = None
    window: int = 0
    enabled: bool = True
    group: str | None = None
    delete_after: bool = False
