"""Keeps the timetable of a local clock in step with the store."""

from __future__ import annotations

import logging

from ...core.clock import Clock
from ...core.flow import Flow
from ...errors import ConfigError, MissingResource
from ..expressions import When
from ..last_firings import CLOCK_TOLERANCE_SECONDS, LastFirings
from ..rate_limit import CRUD_PER_SECOND, LISTS_PER_SECOND, RateLimiter
from ..spec import ScheduleSummary, StoredSchedule
from ..store import ScheduleStore, list_summaries
from .firing_log import FiringLog
from .misfires import first_after
from .timetable import ScheduleEntry, Timetable, parse_stored

logger = logging.getLogger("taskq_sls.scheduler")

RECENT_SECONDS = 2.0
"""A schedule changed this shortly before a listing is read again after the next one: a store may cut off fractions of a
second, and a second change in the same second then has the same time."""


class ScheduleLoader:
    """Lists the store and reads the schedules that are new or changed.

    Args:
        log: deletes schedules that are completed when they are read.

    Attributes:
        listing_seconds: how long the last listing took, without reading schedules in full.
    """

    def __init__(
        self,
        store: ScheduleStore,
        last_firings: LastFirings,
        timetable: Timetable,
        log: FiringLog,
        flow: Flow,
        clock: Clock,
    ) -> None:
        self._store = store
        self._last_firings = last_firings
        self._timetable = timetable
        self._log = log
        self._clock = clock
        self._reads = RateLimiter(flow, clock, CRUD_PER_SECOND)
        self._lists = RateLimiter(flow, clock, LISTS_PER_SECOND)
        self._unreadable: set[str] = set()
        self._listed_at = float("-inf")
        self.listing_seconds = 0.0

    async def load(self) -> int:
        """Bring the timetable up to date. Returns the number of schedules that were read.

        A schedule that has been read is in the timetable, and fires, while others are still being read.

        Raises:
            AwsError, ConfigError: a call failed. Schedules that have been read stay in the timetable.
        """
        now = self._clock.time()
        summaries = await list_summaries(self._store, self._lists)
        self.listing_seconds = self._clock.time() - now
        self._timetable.keep_only(set(summaries))
        changed = [name for name, summary in summaries.items() if self._changed(summary)]
        # Before anything fires: a schedule without its last firing looks as if it had never fired. At the first load read
        # them all, which also finds out if the table exists.
        first = self._listed_at == float("-inf")
        unknown = [name for name in changed if self._timetable.get(name) is None]
        last = await self._last_firings.read(None if first else unknown)

        async def read(name: str) -> None:
            stored = await self._read(name)
            if stored is None:
                self._timetable.remove(name)
            else:
                self._put(stored, last.get(name))

        await self._reads.map(read, changed)
        self._listed_at = now
        return len(changed)

    def _changed(self, summary: ScheduleSummary) -> bool:
        entry = self._timetable.get(summary.name)
        if entry is None:
            return True
        recent = summary.modified > self._listed_at - RECENT_SECONDS
        return recent or entry.stored.modified != summary.modified or entry.stored.spec.enabled != summary.enabled

    async def _read(self, name: str) -> StoredSchedule | None:
        try:
            return await self._store.get(name)
        except MissingResource:
            raise
        except ConfigError as error:
            # The others must not wait for it.
            if name not in self._unreadable:
                self._unreadable.add(name)
                _log_unusable(name, str(error))
            return None

    def _put(self, stored: StoredSchedule, last: float | None) -> None:
        before = self._timetable.get(stored.spec.name)
        if before is not None and before.stored == stored:
            return
        entry = ScheduleEntry(stored, _usable_expression(stored))
        now = self._clock.time()
        entry.last = last if before is None else before.last
        if entry.last is not None and entry.last > now + CLOCK_TOLERANCE_SECONDS:
            _log_in_future(entry.name, entry.last - now)
            entry.last = now
        if entry.when is not None:
            entry.plan(first_after(entry, entry.when, now))
            if entry.next is None:
                self._end(entry, entry.when)
        self._timetable.put(entry)

    def _end(self, entry: ScheduleEntry, when: When) -> None:
        if when.once and entry.last is None:
            logger.warning(
                "schedule %s: its time had passed when it was last changed; it will not fire: give it another time, "
                "or remove it",
                entry.name,
                extra={"action": "schedule_too_late", "schedule": entry.name},
            )
        elif entry.stored.spec.delete_after:
            self._log.completed(entry)


def _usable_expression(stored: StoredSchedule) -> When | None:
    """The expression, or None if this clock must not or cannot fire the schedule."""
    if not stored.spec.enabled:
        return None
    if ":sqs:" not in stored.target:
        _log_unusable(stored.spec.name, f"its target {stored.target} is not a queue")
        return None
    try:
        return parse_stored(stored)
    except ConfigError as error:
        _log_unusable(stored.spec.name, str(error))
        return None


def _log_in_future(name: str, seconds: float) -> None:
    logger.warning(
        "schedule %s: its last firing was stored for a time %.0f s in the future, and is ignored: the clock of this "
        "machine or of another scheduler is or was wrong",
        name,
        seconds,
        extra={"action": "schedule_last_in_future", "schedule": name},
    )


def _log_unusable(name: str, reason: str) -> None:
    logger.warning(
        "schedule %s cannot be fired here: %s",
        name,
        reason,
        extra={"action": "schedule_unusable", "schedule": name},
    )
