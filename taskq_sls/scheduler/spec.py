"""Schedules as a store keeps them: limits, checks and the normalized form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..core.number_checks import is_whole
from ..core.schedule_spec import MAX_EXPRESSION, MAX_WINDOW_MINUTES, ScheduleSpec
from ..errors import ConfigError, PayloadTooLarge

if TYPE_CHECKING:
    from .expressions import When

MAX_NAME = 64
"""Longest name of a schedule or a schedule group, in characters (EventBridge Scheduler API reference)."""

NAME_PATTERN = re.compile(rf"[0-9a-zA-Z_.-]{{1,{MAX_NAME}}}")
"""Names of schedules (EventBridge Scheduler API reference)."""

MAX_INPUT_BYTES = 256 * 1024
"""Largest input of a target (EventBridge Scheduler quotas), which is the message body."""

MAX_GROUP = 128
"""Longest message group, in characters (EventBridge Scheduler API reference, SqsParameters)."""

NO_SCHEDULER = (
    "no scheduler is configured: set TASKQ_SCHEDULE_ROLE_ARN (the role with which EventBridge Scheduler sends to the "
    "queues) and TASKQ_SCHEDULE_GROUP; `taskq local up` sets both"
)


class StoredSchedule(NamedTuple):
    """A schedule in a store.

    Args:
        spec: its definition. ``spec.queue`` is the logical name if the app knows the queue, else the physical one.
        arn: ARN of the schedule.
        target: ARN of the queue.
        created, modified: epoch seconds.
    """

    spec: ScheduleSpec
    arn: str
    target: str
    created: float
    modified: float

    @property
    def anchor(self) -> float:
        """Start of the grid of a rate without a start: its creation, cut to the whole seconds of scheduled times."""
        return float(int(self.created))


class ScheduleSummary(NamedTuple):
    """One entry of a listing, without expression and body. Times are epoch seconds."""

    name: str
    enabled: bool
    created: float
    modified: float


def check_spec(spec: ScheduleSpec) -> None:
    """Reject a schedule that EventBridge Scheduler refuses, or that would fail at every firing.

    Raises:
        ConfigError: name, expression, window, bounds or message group are not valid.
        PayloadTooLarge: the message body is over :data:`~taskq_sls.scheduler.spec.MAX_INPUT_BYTES`.
    """
    check_name(spec.name)
    if not 1 <= len(spec.expression) <= MAX_EXPRESSION:
        raise ConfigError(
            f"schedule {spec.name!r}: the expression {spec.expression!r:.60} has {len(spec.expression)} characters; "
            f"use 1 to {MAX_EXPRESSION}"
        )
    _check_bounds(spec)
    _check_group(spec)
    _check_body(spec)


def check_name(name: object) -> None:
    """Raise ConfigError if `name` is not a valid schedule name."""
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise ConfigError(f"schedule name {name!r}: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.'")


def normalize(spec: ScheduleSpec, now: float) -> ScheduleSpec:
    """The form in which a store keeps a schedule: without the parts that have no effect, with a valid start.

    Two schedules fire alike from `now` on if their normalized forms are equal.

    - A start in the past does not affect ``cron``, and EventBridge Scheduler refuses one of more than 5 minutes ago.
      For ``rate`` it sets the grid, so the next point of the grid replaces it.
    - A one-time schedule has no bounds, and a schedule for a standard queue has no message group.

    Args:
        now: epoch seconds.
    """
    start = None if spec.start is None else float(int(spec.start))
    end = None if spec.end is None else float(int(spec.end))
    if is_once(spec):
        start = end = None
    elif start is not None and start <= now:
        start = when_of(spec._replace(end=None)).next_time(now) if is_rate(spec) else None
    return spec._replace(start=start, end=end, group=spec.group if is_fifo(spec) else None)


def when_of(spec: ScheduleSpec) -> When:
    """The parsed expression of a schedule.

    Raises:
        ConfigError: expression, time zone or bounds are not valid.
    """
    # A process that only makes delays does not need the parser; importing it would slow its cold start.
    from .parse import parse

    if is_once(spec):
        return parse(spec.expression, spec.timezone, window=spec.window)
    return parse(spec.expression, spec.timezone, start=spec.start, end=spec.end, window=spec.window)


def is_once(spec: ScheduleSpec) -> bool:
    """True for a one-time schedule, ``at(...)``."""
    return spec.expression.startswith("at(")


def is_rate(spec: ScheduleSpec) -> bool:
    """True for ``rate(...)``; its grid begins at its start or its creation."""
    return spec.expression.startswith("rate(")


def is_fifo(spec: ScheduleSpec) -> bool:
    """True if the schedule's queue is a FIFO queue."""
    return spec.queue.endswith(".fifo")


def _check_bounds(spec: ScheduleSpec) -> None:
    window, most = spec.window, MAX_WINDOW_MINUTES
    if not is_whole(window, 0, most):
        raise ConfigError(f"schedule {spec.name!r}: window={window!r} must be a whole number of 0 to {most:,} minutes")
    if spec.start is not None and spec.end is not None and spec.end <= spec.start:
        raise ConfigError(f"schedule {spec.name!r}: end={spec.end!r} must be after start={spec.start!r}")


def _check_group(spec: ScheduleSpec) -> None:
    if spec.group is None:
        if is_fifo(spec):
            raise ConfigError(
                f"schedule {spec.name!r}: messages of the FIFO queue {spec.queue!r} need a message group; "
                "give one with group=..."
            )
    elif not 1 <= len(spec.group) <= MAX_GROUP:
        raise ConfigError(
            f"schedule {spec.name!r}: the message group {spec.group!r:.60} has {len(spec.group)} characters; "
            f"use 1 to {MAX_GROUP}"
        )


def _check_body(spec: ScheduleSpec) -> None:
    if not spec.body:
        raise ConfigError(f"schedule {spec.name!r}: the message body is empty, which EventBridge Scheduler refuses")
    size = len(spec.body) if spec.body.isascii() else len(spec.body.encode("utf-8", "surrogatepass"))
    if size > MAX_INPUT_BYTES:
        raise PayloadTooLarge(
            f"schedule {spec.name!r}: the message has {size:,} bytes; EventBridge Scheduler takes "
            f"{MAX_INPUT_BYTES:,}. Give smaller arguments, or name a bucket for large ones (TASKQ_BUCKET)"
        )
