"""Counters of a span of time, in points of equal length."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

from ..core.flow import Flow
from ..core.number_checks import MAX_FLOAT, is_number
from ..core.times import TimeLike, epoch_seconds
from ..errors import ConfigError
from .counters import EMPTY, HOUR, MINUTE, CounterKey, Counters, MetricStore

DAY = 86_400

MAX_POINTS = 1_500
"""Points of one window: enough for a day of minutes or 60 days of hours."""

DEFAULT_STEPS = ((3 * HOUR, MINUTE), (12 * HOUR, 5 * MINUTE), (14 * DAY, HOUR))
"""The longest span with each default step, and the step, in seconds."""

K = TypeVar("K")
Rows = Sequence[tuple[CounterKey, Counters]]


class Point(NamedTuple):
    """The counters of one step. `time` is its beginning in epoch seconds."""

    time: int
    counters: Counters


class Named(NamedTuple):
    """The counters of one task, or of one queue."""

    name: str
    counters: Counters


class Window:
    """The counters of a span of time.

    Attributes:
        since, until: beginning and end in epoch seconds, multiples of `step`.
        step: seconds of a point.
    """

    def __init__(self, since: int, until: int, step: int, rows: Rows) -> None:
        self.since = since
        self.until = until
        self.step = step
        self._rows = rows

    @property
    def points(self) -> list[Point]:
        """A point for every step, empty ones included, oldest first."""
        step = self.step
        found = _summed(self._rows, lambda key: key.time // step * step)
        return [Point(time, found.get(time, EMPTY)) for time in range(self.since, self.until, step)]

    @property
    def totals(self) -> Counters:
        """The sum of the whole span."""
        return _summed(self._rows, lambda key: None).get(None, EMPTY)

    @property
    def tasks(self) -> list[Named]:
        """The counters of each task, by name."""
        return _named(_summed(self._rows, lambda key: key.task))

    @property
    def queues(self) -> list[Named]:
        """The counters of each queue, by name."""
        return _named(_summed(self._rows, lambda key: key.queue))

    def failing(self, limit: int = 10) -> list[Named]:
        """The tasks that fail most, worst first: by tasks failed for good, then by attempts that are retried.

        Tasks without a failure are left out.
        """
        failed = [task for task in self.tasks if task.counters.failed or task.counters.retried]
        failed.sort(key=lambda task: (-task.counters.failed, -task.counters.retried, task.name))
        return failed[:limit]

    def of(self, *, task: str | None = None, queue: str | None = None) -> Window:
        """The part of one task, one queue, or a task from a queue."""
        rows = [row for row in self._rows if task in (None, row[0].task) and queue in (None, row[0].queue)]
        return Window(self.since, self.until, self.step, rows)


async def read_window(
    store: MetricStore | None,
    flow: Flow,
    app: str,
    now: float,
    task: str | None,
    queue: str | None,
    since: TimeLike,
    until: TimeLike | None,
    step: float | timedelta | None,
) -> Window:
    """Read the window that `Metrics.window` describes. Without a store it is empty."""
    start = epoch_seconds("since", since, now)
    end = now if until is None else epoch_seconds("until", until, now)
    length = _step(step, start, end)
    first, stop = math.floor(start / length) * length, math.ceil(end / length) * length
    if until is None and stop == end:
        stop += length  # the step that begins now
    if (stop - first) // length > MAX_POINTS:
        raise ConfigError(
            f"step={length} makes {(stop - first) // length:,} points of the time from since to until; at most "
            f"{MAX_POINTS:,} are read at once: give a longer step, or a shorter time"
        )
    if store is None:
        return Window(first, stop, length, [])
    parts = _parts(first, stop, length, now)
    found = await flow.map(lambda part: store.read(app, *part, task=task, now=now), parts, len(parts))
    return Window(first, stop, length, [row for rows in found for row in rows if queue in (None, row[0].queue)])


def _step(step: float | timedelta | None, start: float, end: float) -> int:
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise ConfigError(f"since={start:.0f} must be before until={end:.0f} (epoch seconds)")
    if step is None:
        return next((fitting for longest, fitting in DEFAULT_STEPS if end - start <= longest), DAY)
    seconds = step.total_seconds() if isinstance(step, timedelta) else step
    if not is_number(seconds, MINUTE, MAX_FLOAT) or seconds % (HOUR if seconds >= HOUR else MINUTE):
        raise ConfigError(f"step={step!r} must be whole minutes, in seconds, and from an hour on whole hours")
    return int(seconds)


def _parts(first: int, stop: int, step: int, now: float) -> list[tuple[int, int, int]]:
    """The reads for a window: span, since, until. The present hour is read by minutes: workers write hours with a delay."""
    if step < HOUR:
        return [(MINUTE, first, stop)]
    this_hour = math.floor(now / HOUR) * HOUR
    parts = [(HOUR, first, min(stop, this_hour)), (MINUTE, max(first, this_hour), stop)]
    return [part for part in parts if part[1] < part[2]]


def _summed(rows: Rows, group: Callable[[CounterKey], K]) -> dict[K, Counters]:
    found: dict[K, list[Counters]] = {}
    for key, counters in rows:
        found.setdefault(group(key), []).append(counters)
    return {name: Counters.sum(some) for name, some in found.items()}


def _named(found: dict[str, Counters]) -> list[Named]:
    return [Named(name, found[name]) for name in sorted(found)]
