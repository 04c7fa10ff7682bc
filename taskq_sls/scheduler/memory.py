"""Schedules in memory, for tests and programs of one process."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from ..core.clock import Clock
from ..core.schedule_spec import ScheduleSpec
from .expressions import When
from .spec import ScheduleSummary, StoredSchedule, check_name, check_spec, is_once, is_rate, normalize, when_of
from .store import ScheduleStore

PAGE_SCHEDULES = 100

_ACCOUNT = "memory:000000000000"


class MemorySchedules(ScheduleStore):
    """The schedules of one group, in this process. Safe between threads.

    It fires nothing by itself: the owner of the clock calls `next_due` for the next time, and `due` for its firings.

    Args:
        clock: the current time.
        group: name of the schedule group.
        queue_arn: ARN of a queue by its logical name; raises MissingResource if the queue does not exist.
            Default: all queues exist.
    """

    def __init__(
        self, clock: Clock, group: str = "memory", queue_arn: Callable[[str], Awaitable[str]] | None = None
    ) -> None:
        self.group = group
        self._clock = clock
        self._queue_arn = queue_arn
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    async def create(self, spec: ScheduleSpec) -> bool:
        entry = await self._entry(spec, None)
        with self._lock:
            return self._entries.setdefault(spec.name, entry) is entry

    async def update(self, spec: ScheduleSpec) -> bool:
        entry = await self._entry(spec, self._entries.get(spec.name))
        with self._lock:
            if spec.name not in self._entries:
                return False
            self._entries[spec.name] = entry
            return True

    async def delete(self, name: str) -> bool:
        check_name(name)
        with self._lock:
            return self._entries.pop(name, None) is not None

    async def get(self, name: str) -> StoredSchedule | None:
        check_name(name)
        entry = self._entries.get(name)
        return None if entry is None else entry.stored

    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        with self._lock:
            names = sorted(name for name in self._entries if name.startswith(prefix) and name > (cursor or ""))
            page = [_summary(self._entries[name].stored) for name in names[:PAGE_SCHEDULES]]
        return page, page[-1].name if len(names) > PAGE_SCHEDULES else None

    def due(self, now: float) -> list[tuple[StoredSchedule, float]]:
        """The firings up to `now` with their scheduled times, oldest first; each is returned once.

        Deletes schedules with `delete_after` after their last firing.
        """
        firings: list[tuple[StoredSchedule, float]] = []
        with self._lock:
            for name, entry in list(self._entries.items()):
                times = entry.take(now)
                firings += [(entry.stored, at) for at in times]
                if times and entry.next is None and entry.stored.spec.delete_after:
                    del self._entries[name]
        return sorted(firings, key=lambda firing: (firing[1], firing[0].spec.name))

    def next_due(self, *, once: bool = False) -> float | None:
        """When the next firing is due, in epoch seconds: in the past if `due` has not returned it yet, None if there is
        none. A test moves its clock there.

        Args:
            once: only one-time schedules.
        """
        with self._lock:
            entries = [
                entry for entry in self._entries.values() if entry.stored.spec.enabled and (entry.when.once or not once)
            ]
        times = [entry.next for entry in entries if entry.next is not None]
        return min(times, default=None)

    async def _entry(self, spec: ScheduleSpec, before: _Entry | None) -> _Entry:
        check_spec(spec)
        now = self._clock.time()
        spec = normalize(spec, now)
        target = (
            f"arn:aws:sqs:{_ACCOUNT}:{spec.queue}" if self._queue_arn is None else await self._queue_arn(spec.queue)
        )
        arn = f"arn:aws:scheduler:{_ACCOUNT}:schedule/{self.group}/{spec.name}"
        created = now if before is None else before.stored.created
        stored = StoredSchedule(spec=spec, arn=arn, target=target, created=created, modified=now)
        return _Entry(stored, when_of(spec), first=before is None)


class _Entry:
    """A schedule and its next firing.

    Args:
        first: True for a new schedule; False for a changed one, which skips times before the change.
    """

    __slots__ = ("_anchor", "next", "stored", "when")

    def __init__(self, stored: StoredSchedule, when: When, *, first: bool) -> None:
        self.stored = stored
        self.when = when
        self._anchor = stored.anchor
        after = stored.modified
        if first and is_rate(stored.spec):
            # A rate without a start fires as soon as it is created.
            after = self._anchor - 1
        elif first and is_once(stored.spec):
            after = 0.0
        self.next = when.next_time(after, self._anchor)

    def take(self, now: float) -> list[float]:
        """The scheduled times up to `now`; the next call returns later ones."""
        times = []
        while self.next is not None and self.next <= now and self.stored.spec.enabled:
            times.append(self.next)
            self.next = self.when.next_time(self.next, self._anchor)
        return times


def _summary(stored: StoredSchedule) -> ScheduleSummary:
    return ScheduleSummary(stored.spec.name, stored.spec.enabled, stored.created, stored.modified)
