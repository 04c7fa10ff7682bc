"""What the local clock knows of each schedule, and which one is due next."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator

from ..expressions import When
from ..parse import parse
from ..spec import StoredSchedule


class ScheduleEntry:
    """One schedule, as small as it can be: there may be a hundred thousand.

    Attributes:
        name: of the schedule.
        home: its ARN without the name.
        enabled, created, modified: as the store says. Times are epoch seconds.
        expression, timezone, start, end: when it fires; without an expression never: disabled, or not understood.
        body: what is sent, with its placeholders.
        target: ARN of the queue.
        group: message group of a FIFO queue.
        misfire: what becomes of firings that were missed: ``skip``, ``once``, ``all``.
        spread: seconds by which each firing is put off within the flexible window.
        delete_after: the store is to drop it after its last firing.
        last: scheduled time of the last firing, None where there was none.
        next: scheduled time of the next firing, None where there is none.
        due: when `next` is to be looked at: `next` + `spread`, or later where its queue is overloaded.
        seen: number of the last listing that named it.
    """

    __slots__ = (
        "body",
        "created",
        "delete_after",
        "due",
        "enabled",
        "end",
        "expression",
        "group",
        "home",
        "last",
        "misfire",
        "modified",
        "name",
        "next",
        "seen",
        "spread",
        "start",
        "target",
        "timezone",
    )

    def __init__(self, name: str, *, enabled: bool, created: float, modified: float) -> None:
        self.name = name
        self.enabled = enabled
        self.created = created
        self.modified = created if modified == created else modified  # one object for both, where they are equal
        self.expression = self.timezone = self.home = self.body = self.target = ""
        self.start: float | None = None
        self.end: float | None = None
        self.group: str | None = None
        self.misfire = "once"
        self.spread = 0.0
        self.delete_after = False
        self.last: float | None = None
        self.next: float | None = None
        self.due: float | None = None
        self.seen = 0

    @property
    def when(self) -> When:
        """When it fires: read anew, which takes microseconds, rather than kept, which takes hundreds of bytes."""
        return read_when(self.expression, self.timezone, self.start, self.end)

    @property
    def arn(self) -> str:
        """ARN of the schedule."""
        return self.home + self.name

    @property
    def anchor(self) -> float:
        """Where the grid of a rate without a start begins. Scheduled times are whole seconds."""
        return float(int(self.created))

    def same(self, other: ScheduleEntry) -> bool:
        """Whether `other` fires the same at the same times."""
        return all(getattr(self, name) == getattr(other, name) for name in _DEFINITION)

    def plan(self, next: float | None) -> None:
        """Set the scheduled time of the next firing."""
        self.next = next
        self.due = None if next is None else next + self.spread if self.spread else next


_DEFINITION = (
    "enabled",
    "created",
    "modified",
    "expression",
    "timezone",
    "start",
    "end",
    "body",
    "target",
    "group",
    "misfire",
    "spread",
    "delete_after",
)


@functools.lru_cache(maxsize=4_096)
def read_when(expression: str, timezone: str, start: float | None, end: float | None) -> When:
    """When a schedule fires, without window and jitter: the one is the row's business, the other the receiver's.

    Raises:
        ConfigError: the expression, the time zone or the bounds are not understood.
    """
    return parse(expression, timezone, start=start, end=end)


def home_of(stored: StoredSchedule) -> str:
    """The ARN without the name at its end."""
    return stored.arn.removesuffix(stored.spec.name)


class Timetable:
    """All schedules of the group by name, and a heap of when they are due.

    A row whose `due` changes is pushed anew; what the heap still holds of it from before is passed over.
    """

    def __init__(self) -> None:
        self._rows: dict[str, ScheduleEntry] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ScheduleEntry]:
        return iter(self._rows.values())

    def get(self, name: str) -> ScheduleEntry | None:
        return self._rows.get(name)

    def put(self, row: ScheduleEntry) -> None:
        """Add a row, in place of the one of the same name."""
        self._rows[row.name] = row
        self.push(row)

    def push(self, row: ScheduleEntry) -> None:
        """Note when a row is due. Does nothing for a row that was replaced meanwhile."""
        if row.due is None or self._rows.get(row.name) is not row:
            return
        heapq.heappush(self._heap, (row.due, row.name))
        if len(self._heap) > 2 * len(self._rows) + 100:
            self._heap = [(one.due, one.name) for one in self._rows.values() if one.due is not None]
            heapq.heapify(self._heap)

    def remove(self, name: str) -> None:
        """Forget a schedule, if it is known."""
        self._rows.pop(name, None)

    def remove_unseen(self, listing: int) -> int:
        """Forget the schedules that a complete listing did not name; how many."""
        gone = [row.name for row in self._rows.values() if row.seen < listing]
        for name in gone:
            del self._rows[name]
        return len(gone)

    def next_due(self) -> float | None:
        """When the first row is due, None where nothing is planned."""
        while self._heap:
            due, name = self._heap[0]
            row = self._rows.get(name)
            if row is not None and row.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float, most: int) -> list[ScheduleEntry]:
        """Take up to `most` rows that are due, the earliest first. `push` brings a row back."""
        found: list[ScheduleEntry] = []
        while len(found) < most and (due := self.next_due()) is not None and due <= now:
            row = self._rows[heapq.heappop(self._heap)[1]]
            row.due = None
            found.append(row)
        return found
