"""A schedule as a store keeps it: without what has no effect, and with a start that is accepted."""

from __future__ import annotations

from ..core.schedule_spec import ScheduleSpec
from .checks import fifo
from .expressions import When


def normalize(spec: ScheduleSpec, now: float) -> ScheduleSpec:
    """The schedule that does the same as `spec` from `now` on, in the form in which a store keeps it.

    Two schedules do the same from `now` on where their kept forms are equal, whatever their starts once were.

    - A start in the past says nothing more to ``cron``, and EventBridge Scheduler refuses one of more than 5 minutes.
      To ``rate`` it is the grid: the next point of the grid takes its place.
    - A one-time schedule has no bounds, and a standard queue takes no message group from a schedule.

    Args:
        now: epoch seconds.
    """
    start = None if spec.start is None else float(int(spec.start))
    end = None if spec.end is None else float(int(spec.end))
    if is_once(spec):
        start = end = None
    elif start is not None and start <= now:
        start = _next_point(spec, now) if is_rate(spec) else None
    return spec._replace(start=start, end=end, group=spec.group if fifo(spec) else None)


def when_of(spec: ScheduleSpec) -> When:
    """When a schedule fires.

    Raises:
        ConfigError: its expression, time zone or bounds are not understood.
    """
    # Not needed to make a delay, in a process that makes nothing else.
    from .parse import parse

    if is_once(spec):
        return parse(spec.expression, spec.timezone, window=spec.window)
    return parse(spec.expression, spec.timezone, start=spec.start, end=spec.end, window=spec.window)


def is_once(spec: ScheduleSpec) -> bool:
    """Whether it is a one-time schedule, ``at(...)``."""
    return spec.expression.startswith("at(")


def is_rate(spec: ScheduleSpec) -> bool:
    """Whether it is a ``rate(...)``, whose grid begins at its start or its creation."""
    return spec.expression.startswith("rate(")


def _next_point(spec: ScheduleSpec, now: float) -> float | None:
    return when_of(spec._replace(end=None)).next_time(now)
