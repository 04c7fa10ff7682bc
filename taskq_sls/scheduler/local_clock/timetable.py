"""The schedules that a local clock has read, ordered by their next firing."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator

from ..expressions import When
from ..firing import misfire_policy, window_offset
from ..parse import parse
from ..spec import StoredSchedule, is_once


class ScheduleEntry:
    """One schedule and its next firing. Times are epoch seconds.

    Args:
        stored: the schedule.
        when: its parsed expression; None if it never fires here: it is disabled, or this clock does not support it.

    Attributes:
        misfire: the policy for missed firings: ``skip``, ``once`` or ``all``.
        offset: seconds after the scheduled time at which it fires, within its flexible window.
        last: scheduled time of the last firing, or None.
        next: scheduled time of the next firing, or None.
        due: time to process `next`: `next` + `offset`, or later if its queue is overloaded.
    """

    __slots__ = ("due", "last", "misfire", "next", "offset", "stored", "when")

    def __init__(self, stored: StoredSchedule, when: When | None) -> None:
        self.stored = stored
        self.when = when
        self.misfire = misfire_policy(stored.spec.body)
        self.offset = window_offset(stored.arn, stored.spec.window)
        self.last: float | None = None
        self.next: float | None = None
        self.due: float | None = None

    @property
    def name(self) -> str:
        return self.stored.spec.name

    def plan(self, next: float | None) -> None:
        """Set the scheduled time of the next firing."""
        self.next = next
        self.due = None if next is None else next + self.offset


@functools.lru_cache(maxsize=4_096)
def _parse(expression: str, timezone: str, start: float | None, end: float | None) -> When:
    return parse(expression, timezone, start=start, end=end)


def parse_stored(stored: StoredSchedule) -> When:
    """The expression without window and jitter, which `ScheduleEntry` and the receiver of the message apply. Equal
    expressions share one object.

    Raises:
        ConfigError: expression, time zone or bounds are not valid.
    """
    spec = stored.spec
    bounds = (None, None) if is_once(spec) else (spec.start, spec.end)
    return _parse(spec.expression, spec.timezone, *bounds)


class Timetable:
    """All schedules of the group by name, and a heap of their due times.

    A changed due time is pushed again; outdated heap items are skipped when they come up.
    """

    def __init__(self) -> None:
        self._entries: dict[str, ScheduleEntry] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ScheduleEntry]:
        return iter(self._entries.values())

    def get(self, name: str) -> ScheduleEntry | None:
        return self._entries.get(name)

    def put(self, entry: ScheduleEntry) -> None:
        """Add an entry, or replace the one of the same name."""
        self._entries[entry.name] = entry
        self.push(entry)

    def push(self, entry: ScheduleEntry) -> None:
        """Add the due time of an entry to the heap. Does nothing if the entry was replaced meanwhile."""
        if entry.due is None or self._entries.get(entry.name) is not entry:
            return
        heapq.heappush(self._heap, (entry.due, entry.name))
        if len(self._heap) > 2 * len(self._entries) + 100:
            self._heap = [(entry.due, entry.name) for entry in self._entries.values() if entry.due is not None]
            heapq.heapify(self._heap)

    def keep_only(self, names: set[str]) -> None:
        """Remove all other schedules."""
        self._entries = {name: entry for name, entry in self._entries.items() if name in names}

    def remove(self, name: str) -> None:
        """Remove a schedule, if it is there."""
        self._entries.pop(name, None)

    def next_due(self) -> float | None:
        """The first due time, or None if nothing is planned."""
        while self._heap:
            due, name = self._heap[0]
            entry = self._entries.get(name)
            if entry is not None and entry.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float, limit: int) -> list[ScheduleEntry]:
        """Take up to `limit` entries that are due, the earliest first. `push` puts an entry back."""
        found: list[ScheduleEntry] = []
        while len(found) < limit and (due := self.next_due()) is not None and due <= now:
            entry = self._entries[heapq.heappop(self._heap)[1]]
            entry.due = None
            found.append(entry)
        return found
