"""``cron(...)``: by the calendar and the clock on the wall."""

from __future__ import annotations

from functools import lru_cache

from ..errors import ConfigError
from .bounded import Bounded, unwrap
from .cron_fields import Fields, read_fields
from .cron_search import next_minute, previous_minute
from .moments import LAST, Moment
from .zones import latest_minute_shown, minute_shown, moment_of_minute

DAY = 86_400.0


class Cron(Bounded):
    """Fires at the minutes that an EventBridge Scheduler cron expression names.

    Six fields: minutes, hours, day-of-month, month, day-of-week (1 = SUN) and year; the year may be left out. Exactly
    one of day-of-month and day-of-week is ``?``.

    A local time that the clocks skip does not fire; one that they show twice fires once, the first time.

    Args:
        expression: such as ``0 12 ? * MON-FRI *``; ``cron(...)`` around it is accepted.
        timezone: IANA name of the zone whose wall clock counts.
        start, end: nothing fires before and after: an aware datetime, or a naive one or text such as
            ``2026-12-01T09:00:00`` in `timezone`. In whole seconds: a fraction moves the start up and the end down.
        window: minutes (0 to 1,440) within which EventBridge may choose the moment.
        jitter: seconds (0 to 43,200) by which firings are put off, evenly spread.

    Raises:
        ConfigError: names the field, the value and the allowed range; or the expression can never fire.
    """

    __slots__ = ("_fields",)

    _fields: Fields

    def __init__(
        self,
        expression: str,
        *,
        timezone: str = "UTC",
        start: Moment | None = None,
        end: Moment | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        fields = _read(unwrap("cron", expression))
        self._fill(f"cron({expression!r:.100})", f"cron({fields.text})", timezone, start, end, window, jitter)
        object.__setattr__(self, "_fields", fields)

    @classmethod
    def unix(
        cls,
        expression: str,
        *,
        timezone: str = "UTC",
        start: Moment | None = None,
        end: Moment | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> Cron:
        """The five fields of crontab: ``*/5 * * * *``, with 0 and 7 for Sunday, and ``@daily`` and its like.

        Raises:
            ConfigError: names the field, the value and the allowed range; or the expression names both days of the
                month and days of the week, which Unix joins by "or" and EventBridge cannot say.
        """
        from .cron_unix import translate

        try:
            return cls(translate(expression), timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        except ConfigError as error:
            raise ConfigError(f"cron.unix({expression!r:.100}): {error}") from None

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        if self.start is not None and after < self.start:
            after = self.start - 1.0
        if after >= LAST + DAY:
            return None
        after = max(after, -DAY)
        fields, zone = self._fields, self._zone
        minute = next_minute(fields, minute_shown(after, zone))
        while minute is not None:
            time = moment_of_minute(minute, zone)
            # Not after `after` where the clocks show the minute for the second time.
            if time is not None and time > after:
                return None if self.end is not None and time > self.end else float(time)
            minute = next_minute(fields, minute)
        return None

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        if self.end is not None and before > self.end:
            before = self.end + 1.0
        if before <= -DAY:
            return None
        before = min(before, LAST + DAY)
        fields, zone = self._fields, self._zone
        minute = previous_minute(fields, latest_minute_shown(before, zone) + 1)
        while minute is not None:
            time = moment_of_minute(minute, zone)
            if time is not None and time < before:
                return None if self.start is not None and time < self.start else float(time)
            minute = previous_minute(fields, minute)
        return None


@lru_cache(maxsize=1024)
def _read(text: str) -> Fields:
    try:
        fields = read_fields(text)
    except ConfigError as error:
        raise ConfigError(f"cron({text!r:.100}): {error}") from None
    if next_minute(fields, -1) is None:
        _, _, day, month, weekday, year = fields.text.split()
        raise ConfigError(
            f"cron({text!r}) can never fire: month {month!r} has no "
            + (f"day-of-month {day!r}" if weekday == "?" else f"day-of-week {weekday!r}")
            + f" in the years {year!r}"
        )
    return fields
