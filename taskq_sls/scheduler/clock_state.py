"""What the clock offline and the producers tell each other through the table: the interface.

Implementations: the DynamoDB table of the tasks, and in-memory. In AWS, where EventBridge is the clock, nothing is
ever written: changes are noted only while a local clock beats.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

from ..core.schedule_spec import DELAY

ALIVE_FOR = 75.0
"""Seconds for which a beat counts: three of them may come late or be lost."""

CHANGES_FOR = 3_600.0
"""Seconds for which the note of a change is kept."""

CLOCK_TOLERANCE = 60.0
"""Seconds by which the clocks of several schedulers may differ. A last firing further in the future was noted by a clock
that was wrong."""

_DAY = 86_400.0


class Change(NamedTuple):
    """A schedule was made, changed or removed at `time` (epoch seconds)."""

    name: str
    time: float


class ClockState(abc.ABC):
    """Notes about the schedules of one group. Times are epoch seconds."""

    @abc.abstractmethod
    async def beat(self, now: float) -> None:
        """A local clock says that it is alive."""

    @abc.abstractmethod
    async def clock_alive(self, now: float) -> bool:
        """Whether a local clock has said so in the last minute or so."""

    @abc.abstractmethod
    async def changed(self, name: str, now: float) -> None:
        """A schedule was made, changed or removed; the note is dropped after an hour."""

    @abc.abstractmethod
    async def changes(self, since: float) -> list[Change]:
        """Changes noted at `since` or later, oldest first."""

    @abc.abstractmethod
    async def fired(self, name: str, at: float, now: float) -> None:
        """The firing of `name` for `at` is in its queue. The latest `at` stands, unless it is in the future."""

    @abc.abstractmethod
    async def last_fired(self, names: Sequence[str] | None = None) -> dict[str, float]:
        """The scheduled time of the last firing of each schedule that has one; of all where `names` is None."""


def fired_for(name: str) -> float:
    """Seconds for which the last firing of a schedule is remembered.

    A year and more, for yearly schedules; two days for the delay of one task, which has no second firing.
    """
    return 2 * _DAY if name.startswith(DELAY) else 400 * _DAY
