"""A span of time as points of equal length, made of the counters of its minutes or hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

from ..core.flow import Flow
from ..core.number_checks import MAX_FLOAT, is_number
from ..core.times import TimeLike, epoch_seconds
from ..errors import ConfigError
from .counters import HOUR, MINUTE, NOTHING, CounterKey, Counters, MetricStore

DAY = 86_400

MOST_POINTS = 1_500
"""Points of one window: a day of minutes, or 60 days of hours."""

FITTING = ((3 * HOUR, MINUTE), (12 * HOUR, 5 * MINUTE), (14 * DAY, HOUR))
"""Longest span of a step, in seconds, and the step."""

K = TypeVar("K")
Rows = Sequence[tuple[CounterKey, Counters]]


class Point(NamedTuple):
    """What was counted in one step.

    Args:
        time: the beginning of the step, in epoch seconds.
        counters: of the step.
    """

    time: int
    counters: Counters


class Named(NamedTuple):
    """The counters of one task, or of one queue."""

    name: str
    counters: Counters


class Window:
    """All that was counted in a span of time.

    Attributes:
        since, until: its beginning and its end, in epoch seconds; multiples of `step`.
        step: seconds of a point.
    """

    def __init__(self, since: int, until: int, step: int, rows: Rows) -> None:
        self.since = since
        self.until = until
        self.step = step
        self._rows = rows

    @property
    def points(self) -> list[Point]:
        """A point for every step, the oldest first, those in which nothing happened too."""
        step = self.step
        found = _summed(self._rows, lambda slot: slot.time // step * step)
        return [Point(time, found.get(time, NOTHING)) for time in range(self.since, self.until, step)]

    @property
    def totals(self) -> Counters:
        """All of it together."""
        return _summed(self._rows, lambda slot: None).get(None, NOTHING)

    @property
    def tasks(self) -> list[Named]:
        """The counters of each task, by name."""
        return _named(_summed(self._rows, lambda slot: slot.task))

    @property
    def queues(self) -> list[Named]:
        """The counters of each queue, by name."""
        return _named(_summed(self._rows, lambda slot: slot.queue))

    def failing(self, limit: int = 10) -> list[Named]:
        """The tasks that fail most, the worst first: by tasks failed for good, then by attempts that are retried.

        Tasks without a failure are left out.
        """
        failed = [one for one in self.tasks if one.counters.failed or one.counters.retried]
        failed.sort(key=lambda one: (-one.counters.failed, -one.counters.retried, one.name))
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
    """Read what `Metrics.window` describes. Without a store there is nothing in it."""
    start = epoch_seconds("since", since, now)
    end = now if until is None else epoch_seconds("until", until, now)
    length = _step(step, start, end)
    first, behind = math.floor(start / length) * length, math.ceil(end / length) * length
    if until is None and behind == end:
        behind += length  # the step that begins now
    if (behind - first) // length > MOST_POINTS:
        raise ConfigError(
            f"step={length} makes {(behind - first) // length:,} points of the time from since to until; at most "
            f"{MOST_POINTS:,} are read at once: give a longer step, or a shorter time"
        )
    if store is None:
        return Window(first, behind, length, [])
    parts = _parts(first, behind, length, now)
    found = await flow.map(lambda part: store.read(app, *part, task=task, now=now), parts, len(parts))
    return Window(first, behind, length, [row for rows in found for row in rows if queue in (None, row[0].queue)])


def _step(step: float | timedelta | None, start: float, end: float) -> int:
    if not (math.isfinite(start) and math.isfinite(end) and start < end):
        raise ConfigError(f"since={start:.0f} must be before until={end:.0f} (epoch seconds)")
    if step is None:
        return next((fitting for longest, fitting in FITTING if end - start <= longest), DAY)
    seconds = step.total_seconds() if isinstance(step, timedelta) else step
    if not is_number(seconds, MINUTE, MAX_FLOAT) or seconds % (HOUR if seconds >= HOUR else MINUTE):
        raise ConfigError(f"step={step!r} must be whole minutes, in seconds, and from an hour on whole hours")
    return int(seconds)


def _parts(first: int, behind: int, step: int, now: float) -> list[tuple[int, int, int]]:
    """What to read: span, since, until. Hours as far as they are over, since workers write them every few minutes."""
    if step < HOUR:
        return [(MINUTE, first, behind)]
    this_hour = math.floor(now / HOUR) * HOUR
    parts = [(HOUR, first, min(behind, this_hour)), (MINUTE, max(first, this_hour), behind)]
    return [part for part in parts if part[1] < part[2]]


def _summed(rows: Rows, key: Callable[[CounterKey], K]) -> dict[K, Counters]:
    found: dict[K, list[Counters]] = {}
    for slot, counters in rows:
        found.setdefault(key(slot), []).append(counters)
    return {name: Counters.together(some) for name, some in found.items()}


def _named(found: dict[str, Counters]) -> list[Named]:
    return [Named(name, found[name]) for name in sorted(found)]
