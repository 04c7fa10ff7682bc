"""The local clock: fires the schedules of an endpoint that stores them and does not fire them, such as moto.

Any number of clocks may run over one schedule group: they send the same messages, and the receiver makes one task of all
messages for one firing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ...brokers.base import Broker
from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ..firing import scheduled_time
from ..last_firings import CLOCK_TOLERANCE_SECONDS, LastFirings
from ..store import ScheduleStore
from .firing_log import FiringLog
from .loader import ScheduleLoader
from .misfires import MAX_LATE_FIRINGS, Decision, decide, plan_again
from .retrying import Step, retry_until_success, run_forever
from .sender import Sender
from .timetable import ScheduleEntry, Timetable

logger = logging.getLogger("taskq_sls.scheduler")

WRITE_SECONDS = 1.0
"""Between two writes of the last firings."""

MIN_LIST_PAUSE_SECONDS, MAX_LIST_PAUSE_SECONDS = 2.0, 600.0
LIST_PAUSE_FACTOR = 4.0
"""The pause between two listings: four times as long as a listing took, within these bounds. So listing takes a fifth of
the time at most; moto and its client need about 1 ms of CPU for each schedule."""

MAX_DUE_AT_ONCE = 1_000
"""Schedules to process before other work of the event loop gets its turn."""

OVERLOAD_SECONDS = 5.0
"""Delay before a schedule is processed again if too many firings wait for its queue."""

MAX_SLEEP_SECONDS = 5.0
"""Longest sleep without reading the time: the clock may be set, or the machine suspended."""

SHUTDOWN_SECONDS = 2.0
"""After a stop, for each of sending and recording the firings in flight."""


class LocalClock:
    """Fires the schedules of one group.

    Args:
        store: the schedules.
        last_firings: where the last firing of each schedule is kept.
        broker: sends the firings.
        flow, clock: how to wait, and the current time.
    """

    def __init__(
        self, store: ScheduleStore, last_firings: LastFirings, broker: Broker, flow: Flow, clock: Clock
    ) -> None:
        self.timetable = Timetable()
        self._group = store.group
        self._flow = flow
        self._clock = clock
        self._log = FiringLog(store, last_firings, self.timetable, flow, clock)
        self._sender = Sender(broker, self._log, flow, clock)
        self._loader = ScheduleLoader(store, last_firings, self.timetable, self._log, flow, clock)
        self._loaded = asyncio.Event()
        self._fired_at = float("-inf")

    # -- single steps; tests call them one by one ------------------------------------------------------------------

    async def load(self) -> None:
        """List the schedules and read new and changed ones.

        Raises:
            MissingResource: the schedule group or the table does not exist.
            AwsError, ConfigError: a call failed; schedules that have been read stay known.
        """
        if read := await self._loader.load():
            logger.info(
                "%d schedules of group %s read, %d in all",
                read,
                self._group,
                len(self.timetable),
                extra={"action": "schedules_read"},
            )
            self._loaded.set()

    def fire(self) -> int:
        """Send due firings in the background. Returns the number of schedules processed, 1,000 at most."""
        now = self._clock.time()
        if now < self._fired_at - CLOCK_TOLERANCE_SECONDS:
            self._plan_again(now, self._fired_at - now)
        self._fired_at = now
        entries = self.timetable.pop_due(now, MAX_DUE_AT_ONCE)
        for entry in entries:
            try:
                self._fire(entry, now)
            except Exception:
                # The entry has left the heap. The others go on.
                logger.exception("schedule %s cannot be fired", entry.name, extra={"action": "scheduler_error"})
            self.timetable.push(entry)
        return len(entries)

    async def settle(self) -> None:
        """Return when everything sent is accepted or dead-lettered, and recorded."""
        await self._sender.drain()
        await self._log.write()

    # -- the loops -------------------------------------------------------------------------------------------------

    async def serve(self, stop: asyncio.Event) -> None:
        """Fire until `stop` is set. Transient faults do not end it.

        Raises:
            MissingResource, ConfigError: at the start only: the schedule group or the table does not exist, or
                region or credentials are missing.
        """
        # Schedules that have been read fire while others are still being read.
        work = [
            asyncio.create_task(self._fire_forever()),
            self._repeat("the last firings", self._log.write, lambda: WRITE_SECONDS),
        ]
        try:
            await self._load_first(stop)
            if not stop.is_set():
                logger.info(
                    "scheduler of group %s ready, %d schedules",
                    self._group,
                    len(self.timetable),
                    extra={"action": "scheduler_ready"},
                )
                work.append(self._repeat("the schedules", self.load, self._list_pause))
            await stop.wait()
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            for last in (self._sender.drain, self._log.write):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SHUTDOWN_SECONDS):
                        await last()
            await self._sender.stop()
        logger.info("scheduler of group %s ended", self._group, extra={"action": "scheduler_ended"})

    async def _load_first(self, stop: asyncio.Event) -> None:
        """Load until it succeeds, or `stop` is set. A permanent fault is raised."""
        faults = FaultLog(logger, "the scheduler cannot start yet", "scheduler_startup_fault")
        loading = asyncio.create_task(retry_until_success(self.load, self._flow, faults))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([loading, stopped], return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
        finally:
            loading.cancel()
            stopped.cancel()
            await asyncio.wait([loading, stopped])

    def _list_pause(self) -> float:
        pause = LIST_PAUSE_FACTOR * self._loader.listing_seconds
        return min(MAX_LIST_PAUSE_SECONDS, max(MIN_LIST_PAUSE_SECONDS, pause))

    def _repeat(self, subject: str, step: Step, pause: Callable[[], float]) -> asyncio.Task[None]:
        faults = FaultLog(logger, f"{subject} cannot be read or written", "scheduler_fault")
        return asyncio.create_task(run_forever(step, pause, self._flow, faults))

    async def _fire_forever(self) -> None:
        while True:
            if self.fire() == MAX_DUE_AT_ONCE:
                await asyncio.sleep(0)
                continue
            due = self.timetable.next_due()
            wait = MAX_SLEEP_SECONDS if due is None else min(MAX_SLEEP_SECONDS, due - self._clock.time())
            self._loaded.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._loaded.wait()

    # -- one schedule ----------------------------------------------------------------------------------------------

    def _fire(self, entry: ScheduleEntry, now: float) -> None:
        if entry.when is None:
            return
        stored = entry.stored
        if self._sender.is_full(stored.target):
            entry.due = now + OVERLOAD_SECONDS
            return
        decision = decide(entry, entry.when, now)
        entry.plan(decision.next)
        for at in decision.fire:
            self._sender.send(entry, at)
        if decision.fire:
            entry.last = decision.fire[-1]
        elif entry.next is None and stored.spec.delete_after:
            self._log.completed(entry)
        if decision.late or decision.dropped:
            _log_misfire(entry, decision)

    def _plan_again(self, now: float, seconds: float) -> None:
        logger.warning(
            "the clock of this machine was set back by about %.0f s: all firings are planned again",
            seconds,
            extra={"action": "scheduler_clock_set_back"},
        )
        for entry in self.timetable:
            if entry.when is None:
                continue
            try:
                if plan_again(entry, entry.when, now):
                    self.timetable.push(entry)
            except Exception:
                logger.exception("schedule %s cannot be planned", entry.name, extra={"action": "scheduler_error"})


def _log_misfire(entry: ScheduleEntry, decision: Decision) -> None:
    """Log the missed firings of a schedule in one line."""
    level = logging.WARNING if decision.late == MAX_LATE_FIRINGS and decision.dropped else logging.INFO
    since = f" (from {scheduled_time(decision.fire[0])} on)" if decision.late else ""
    logger.log(
        level,
        "schedule %s: firings were missed; misfire=%s: %d are made up for%s%s",
        entry.name,
        entry.misfire,
        decision.late,
        since,
        ", others are not" if decision.dropped else "",
        extra={"action": "schedule_misfire", "schedule": entry.name},
    )
