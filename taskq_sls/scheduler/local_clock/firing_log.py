"""Records delivered firings in the table, and deletes schedules after their last firing; both in the background."""

from __future__ import annotations

import logging
from collections import Counter

from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ..last_firings import LastFirings
from ..store import ScheduleStore
from .timetable import ScheduleEntry, Timetable

logger = logging.getLogger("taskq_sls.scheduler")

WRITES_AT_ONCE = 8


class FiringLog:
    """Keeps the last firing of each schedule, and deletes completed schedules.

    A firing is recorded only when it and all that started before it are delivered. After a crash the next clock fires the
    unrecorded ones again, which makes no second task.
    """

    def __init__(
        self, store: ScheduleStore, last_firings: LastFirings, timetable: Timetable, flow: Flow, clock: Clock
    ) -> None:
        self._store = store
        self._last_firings = last_firings
        self._timetable = timetable
        self._flow = flow
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._latest: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}
        self._completed: dict[str, ScheduleEntry] = {}
        self._faults = FaultLog(logger, "the last firings cannot be written", "schedule_notes_fault")
        self._delete_faults = FaultLog(logger, "completed schedules cannot be deleted", "schedule_delete_fault")

    def started(self, entry: ScheduleEntry) -> None:
        """Count a firing that is about to be sent."""
        self._in_flight[entry.name] += 1

    def delivered(self, entry: ScheduleEntry, at: float) -> None:
        """Record a firing that is in its queue, or in the dead-letter queue."""
        name = entry.name
        latest = self._latest[name] = max(at, self._latest.get(name, at))
        self._in_flight[name] -= 1
        if self._in_flight[name] > 0:
            return
        del self._in_flight[name], self._latest[name]
        current = self._timetable.get(name)
        if entry.stored.spec.delete_after and entry.next is None and (current is None or current is entry):
            self.completed(entry)
        else:
            self._keep(name, latest)

    def completed(self, entry: ScheduleEntry) -> None:
        """Delete a schedule that will not fire again, once its last firing is delivered."""
        self._completed[entry.name] = entry

    async def write(self) -> None:
        """Write everything new. Failed writes are repeated by the next call."""
        firings, self._unwritten = self._unwritten, {}
        deletable = [entry for name, entry in self._completed.items() if name not in self._in_flight]
        for entry in deletable:
            del self._completed[entry.name]
        await self._flow.map(self._record, list(firings.items()), WRITES_AT_ONCE)
        await self._flow.map(self._delete, deletable, WRITES_AT_ONCE)

    def _keep(self, name: str, at: float) -> None:
        self._unwritten[name] = max(at, self._unwritten.get(name, at))

    async def _record(self, firing: tuple[str, float]) -> None:
        try:
            await self._last_firings.record(*firing, self._clock.time())
        except Exception as error:  # any fault: the next call repeats the write
            self._faults.failed(error)
            self._keep(*firing)
        else:
            self._faults.recovered()

    async def _delete(self, entry: ScheduleEntry) -> None:
        try:
            stored = await self._store.get(entry.name)
            # A schedule that was changed meanwhile is not completed.
            if stored is not None and stored.modified == entry.stored.modified:
                await self._store.delete(entry.name)
                stored = None
        except Exception as error:  # any fault: the next call repeats the deletion
            self._delete_faults.failed(error)
            self._completed[entry.name] = entry
            return
        self._delete_faults.recovered()
        if stored is None and self._timetable.get(entry.name) is entry:
            self._timetable.remove(entry.name)
