"""``cron(...)``: times by the calendar and the wall clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from ..errors import ConfigError
from .cron_fields import EPOCH_DAY, Fields, month_at, read_fields
from .expressions import When, unwrap
from .zones import MAX_TIME, LocalTimeLike, latest_minute_shown, minute_shown, moment_of_minute

DAY_SECONDS = 86_400.0
MINUTES_PER_DAY = 1_440


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Cron(When):
    """Fires at the minutes of an EventBridge Scheduler cron expression.

    Six fields: minutes, hours, day-of-month, month, day-of-week (1 = SUN) and year; the year may be left out. Exactly
    one of day-of-month and day-of-week is ``?``.

    A local time that the clocks skip does not fire; one that they show twice fires once, the first time.

    Args:
        expression: such as ``0 12 ? * MON-FRI *``; ``cron(...)`` around it is accepted.
        timezone: IANA name of the zone of the expression.
        start, end: nothing fires before and after: an aware datetime, or a naive one or text such as
            ``2026-12-01T09:00:00`` in `timezone`. In whole seconds: a fraction moves the start up and the end down.
        window: minutes (0 to 1,440) within which EventBridge may choose the time.
        jitter: largest random delay of a firing in seconds (0 to 43,200).

    Raises:
        ConfigError: a field is not valid (the error names field, value and range), or the expression can never fire.
    """

    _fields: Fields = field(compare=False)

    def __init__(
        self,
        expression: str,
        *,
        timezone: str = "UTC",
        start: LocalTimeLike | None = None,
        end: LocalTimeLike | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        fields = _parse(unwrap("cron", expression))
        call, text = f"cron({expression!r:.100})", f"cron({fields.text})"
        self._set_common(call, text, timezone, start=start, end=end, window=window, jitter=jitter)
        self._set(_fields=fields)

    @classmethod
    def unix(
        cls,
        expression: str,
        *,
        timezone: str = "UTC",
        start: LocalTimeLike | None = None,
        end: LocalTimeLike | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> Cron:
        """The five fields of crontab: ``*/5 * * * *``, 0 and 7 for Sunday, and ``@daily`` and the like.

        Raises:
            ConfigError: a field is not valid (the error names field, value and range); or the expression sets both day
                of month and day of week: Unix joins these by "or", which EventBridge cannot express.
        """
        from .cron_unix import translate  # only here: croniter would slow every cold start

        try:
            return cls(translate(expression), timezone=timezone, start=start, end=end, window=window, jitter=jitter)
        except ConfigError as error:
            raise ConfigError(f"cron.unix({expression!r:.100}): {error}") from None

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        if self.start is not None and after < self.start:
            after = self.start - 1.0
        if after >= MAX_TIME + DAY_SECONDS:
            return None
        after = max(after, -DAY_SECONDS)
        fields, zone = self._fields, self._zone
        minute = next_minute(fields, minute_shown(after, zone))
        while minute is not None:
            time = moment_of_minute(minute, zone)
            # `time` can be before `after`, while the clocks show the minute for the second time.
            if time is not None and time > after:
                return None if self.end is not None and time > self.end else float(time)
            minute = next_minute(fields, minute)
        return None

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        if self.end is not None and before > self.end:
            before = self.end + 1.0
        if before <= -DAY_SECONDS:
            return None
        before = min(before, MAX_TIME + DAY_SECONDS)
        fields, zone = self._fields, self._zone
        minute = previous_minute(fields, latest_minute_shown(before, zone) + 1)
        while minute is not None:
            time = moment_of_minute(minute, zone)
            if time is not None and time < before:
                return None if self.start is not None and time < self.start else float(time)
            minute = previous_minute(fields, minute)
        return None


@lru_cache(maxsize=1024)
def _parse(text: str) -> Fields:
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


# The search. Minutes of the wall clock are counted from 1 January 1970, 00:00. Fields name the years 1970 to 2199; a
# search may begin some days before or after.


def next_minute(fields: Fields, wall: int) -> int | None:
    """The first minute after `wall` that matches `fields`; None if none is left."""
    day, minute = divmod(wall + 1, MINUTES_PER_DAY)
    today = date.fromordinal(day + EPOCH_DAY)
    year, month = today.year, today.month
    later = _first_from(fields, minute)
    start = today.day if later is not None else today.day + 1
    while True:
        years = fields.years >> year
        if not years:
            return None
        if not years & 1:
            year, month, start = year + _lowest(years), 1, 1
        months = fields.months >> month
        if not months:
            year, month, start = year + 1, 1, 1
            continue
        if not months & 1:
            month, start = month + _lowest(months), 1
        first, kind = month_at(year, month)
        days = fields.days[kind] >> start << start
        if days:
            found = first + _lowest(days) - 1
            if found == day and later is not None:
                return found * MINUTES_PER_DAY + later
            return found * MINUTES_PER_DAY + _lowest(fields.hours) * 60 + _lowest(fields.minutes)
        month, start = month + 1, 1


def previous_minute(fields: Fields, wall: int) -> int | None:
    """The last minute before `wall` that matches `fields`; None if there was none."""
    day, minute = divmod(wall - 1, MINUTES_PER_DAY)
    today = date.fromordinal(day + EPOCH_DAY)
    year, month = today.year, today.month
    earlier = _last_until(fields, minute)
    stop = today.day if earlier is not None else today.day - 1
    while True:
        years = fields.years & (2 << year) - 1
        if not years:
            return None
        if not years >> year:
            year, month, stop = _highest(years), 12, 31
        months = fields.months & (2 << month) - 1
        if not months:
            year, month, stop = year - 1, 12, 31
            continue
        if not months >> month:
            month, stop = _highest(months), 31
        first, kind = month_at(year, month)
        days = fields.days[kind] & (2 << stop) - 1
        if days:
            found = first + _highest(days) - 1
            if found == day and earlier is not None:
                return found * MINUTES_PER_DAY + earlier
            return found * MINUTES_PER_DAY + _highest(fields.hours) * 60 + _highest(fields.minutes)
        month, stop = month - 1, 31


def _first_from(fields: Fields, minute: int) -> int | None:
    """The first matching minute of a day from `minute` on."""
    hour, minute = divmod(minute, 60)
    hours = fields.hours >> hour
    if hours & 1:
        minutes = fields.minutes >> minute
        if minutes:
            return hour * 60 + minute + _lowest(minutes)
    hours >>= 1
    return (hour + 1 + _lowest(hours)) * 60 + _lowest(fields.minutes) if hours else None


def _last_until(fields: Fields, minute: int) -> int | None:
    """The last matching minute of a day up to `minute`."""
    hour, minute = divmod(minute, 60)
    if fields.hours >> hour & 1:
        minutes = fields.minutes & (2 << minute) - 1
        if minutes:
            return hour * 60 + _highest(minutes)
    hours = fields.hours & (1 << hour) - 1
    return _highest(hours) * 60 + _highest(fields.minutes) if hours else None


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1
