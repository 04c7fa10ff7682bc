"""Which firings are in their queues: told to the table in the background, and to the store at the very end."""

from __future__ import annotations

import logging
from collections import Counter

from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ..clock_state import ClockState
from ..store import ScheduleStore
from .timetable import ScheduleEntry, Timetable

logger = logging.getLogger("taskq_sls.scheduler")

WRITES_AT_ONCE = 8
"""Most notes written side by side."""


class FiringLog:
    """Keeps the last firing of each schedule, and deletes schedules that are done.

    A firing is noted only when it and all that began before it are accepted: what a clock that dies leaves unnoted is
    fired again by the next one, and is the same task.
    """

    def __init__(self, store: ScheduleStore, notes: ClockState, agenda: Timetable, flow: Flow, clock: Clock) -> None:
        self._store = store
        self._notes = notes
        self._agenda = agenda
        self._flow = flow
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._latest: dict[str, float] = {}
        self._unwritten: dict[str, float] = {}
        self._finished: dict[str, ScheduleEntry] = {}
        self._faults = FaultLog(logger, "the last firings cannot be noted", "schedule_notes_fault")
        self._delete_faults = FaultLog(logger, "finished schedules cannot be deleted", "schedule_delete_fault")

    def opened(self, row: ScheduleEntry, at: float) -> None:
        """A firing begins."""
        self._open[row.name] += 1

    def settled(self, row: ScheduleEntry, at: float) -> None:
        """A firing is in its queue, or in the dead-letter queue."""
        latest = self._latest[row.name] = max(at, self._latest.get(row.name, at))
        self._open[row.name] -= 1
        if self._open[row.name] > 0:
            return
        del self._open[row.name], self._latest[row.name]
        current = self._agenda.get(row.name)
        if row.delete_after and row.next is None and (current is None or current is row):
            self.finished(row)
        else:
            self._unwritten[row.name] = max(latest, self._unwritten.get(row.name, latest))

    def finished(self, row: ScheduleEntry) -> None:
        """A schedule that deletes itself will not fire again; it stands until its last firing is settled."""
        self._finished[row.name] = row

    @property
    def pending(self) -> bool:
        """Whether something is to be written."""
        return bool(self._unwritten or self._finished)

    async def write(self) -> None:
        """Write what has come up since the last time; what fails is kept for the next."""
        notes, self._unwritten = self._unwritten, {}
        done = [row for name, row in self._finished.items() if name not in self._open]
        self._finished = {name: row for name, row in self._finished.items() if name in self._open}
        if notes:
            await self._flow.map(self._note, list(notes.items()), WRITES_AT_ONCE)
        if done:
            await self._flow.map(self._delete, done, WRITES_AT_ONCE)

    async def _note(self, entry: tuple[str, float]) -> None:
        name, at = entry
        try:
            await self._notes.fired(name, at, self._clock.time())
        except Exception as error:  # whatever it is: it is written the next time
            self._faults.failed(error)
            self._unwritten[name] = max(at, self._unwritten.get(name, at))
        else:
            self._faults.recovered()

    async def _delete(self, row: ScheduleEntry) -> None:
        try:
            stored = await self._store.get(row.name)
            # One that was given another time meanwhile is not the one that is done.
            if stored is not None and stored.modified == row.modified:
                await self._store.delete(row.name)
                stored = None
        except Exception as error:  # whatever it is: it is written the next time
            self._delete_faults.failed(error)
            self._finished[row.name] = row
            return
        self._delete_faults.recovered()
        if stored is None and self._agenda.get(row.name) is row:
            self._agenda.remove(row.name)
