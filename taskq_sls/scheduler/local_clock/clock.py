"""The local clock: fires the schedules of EventBridge Scheduler's API where nobody else does, such as over moto.

Any number of clocks may run over one schedule group: they send the same messages, and the receiver makes one task of
what they send for one firing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from ...aws.port import AwsClient
from ...core.clock import Clock
from ...core.fault_log import FaultLog
from ...core.flow import Flow
from ..clock_state import CLOCK_TOLERANCE, ClockState
from ..firing import scheduled_time
from ..store import ScheduleStore
from .last_firings import FiringLog
from .loader import ScheduleLoader
from .misfires import MOST, Decision, decide, plan_anew
from .repeating import Step, retry_until_success, run_forever
from .sender import Sender
from .timetable import ScheduleEntry, Timetable

logger = logging.getLogger("taskq_sls.scheduler")

BEAT_EVERY = 20.0
"""Seconds between two signs of life, which have producers note what they change."""

CHANGES_EVERY = 1.0
"""Seconds between two looks at the changes that producers note."""

WRITE_EVERY = 1.0
"""Seconds between two writings of the last firings."""

FEW, SOME = 100, 1_000
"""Schedules up to which everything is listed anew every 5 seconds (one call) and every minute; above, every ten."""

AFTER_START = 15.0
"""Seconds after which a large group is first listed anew: producers ask whether a clock lives every ten seconds, so
that the changes of the first ten are not noted."""

AT_ONCE = 1_000
"""Schedules that are looked at before the other work of the loop has its turn."""

OVERLOADED = 5.0
"""Seconds after which a schedule is looked at again whose queue has too many firings before it."""

LONGEST_WAIT = 5.0
"""Seconds after which the time is looked at again in any case: it may have been set, or the machine have slept."""

LAST_WORDS = 2.0
"""Seconds that sending and writing what is under way may take after a stop."""


class LocalClock:
    """Fires the schedules of one group.

    Args:
        store: the schedules.
        notes: the last firings, and what producers change.
        sqs: the ``sqs`` client of a port.
        dead_letters: physical name of the queue for firings that cannot be delivered.
        flow, clock: how to wait, and what the time is.
    """

    def __init__(
        self, store: ScheduleStore, notes: ClockState, sqs: AwsClient, dead_letters: str, flow: Flow, clock: Clock
    ) -> None:
        self.agenda = Timetable()
        self._group = store.group
        self._notes = notes
        self._flow = flow
        self._clock = clock
        self._ledger = FiringLog(store, notes, self.agenda, flow, clock)
        self._sender = Sender(sqs, flow, clock, dead_letters, self._ledger.settled)
        self._catalogue = ScheduleLoader(store, notes, self.agenda, flow, clock, self._ledger.finished)
        self._woken = asyncio.Event()
        self._listings = 0
        self._looked_at = float("-inf")

    # -- steps, which tests take one by one ----------------------------------------------------------------------

    async def beat(self) -> None:
        """Say that a clock is alive."""
        await self._notes.beat(self._clock.time())

    async def list_all(self) -> None:
        """Read everything that is new or changed.

        Raises:
            MissingResource: the schedule group or the table does not exist.
            AwsError, ConfigError: a call failed; what is known stays.
        """
        read = await self._catalogue.list_all()
        self._listings += 1
        if read:
            logger.info(
                "%d schedules of group %s read, %d in all",
                read,
                self._group,
                len(self.agenda),
                extra={"action": "schedules_read"},
            )
            self._woken.set()

    async def read_changes(self) -> None:
        """Read what producers have noted as changed."""
        if await self._catalogue.read_changes():
            self._woken.set()

    def fire(self) -> int:
        """Send what is due, in the background; how many schedules were looked at, 1,000 at most."""
        now = self._clock.time()
        if now < self._looked_at - CLOCK_TOLERANCE:
            self._plan_anew(now, self._looked_at - now)
        self._looked_at = now
        rows = self.agenda.pop_due(now, AT_ONCE)
        for row in rows:
            try:
                self._fire(row, now)
            except Exception:
                # It has left the heap; the others go on.
                logger.exception("schedule %s cannot be fired", row.name, extra={"action": "scheduler_error"})
            self.agenda.push(row)
        return len(rows)

    async def settle(self) -> None:
        """Wait until everything sent is accepted or given up, and written down."""
        await self._sender.drain()
        await self._ledger.write()

    # -- a life ----------------------------------------------------------------------------------------------------

    async def serve(self, stop: asyncio.Event) -> None:
        """Fire until `stop` is set. No fault that may pass ends it.

        Raises:
            MissingResource, ConfigError: at the start only: the schedule group or the table does not exist, or
                region or credentials are missing.
        """
        await self._first(self.beat, stop)
        # What has been read fires while the rest is still on its way.
        work = [
            asyncio.create_task(self._fire_forever()),
            self._repeated("the last firings", self._ledger.write, lambda: WRITE_EVERY),
        ]
        try:
            await self._first(self.list_all, stop)
            if not stop.is_set():
                logger.info(
                    "scheduler of group %s ready, %d schedules",
                    self._group,
                    len(self.agenda),
                    extra={"action": "scheduler_ready"},
                )
            work += [
                self._repeated("the table", self.beat, lambda: BEAT_EVERY),
                self._repeated("changes of schedules", self.read_changes, lambda: CHANGES_EVERY),
                self._repeated("the schedules", self.list_all, self._list_again_in, later=True),
            ]
            await stop.wait()
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
            for last in (self._sender.drain, self._ledger.write):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORDS):
                        await last()
            await self._sender.stop()
        logger.info("scheduler of group %s ended", self._group, extra={"action": "scheduler_ended"})

    def _list_again_in(self) -> float:
        count = len(self.agenda)
        if count <= FEW:
            return 5.0
        if self._listings == 1:
            return AFTER_START
        return 60.0 if count <= SOME else 600.0

    async def _first(self, step: Step, stop: asyncio.Event) -> None:
        """Take a step until it works, or `stop` is set; what is wrong for good is raised."""
        faults = FaultLog(logger, "the scheduler cannot start yet", "scheduler_startup_fault")
        trying = asyncio.create_task(retry_until_success(step, self._flow, faults))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([trying, stopped], return_when=asyncio.FIRST_COMPLETED)
            if trying.done():
                trying.result()
        finally:
            for task in (trying, stopped):
                task.cancel()
            await asyncio.wait([trying, stopped])

    def _repeated(
        self, what: str, step: Step, pause: Callable[[], float], *, later: bool = False
    ) -> asyncio.Task[None]:
        faults = FaultLog(logger, f"{what} cannot be read or written", "scheduler_fault")
        return asyncio.create_task(run_forever(step, pause, self._flow, faults, later=later))

    async def _fire_forever(self) -> None:
        while True:
            if self.fire() == AT_ONCE:
                await asyncio.sleep(0)
                continue
            due = self.agenda.next_due()
            wait = LONGEST_WAIT if due is None else min(LONGEST_WAIT, due - self._clock.time())
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._woken.wait()

    def _plan_anew(self, now: float, seconds: float) -> None:
        logger.warning(
            "the clock of this machine was set back by about %.0f s: all firings are planned anew",
            seconds,
            extra={"action": "scheduler_clock_set_back"},
        )
        for row in self.agenda:
            if not row.expression:
                continue
            try:
                if plan_anew(row, now):
                    self.agenda.push(row)
            except Exception:
                logger.exception("schedule %s cannot be planned", row.name, extra={"action": "scheduler_error"})

    def _fire(self, row: ScheduleEntry, now: float) -> None:
        if self._sender.full(row.target):
            row.due = now + OVERLOADED
            return
        decision = decide(row, now)
        row.plan(decision.next)
        for at in decision.fire:
            self._ledger.opened(row, at)
            self._sender.send(row, at)
        if decision.fire:
            row.last = decision.fire[-1]
        elif row.next is None and row.delete_after:
            self._ledger.finished(row)
        if decision.late or decision.dropped:
            _log_misfire(row, decision)


def _log_misfire(row: ScheduleEntry, decision: Decision) -> None:
    """One line for each schedule that was missed."""
    level = logging.WARNING if decision.late == MOST and decision.dropped else logging.INFO
    since = f" (from {scheduled_time(decision.fire[0])} on)" if decision.late else ""
    logger.log(
        level,
        "schedule %s: firings were missed; misfire=%s: %d are made up for%s%s",
        row.name,
        row.misfire,
        decision.late,
        since,
        ", others are not" if decision.dropped else "",
        extra={"action": "schedule_misfire", "schedule": row.name},
    )
