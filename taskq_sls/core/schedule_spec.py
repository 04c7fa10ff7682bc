"""A schedule as it should be."""

from __future__ import annotations

from typing import NamedTuple


class ScheduleSpec(NamedTuple):
    """A schedule as it should be. Times are epoch seconds, whole.

    Args:
        name: 1 to 64 of ``[0-9a-zA-Z-_.]``; begins with ``d-``, ``r-`` or ``t-``.
        expression, timezone: see :class:`~taskq_sls.scheduler.expressions.When`.
        queue: logical name of the queue the message goes to.
        body: the message body, where ``<aws.scheduler.scheduled-time>`` stands for the time of the firing.
        start, end: nothing fires before and after.
        window: minutes of flexible time window, 0 for none.
        enabled: whether it fires.
        group: message group of a FIFO queue.
        delete_after: the store drops it after its last firing.
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
