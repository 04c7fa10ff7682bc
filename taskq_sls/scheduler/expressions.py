"""What ``cron(...)``, ``rate(...)`` and ``at(...)`` have in common."""

from __future__ import annotations

import abc
from datetime import UTC, datetime

from ..errors import ConfigError

MAX_WINDOW = 1_440
"""Longest flexible time window, in minutes (EventBridge Scheduler API reference, FlexibleTimeWindow)."""

MAX_JITTER = 43_200
"""Longest jitter, in seconds: SQS keeps a message hidden for 12 hours at most."""


class When(abc.ABC):
    """When something runs. A value: equal where expression, time zone, bounds, window and jitter are.

    Attributes:
        expression: in EventBridge Scheduler's own words: ``cron(0 12 ? * MON-FRI *)``, ``rate(5 minutes)``,
            ``at(2026-12-01T09:00:00)``.
        timezone: IANA name of the zone whose wall clock `expression` reads.
        start, end: epoch seconds before and after which nothing fires; None for no bound.
        window: minutes (0 to 1,440) within which EventBridge may choose the moment; 0 for none.
        jitter: seconds (0 to 43,200) by which each firing is put off, evenly spread and the same for every
            delivery of one firing.
    """

    __slots__ = ()

    expression: str
    timezone: str
    start: float | None
    end: float | None
    window: int
    jitter: int

    @abc.abstractmethod
    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        """The first time strictly after `after`, within the bounds; None when none is left. Epoch seconds.

        Args:
            anchor: where the grid of a ``rate`` without `start` begins: the creation of its schedule.
                Default: `after`.
        """

    @abc.abstractmethod
    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        """The last time strictly before `before`, within the bounds; None when there was none. Epoch seconds."""

    def next(self, after: datetime) -> datetime | None:
        """The first time strictly after `after`, in this value's time zone; None when none is left.

        Args:
            after: an aware datetime.

        Raises:
            ConfigError: `after` is no datetime, or has no time zone.
        """
        if not isinstance(after, datetime) or after.tzinfo is None:
            raise ConfigError(f"{self.expression}.next({after!r}): give a datetime with a time zone")
        found = self.next_time(after.timestamp())
        return None if found is None else self.local(found)

    @abc.abstractmethod
    def local(self, time: float) -> datetime:
        """Epoch seconds as an aware datetime in this value's time zone."""

    @property
    def once(self) -> bool:
        """Whether it fires a single time (``at``)."""
        return False


def utc(time: float) -> datetime:
    """Epoch seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(time, UTC)
