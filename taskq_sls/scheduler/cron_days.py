"""Which days of a month: a table of bitmasks, one for each of the 28 kinds of month.

A month is told from another by its first weekday and its length only, so every rule of a calendar (the last Friday, the
weekday nearest to the 15th) is worked out once, when an expression is read. Bit *n* of a mask is day *n*. Weekdays are
counted from 0 for Sunday.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache

Days = tuple[int, ...]

EPOCH_DAY = date(1970, 1, 1).toordinal()

SATURDAY = 6


def on_days(mask: int) -> Days:
    """The days of `mask` that the month has."""
    return _table(lambda first, length: mask)


def on_weekdays(mask: int) -> Days:
    """Every day whose weekday is in `mask` (bit 0 for Sunday)."""
    weeks = sum(mask << 7 * week for week in range(6))
    return _table(lambda first, length: weeks >> first << 1)


def on_last_day() -> Days:
    return _table(lambda first, length: 1 << length)


def on_last(weekday: int) -> Days:
    """The last Friday, for one."""
    return _table(lambda first, length: 1 << length - (first + length - 1 - weekday) % 7)


def on_nth(weekday: int, number: int) -> Days:
    """The second Tuesday, for one; no day at all in a month that has fewer of them."""
    return _table(lambda first, length: 1 << 1 + (weekday - first) % 7 + 7 * (number - 1))


def on_nearest_weekday(day: int) -> Days:
    """The day from Monday to Friday that is nearest to `day` in the same month."""

    def rule(first: int, length: int) -> int:
        weekday = (first + day - 1) % 7
        if weekday == SATURDAY:
            return 1 << (day - 1 if day > 1 else day + 2)
        if weekday == 0:
            return 1 << (day + 1 if day < length else day - 2)
        return 1 << day

    return _table(rule)


@lru_cache(maxsize=4096)
def month_at(year: int, month: int) -> tuple[int, int]:
    """The first day of a month, counted from 1 January 1970, and where its kind stands in a table of days."""
    ordinal = date(year, month, 1).toordinal()
    return ordinal - EPOCH_DAY, ordinal % 7 * 4 + length_of(year, month) - 28


def length_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _table(rule: Callable[[int, int], int]) -> Days:
    return tuple(
        rule(first, length) & (2 << length) - 1 & ~1  # no day 0, and none after the last
        for first in range(7)
        for length in range(28, 32)
    )
