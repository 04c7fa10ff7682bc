"""Where schedules are kept: the interface. Implementations: EventBridge Scheduler and in-memory."""

from __future__ import annotations

import abc

from ..core.schedule_spec import ScheduleSpec
from .spec import ScheduleSummary, StoredSchedule

STALE_CURSOR = "InvalidToken"
"""Code of the error for a page that begins with a schedule which was deleted meanwhile (moto): begin anew."""


class ScheduleStore(abc.ABC):
    """The schedules of one schedule group. Transient faults raise AwsError, after the port's own retries.

    Attributes:
        group: name of the schedule group.
    """

    group: str

    @property
    def creates(self) -> bool:
        """Whether schedules can be made here; where not, those that stand can be read and removed."""
        return True

    @abc.abstractmethod
    async def create(self, spec: ScheduleSpec) -> bool:
        """Make a schedule. False: one of that name stands already, and is left as it is.

        A repeated call whose first answer was lost may answer False.

        Raises:
            MissingResource, ConfigError: the group or the queue does not exist, or the role is not accepted.
            AwsError: the call failed.
        """

    @abc.abstractmethod
    async def update(self, spec: ScheduleSpec) -> bool:
        """Replace a schedule of the same name. False: there is none."""

    @abc.abstractmethod
    async def delete(self, name: str) -> bool:
        """Remove a schedule. False: there was none."""

    @abc.abstractmethod
    async def get(self, name: str) -> StoredSchedule | None:
        """The schedule of a name, or None."""

    @abc.abstractmethod
    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        """Up to 100 schedules whose names begin with `prefix`, and the cursor of the next page, if there is one."""
