"""Changes of schedules, told to the local clocks that beat; where EventBridge is the clock, nobody is told."""

from __future__ import annotations

import logging

from ..core.clock import Clock
from ..errors import TaskQError
from .clock_state import ClockState

logger = logging.getLogger("taskq_sls.scheduler")

ASK_AGAIN_DEAD = 10.0
ASK_AGAIN_ALIVE = 60.0
"""Seconds for which an answer counts: a clock that has just started learns of changes soon, and in AWS, where none
ever does, a producer of many schedules reads one item in ten seconds."""


class ChangeNotifier:
    """Notes that a schedule was changed, where a local clock is alive.

    Args:
        notes: where changes are noted; None where nobody reads them.
    """

    def __init__(self, notes: ClockState | None, clock: Clock) -> None:
        self._notes = notes
        self._clock = clock
        self._alive = False
        self._ask_at = float("-inf")
        self._failing = False

    async def tell(self, name: str) -> None:
        """Note a change. Never raises for a fault: a clock also reads all schedules anew from time to time."""
        if self._notes is None:
            return
        now = self._clock.time()
        try:
            if now >= self._ask_at or self._ask_at > now + ASK_AGAIN_ALIVE:  # the clock may have been set back
                # First, so that those who come meanwhile do not ask too.
                self._ask_at = now + ASK_AGAIN_DEAD
                self._alive = await self._notes.clock_alive(now)
                self._ask_at = now + (ASK_AGAIN_ALIVE if self._alive else ASK_AGAIN_DEAD)
            if self._alive:
                await self._notes.changed(name, now)
            self._failing = False
        except TaskQError as error:
            self._failed(name, error)

    def _failed(self, name: str, error: TaskQError) -> None:
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        logger.log(
            level,
            "a change of schedule %s could not be noted for a local clock: %s",
            name,
            error,
            extra={"action": "schedule_note_failed", "schedule": name},
        )
