"""Counts a driver's tasks, and writes the counters to the table in batches, without delaying a task."""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import Any

from ..core.fault_log import FaultLog
from ..core.flow import Flow
from ..core.states import SUCCEEDED, State
from .counters import BOUNDS, BUCKETS, EMPTY, HOUR, MINUTE, CounterKey, Counters, MetricStore

logger = logging.getLogger("taskq_sls.metrics")

PARALLEL = 8
"""Writes under way at once."""

MOST_KEPT = 2_000
"""Counters of minutes and hours that are kept over faults; the oldest are given up first."""

LONGEST_PAUSE = 16 * 60.0
"""Seconds after a fault before the next try, at most; 1 minute after the first, then doubling."""


class Meter:
    """Counts the attempts of one driver, on the thread of its loop.

    Args:
        hours_every: seconds between two writes of the counters of an hour that is not over; 0: with every write.
    """

    def __init__(self, app: str, store: MetricStore, flow: Flow, *, hours_every: float = 0.0) -> None:
        self._app = app
        self._store = store
        self._flow = flow
        self._hours_every = hours_every
        self._minutes: dict[int, dict[tuple[str, str], Tally]] = {}
        self._open: dict[tuple[str, str], Tally] = {}
        self._from = self._to = 0
        self._unwritten: dict[CounterKey, Counters] = {}
        self._hours: dict[CounterKey, Counters] = {}
        self._hours_at = float("-inf")
        self._flushed_at = float("-inf")
        self._paused_until = float("-inf")
        self._pause = 0.0
        self._faults = FaultLog(logger, "the counters of tasks cannot be written", "metrics_fault")

    def started(self, task: str, queue: str, now: float, due: float | None) -> None:
        """An attempt enters its function. `due`: when it could have, at the earliest; None for a repeated one."""
        tally = self._tally(task, queue, now)
        tally.started += 1
        if due is not None:
            tally.waits += 1
            if now > due:
                tally.wait += now - due

    def ended(
        self, task: str, queue: str, now: float, state: State, reason: str | None = None, seconds: float | None = None
    ) -> None:
        """An attempt is over, which took so many seconds; or a task that never had one: None."""
        tally = self._tally(task, queue, now)
        if state is SUCCEEDED:
            tally.succeeded += 1
        else:
            tally.end(state, reason)
        if seconds is not None:
            if seconds < 0.0:  # the machine's clock was set back meanwhile
                seconds = 0.0
            tally.duration += seconds
            if seconds > tally.longest:
                tally.longest = seconds
            tally.histogram[bisect_left(BOUNDS, seconds)] += 1

    def _tally(self, task: str, queue: str, now: float) -> Tally:
        if not self._from <= now < self._to:
            self._from = minute = int(now // MINUTE) * MINUTE
            self._to = minute + MINUTE
            self._open = self._minutes.setdefault(minute, {})
        tally = self._open.get((task, queue))
        if tally is None:
            tally = self._open[task, queue] = Tally()
        return tally

    def due(self, now: float, *, everything: bool = False) -> bool:
        """True if there are counters to write, and no pause after a fault; see `flush`."""
        if now < self._paused_until <= now + LONGEST_PAUSE:  # the clock may have been set back
            return False
        return bool(self._unwritten) or (bool(self._minutes) if everything else self._minute_is_over(now))

    def flush_partial_minute(self, now: float) -> bool:
        """True if nothing was flushed for 2 minutes, or for 1 minute and no complete minute is pending.

        For drivers that may never be called again, such as a Lambda container.
        """
        silence = now - self._flushed_at
        return silence >= 2 * MINUTE or (silence >= MINUTE and not self._minute_is_over(now))

    async def flush(self, now: float, *, everything: bool = False) -> None:
        """Write complete minutes. Counters that cannot be written are kept for the next flush. Raises nothing.

        A write whose answer is lost is repeated, and may then count twice.

        Args:
            everything: write the current minute and hour too.
        """
        self._flushed_at = now
        self._close(now, everything)
        rows = list(self._unwritten)
        if not rows:
            return
        # The first write shows if the table can be reached at all.
        if await self._write(rows[0]) and all(await self._flow.map(self._write, rows[1:], PARALLEL)):
            self._pause = 0.0
            self._faults.recovered()
        else:
            self._hold_off(now)

    def give_up_for_now(self, now: float) -> None:
        """A flush took too long and was ended: note the fault, and try again later."""
        self._faults.failed(TimeoutError("there was no answer in time"))
        self._hold_off(now)

    def _hold_off(self, now: float) -> None:
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or MINUTE)
        self._paused_until = now + self._pause

    def _close(self, now: float, everything: bool) -> None:
        """Move complete minutes (and due hours) to the write queue."""
        for minute in [minute for minute in self._minutes if everything or minute + MINUTE <= now]:
            for (task, queue), tally in self._minutes.pop(minute).items():
                counters = tally.counters()
                _add(self._unwritten, CounterKey(MINUTE, minute, task, queue), counters)
                _add(self._hours, CounterKey(HOUR, minute // HOUR * HOUR, task, queue), counters)
        self._from = self._to = 0  # the minute that is open may just have been taken away
        hours_due = everything or now - self._hours_at >= self._hours_every
        for slot in [slot for slot in self._hours if hours_due or slot.time + HOUR <= now]:
            _add(self._unwritten, slot, self._hours.pop(slot))
        if hours_due:
            self._hours_at = now
        for slot in list(self._unwritten)[: max(0, len(self._unwritten) - MOST_KEPT)]:
            del self._unwritten[slot]

    def _minute_is_over(self, now: float) -> bool:
        return any(minute + MINUTE <= now for minute in self._minutes)

    async def _write(self, slot: CounterKey) -> bool:
        counters = self._unwritten.pop(slot, None)
        if counters is None:  # another flush writes it
            return True
        try:
            await self._store.add(self._app, slot, counters)
        except Exception as error:  # a fault of the counters must never be one of the tasks
            _add(self._unwritten, slot, counters)
            self._faults.failed(error)
            return False
        except BaseException:  # the flush is ended in the middle
            _add(self._unwritten, slot, counters)
            raise
        return True


def _add(to: dict[CounterKey, Counters], slot: CounterKey, counters: Counters) -> None:
    to[slot] = to.get(slot, EMPTY) + counters


class Tally:
    """Counts of one task from one queue in one minute so far: the fields of :class:`Counters`, changed in place.

    Not safe between threads: drivers count on the thread of their loop.
    """

    __slots__ = Counters._fields

    def __init__(self) -> None:
        self.started = self.succeeded = self.failed = self.retried = 0
        self.cancelled = self.expired = self.skipped = self.waits = 0
        self.duration = self.longest = self.wait = 0.0
        self.histogram = [0] * BUCKETS

    def end(self, state: State, reason: str | None) -> None:
        """An attempt ended in a state other than SUCCEEDED."""
        field = "skipped" if reason == "overlap" else _FIELDS_BY_STATE.get(state)
        if field is not None:
            setattr(self, field, getattr(self, field) + 1)

    def counters(self) -> Counters:
        """The counters. An attempt that still runs is counted in a later tally."""
        values: dict[str, Any] = {name: getattr(self, name) for name in Counters._fields}
        return Counters(**values | {"histogram": tuple(self.histogram)})


_FIELDS_BY_STATE = {
    State.FAILED: "failed",
    State.RETRYING: "retried",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}
