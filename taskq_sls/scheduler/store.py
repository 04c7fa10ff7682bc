"""The interface of schedule stores. Implementations: EventBridge Scheduler and in-memory."""

from __future__ import annotations

import abc

from ..core.schedule_spec import ScheduleSpec
from ..errors import AwsError
from .rate_limit import RateLimiter
from .spec import ScheduleSummary, StoredSchedule

STALE_CURSOR = "InvalidToken"
"""Code of moto's error for a page that begins with a schedule which was deleted meanwhile: list again from the start."""


class ScheduleStore(abc.ABC):
    """The schedules of one schedule group. Transient faults raise AwsError, after the port's own retries.

    Attributes:
        group: name of the schedule group.
    """

    group: str

    @property
    def creates(self) -> bool:
        """False if schedules can only be read and deleted here: no role is configured."""
        return True

    @abc.abstractmethod
    async def create(self, spec: ScheduleSpec) -> bool:
        """Create a schedule. False: the name is taken, and its schedule is unchanged.

        A repeated call may return False if the answer to the first was lost.

        Raises:
            MissingResource, ConfigError: the group or the queue does not exist, or the role is not accepted.
            AwsError: the call failed.
        """

    @abc.abstractmethod
    async def update(self, spec: ScheduleSpec) -> bool:
        """Replace the schedule of the same name. False: it does not exist."""

    @abc.abstractmethod
    async def delete(self, name: str) -> bool:
        """Delete a schedule. False: it did not exist."""

    @abc.abstractmethod
    async def get(self, name: str) -> StoredSchedule | None:
        """The schedule of this name, or None."""

    @abc.abstractmethod
    async def page(self, prefix: str = "", cursor: str | None = None) -> tuple[list[ScheduleSummary], str | None]:
        """Up to 100 schedules with names that begin with `prefix`, and the cursor of the next page, if there is one."""


async def list_summaries(store: ScheduleStore, limiter: RateLimiter, prefix: str = "") -> dict[str, ScheduleSummary]:
    """All schedules with names that begin with `prefix`, by name. A page may repeat a schedule; each counts once.

    Raises:
        ConfigError: the schedule group does not exist.
        AwsError: the store cannot be read.
    """
    found: dict[str, ScheduleSummary] = {}
    cursor: str | None = None

    async def next_page() -> tuple[list[ScheduleSummary], str | None]:
        nonlocal cursor
        try:
            return await store.page(prefix, cursor)
        except AwsError as error:
            if error.code == STALE_CURSOR:
                cursor = None  # again from the start
            raise

    while True:
        page, cursor = await limiter.call(next_page)
        found.update((summary.name, summary) for summary in page)
        if cursor is None:
            return found
