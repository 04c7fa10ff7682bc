"""The next and the previous minute that an expression names, by the clock on the wall.

Minutes are counted from 1 January 1970, 00:00, of the wall clock; what they are in real time is `zones`' matter.
Fields name the years 1970 to 2199; a search may begin some days before or after.
"""

from __future__ import annotations

from datetime import date

from .cron_days import EPOCH_DAY, month_at
from .cron_fields import Fields

MINUTES_PER_DAY = 1_440


def next_minute(fields: Fields, wall: int) -> int | None:
    """The first minute after `wall` that `fields` name; None when none is left."""
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
            at = later if found == day and later is not None else _first_of_day(fields)
            return found * MINUTES_PER_DAY + at
        month, start = month + 1, 1


def previous_minute(fields: Fields, wall: int) -> int | None:
    """The last minute before `wall` that `fields` name; None when there was none."""
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
            at = earlier if found == day and earlier is not None else _last_of_day(fields)
            return found * MINUTES_PER_DAY + at
        month, stop = month - 1, 31


def _first_from(fields: Fields, minute: int) -> int | None:
    """The first minute of a day from `minute` on."""
    hour, minute = divmod(minute, 60)
    hours = fields.hours >> hour
    if hours & 1:
        minutes = fields.minutes >> minute
        if minutes:
            return hour * 60 + minute + _lowest(minutes)
    hours >>= 1
    return (hour + 1 + _lowest(hours)) * 60 + _lowest(fields.minutes) if hours else None


def _last_until(fields: Fields, minute: int) -> int | None:
    """The last minute of a day up to `minute`."""
    hour, minute = divmod(minute, 60)
    if fields.hours >> hour & 1:
        minutes = fields.minutes & (2 << minute) - 1
        if minutes:
            return hour * 60 + _highest(minutes)
    hours = fields.hours & (1 << hour) - 1
    return _highest(hours) * 60 + _highest(fields.minutes) if hours else None


def _first_of_day(fields: Fields) -> int:
    return _lowest(fields.hours) * 60 + _lowest(fields.minutes)


def _last_of_day(fields: Fields) -> int:
    return _highest(fields.hours) * 60 + _highest(fields.minutes)


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _highest(mask: int) -> int:
    return mask.bit_length() - 1
