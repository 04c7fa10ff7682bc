"""The local clock's copy of the store: read once, then only what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ...core.clock import Clock
from ...core.flow import Flow
from ...errors import ConfigError, MissingResource
from ..clock_state import CLOCK_TOLERANCE, ClockState
from ..firing import window_offset
from ..rate_limit import CRUD_PER_SECOND, LISTS_PER_SECOND, RateLimiter
from ..spec import ScheduleSummary, StoredSchedule, is_once
from ..store import ScheduleStore
from .misfires import first_after, policy_of
from .timetable import ScheduleEntry, Timetable, home_of, read_when

logger = logging.getLogger("taskq_sls.scheduler")

OVERLAP = 5.0
"""Seconds by which the windows of noted changes overlap: the clocks of their writers may differ from ours."""

REMEMBERED = 60.0
"""Seconds for which changes that were looked at are remembered; longer than the overlap."""


class ScheduleLoader:
    """Keeps an agenda in step with a store.

    Args:
        agenda: filled from the store.
        finished: told of rows that will never fire again and are to be deleted.
    """

    def __init__(
        self,
        store: ScheduleStore,
        notes: ClockState,
        agenda: Timetable,
        flow: Flow,
        clock: Clock,
        finished: Callable[[ScheduleEntry], None],
    ) -> None:
        self._store = store
        self._notes = notes
        self._agenda = agenda
        self._clock = clock
        self._finished = finished
        self._reads = RateLimiter(flow, clock, CRUD_PER_SECOND)
        self._lists = RateLimiter(flow, clock, LISTS_PER_SECOND)
        self._listing = 0
        self._texts: dict[str, str] = {}
        self._unreadable: set[str] = set()
        self._last: dict[str, float] | None = None
        self._since: float | None = None
        self._looked_at: dict[str, float] = {}

    async def list_all(self) -> int:
        """Walk through the whole group and read what is new or changed; how many schedules were read.

        Raises:
            AwsError, ConfigError: a call failed; what was read so far counts, and nothing is forgotten.
        """
        if self._since is None:
            self._since = self._clock.time()
        if self._listing == 0:
            # Before anything else: a schedule whose last firing is not known would seem never to have fired.
            self._last = await self._notes.last_fired()
        self._listing += 1
        read = 0
        cursor: str | None = None
        while True:
            await self._lists.wait()
            page, cursor = await self._store.page(cursor=cursor)
            read += await self._take(page)
            if cursor is None:
                break
        self._agenda.remove_unseen(self._listing)
        self._last = None
        return read

    async def read_changes(self) -> int:
        """Read what was noted as changed since the last look; how many schedules.

        Raises:
            AwsError: a call failed; the next look begins at the same time.
        """
        now = self._clock.time()
        since = now if self._since is None else min(now, self._since)  # the clock may have been set back
        changes = await self._notes.changes(since - OVERLAP)
        fresh = {one.name: one.time for one in changes if self._looked_at.get(one.name, 0.0) < one.time}
        await self.read(list(fresh))
        self._looked_at.update(fresh)
        self._looked_at = {
            name: time
            for name, time in self._looked_at.items()
            if now - REMEMBERED - OVERLAP < time <= now + CLOCK_TOLERANCE
        }
        self._since = now
        return len(fresh)

    async def read(self, names: Sequence[str]) -> None:
        """Read schedules by name."""
        if not names:
            return
        unknown = [name for name in names if self._agenda.get(name) is None]
        last = await self._last_fired(unknown) if unknown else {}

        async def read(name: str) -> None:
            try:
                stored = await self._store.get(name)
            except MissingResource:
                raise
            except ConfigError as error:
                # The others are not to wait for it.
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    _unusable(name, str(error))
                return
            if stored is None:
                self._agenda.remove(name)
            else:
                self._put(stored, last.pop(name, None))

        await self._reads.map(read, names)

    async def _take(self, page: Sequence[ScheduleSummary]) -> int:
        wanted = []
        for summary in page:
            row = self._agenda.get(summary.name)
            if row is None or row.modified != summary.modified or row.enabled != summary.enabled:
                wanted.append(summary.name)
            else:
                row.seen = self._listing
        await self.read(wanted)
        return len(wanted)

    async def _last_fired(self, names: Sequence[str]) -> dict[str, float]:
        return await self._notes.last_fired(names) if self._last is None else self._last

    def _put(self, stored: StoredSchedule, last: float | None) -> None:
        before = self._agenda.get(stored.spec.name)
        row = self._row(stored)
        if before is not None and before.same(row):
            before.seen = self._listing
            return
        now = self._clock.time()
        row.last = last if before is None else before.last
        if row.last is not None and row.last > now + CLOCK_TOLERANCE:
            _in_future(row.name, row.last - now)
            row.last = now
        row.seen = self._listing
        if row.expression:
            row.plan(first_after(row, now))
            if row.next is None:
                self._end(row)
        self._agenda.put(row)

    def _row(self, stored: StoredSchedule) -> ScheduleEntry:
        spec = stored.spec
        row = ScheduleEntry(spec.name, enabled=spec.enabled, created=stored.created, modified=stored.modified)
        if not spec.enabled:
            return row
        if ":sqs:" not in stored.target:
            _unusable(spec.name, f"its target {stored.target} is no queue")
            return row
        bounds = (None, None) if is_once(spec) else (spec.start, spec.end)
        try:
            read_when(spec.expression, spec.timezone, *bounds)
        except ConfigError as error:
            _unusable(spec.name, str(error))
            return row
        row.expression, row.timezone = spec.expression, self._shared(spec.timezone)
        row.start, row.end = bounds
        row.home, row.target = self._shared(home_of(stored)), self._shared(stored.target)
        row.group = None if spec.group is None else self._shared(spec.group)
        row.body = spec.body
        row.misfire = policy_of(spec.body)
        row.spread = window_offset(stored.arn, spec.window)
        row.delete_after = spec.delete_after
        return row

    def _shared(self, text: str) -> str:
        """One object for what many rows have in common."""
        return self._texts.setdefault(text, text)

    def _end(self, row: ScheduleEntry) -> None:
        if row.when.once and row.last is None:
            logger.warning(
                "schedule %s: its time had passed when it was last changed; it will not fire: give it another time, "
                "or remove it",
                row.name,
                extra={"action": "schedule_too_late", "schedule": row.name},
            )
        elif row.delete_after:
            self._finished(row)


def _in_future(name: str, seconds: float) -> None:
    logger.warning(
        "schedule %s: its last firing is noted for a time %.0f s in the future, and is ignored: the clock of this machine "
        "or of another scheduler is or was wrong",
        name,
        seconds,
        extra={"action": "schedule_last_in_future", "schedule": name},
    )


def _unusable(name: str, why: str) -> None:
    logger.warning(
        "schedule %s cannot be fired here: %s",
        name,
        why,
        extra={"action": "schedule_unusable", "schedule": name},
    )
