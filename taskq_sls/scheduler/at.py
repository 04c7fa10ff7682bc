"""``at(...)``: once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..errors import ConfigError
from .bounded import Bounded, unwrap
from .moments import Moment, read_moment, up
from .zones import EPOCH, first_moment


class At(Bounded):
    """Fires once.

    Args:
        time: an aware datetime; or a naive one, or text such as ``2026-12-01T09:00:00``, in `timezone`. Whole
            seconds: a fraction is rounded up. Of a local time that occurs twice the first is meant; an aware datetime
            that is the second is kept as UTC.
        timezone: IANA name of the zone whose wall clock counts.
        start, end: None: a time that is fixed has no bounds (EventBridge ignores them).
        window: minutes (0 to 1,440) within which EventBridge may choose the moment.
        jitter: seconds (0 to 43,200) by which the firing is put off.

    Raises:
        ConfigError: the time is no time, does not exist in `timezone`, or is outside 1970 to 2199.
    """

    __slots__ = ("_time",)

    _time: int

    def __init__(
        self,
        time: datetime | str,
        *,
        timezone: str = "UTC",
        start: None = None,
        end: None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        call = f"at({str(time) if isinstance(time, datetime) else time!r})"
        if start is not None or end is not None:
            raise ConfigError(f"{call}: start and end do not go with a single time; leave them out")
        value: Moment = unwrap("at", time) if isinstance(time, str) else time
        if not isinstance(value, datetime | str):
            raise ConfigError(f"{call}: give a datetime, or text such as 2026-12-01T09:00:00")
        _, zone = self._find_zone(call, timezone)
        seconds = up(read_moment("at: ", value, zone))
        local = datetime.fromtimestamp(seconds, zone).replace(tzinfo=None, fold=0)
        if first_moment(local, zone) != seconds:
            # The wall clock of the zone cannot tell it from the first of the two.
            timezone, local = "UTC", EPOCH + timedelta(seconds=seconds)
        self._fill(call, f"at({local.isoformat()})", timezone, None, None, window, jitter)
        object.__setattr__(self, "_time", seconds)

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        return float(self._time) if self._time > after else None

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        return float(self._time) if self._time < before else None

    @property
    def once(self) -> bool:
        return True

    @property
    def time(self) -> datetime:
        """The moment, in UTC."""
        return datetime.fromtimestamp(self._time, UTC)
