"""Schedules in memory: the twin of EventBridge Scheduler for tests and programs of one process."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from ..core.clock import Clock
from ..core.schedule_spec import ScheduleSpec
from .expressions import When
from .spec import ScheduleSummary, StoredSchedule, check_name, check_spec, is_once, is_rate, normalize, when_of
from .store import ScheduleStore

PAGE = 100
"""Schedules of one page."""

_ACCOUNT = "memory:000000000000"


class MemorySchedules(ScheduleStore):
    """The schedules of one group, in this process. Safe between threads.

    It fires nothing by itself: whoever moves the clock asks `next_due` how far, and `due` what fires.

    Args:
        clock: what the time is.
        group: name of the schedule group.
        queue_arn: ARN of a queue by its logical name; raises MissingResource for one that does not exist.
            Default: all queues exist.
    """

    def __init__(
        self, clock: Clock, group: str = "memory", queue_arn: Callable[[str], Awaitable[str]] | None = None
    ) -> None:
        self.group = group
        self._clock = clock
        self._queue_arn = queue_arn
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}

    async def create(self, spec: ScheduleSpec) -> bool:
        row = await self._row(spec, None)
        with self._lock:
            return self._rows.setdefault(spec.name, row) is row

    async def update(self, spec: ScheduleSpec) -> bool:
        row = await self._row(spec, self._rows.get(spec.name))
        with self._lock:
            if spec.name not in self._rows:
                return False
            self._rows[spec.name] = row
            return True

    async def delete(self, name: str) -> bool:
        check_name(name)
        with self._lock:
            return self._rows.pop(name, None) is not None

    async def get(self, name: str) -> StoredSchedule | None:
        check_name(name)
        row = self._rows.get(name)
        return None if row is None else row.stored

    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        with self._lock:
            names = sorted(name for name in self._rows if name.startswith(prefix) and name > (cursor or ""))
            page = [_summary(self._rows[name].stored) for name in names[:PAGE]]
        return page, page[-1].name if len(names) > PAGE else None

    def due(self, now: float) -> list[tuple[StoredSchedule, float]]:
        """What fires until `now`, each with its scheduled time, in that order; every firing is given out once.

        One-time schedules that remove themselves are gone afterwards.
        """
        firings: list[tuple[StoredSchedule, float]] = []
        with self._lock:
            for name, row in list(self._rows.items()):
                times = row.take(now)
                firings += [(row.stored, at) for at in times]
                if times and row.next is None and row.stored.spec.delete_after:
                    del self._rows[name]
        return sorted(firings, key=lambda firing: (firing[1], firing[0].spec.name))

    def next_due(self, *, once: bool = False) -> float | None:
        """When the next firing is due, in epoch seconds: in the past for one that `due` has not given out yet, None
        where nothing will ever fire. A test moves its clock there.

        Args:
            once: look at one-time schedules only.
        """
        with self._lock:
            rows = [row for row in self._rows.values() if row.stored.spec.enabled and (row.when.once or not once)]
        times = [row.next for row in rows if row.next is not None]
        return min(times, default=None)

    async def _row(self, spec: ScheduleSpec, before: _Row | None) -> _Row:
        check_spec(spec)
        now = self._clock.time()
        spec = normalize(spec, now)
        target = (
            f"arn:aws:sqs:{_ACCOUNT}:{spec.queue}" if self._queue_arn is None else await self._queue_arn(spec.queue)
        )
        arn = f"arn:aws:scheduler:{_ACCOUNT}:schedule/{self.group}/{spec.name}"
        created = now if before is None else before.stored.created
        stored = StoredSchedule(spec, arn, target, created, now)
        return _Row(stored, when_of(spec), first=before is None)


class _Row:
    """A schedule and its next firing.

    Args:
        first: whether it was just made; else it was changed, and what was due before is not made up for.
    """

    __slots__ = ("_anchor", "next", "stored", "when")

    def __init__(self, stored: StoredSchedule, when: When, *, first: bool) -> None:
        self.stored = stored
        self.when = when
        # Scheduled times are whole seconds.
        self._anchor = float(int(stored.created))
        after = stored.modified
        if first and is_rate(stored.spec):
            # A rate without a start fires at once when it is made.
            after = self._anchor - 1
        elif first and is_once(stored.spec):
            after = 0.0
        self.next = when.next_time(after, self._anchor)

    def take(self, now: float) -> list[float]:
        """The firings up to `now`, which are then behind it."""
        times = []
        while self.next is not None and self.next <= now and self.stored.spec.enabled:
            times.append(self.next)
            self.next = self.when.next_time(self.next, self._anchor)
        return times


def _summary(stored: StoredSchedule) -> ScheduleSummary:
    return ScheduleSummary(stored.spec.name, stored.spec.enabled, stored.created, stored.modified)
