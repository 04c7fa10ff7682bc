"""The grammar of EventBridge Scheduler's cron expressions: six fields to bitmasks.

Expressions that its documentation (user guide, schedule types) leaves undefined are rejected: AWS may do anything with
them, so no local clock could fire the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from ..errors import ConfigError

Days = tuple[int, ...]
"""The days of a month, as one bitmask for each of the 28 kinds of month.

A month's first weekday and length decide the days of every rule (the last Friday, the weekday nearest to the 15th), so
each rule is computed once, when an expression is parsed. Bit *n* of a mask is day *n*. Weekday 0 is Sunday.
"""

EPOCH_DAY = date(1970, 1, 1).toordinal()

SATURDAY = 6

UNDEFINED = "undefined in the documentation of EventBridge Scheduler"


class Field:
    """One field of an expression: its name, its values, and their description for errors."""

    def __init__(self, label: str, low: int, high: int, names: str = "", *, steps: int = 0) -> None:
        self.label = label
        self.low = low
        self.high = high
        self.names: Mapping[str, int] = {name: low + place for place, name in enumerate(names.split())}
        self.steps = steps
        self.allowed = f"{low} to {high}"
        if names:
            first_day = " (1 = SUN)" if label == "day-of-week" else ""
            self.allowed += f"{first_day} or {names[:3]} to {names[-3:]}"

    def unwrapped(self, first: str, last: str) -> str:
        """Two ranges in place of one that wraps past the end of the field."""
        names = list(self.names)
        low, high = (names[0], names[-1]) if first in self.names else (self.low, self.high)
        return f"'{first}-{high},{low}-{last}'"


MINUTES = Field("minutes", 0, 59, steps=59)
HOURS = Field("hours", 0, 23, steps=23)
DAY_OF_MONTH = Field("day-of-month", 1, 31, steps=31)
MONTH = Field("month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", steps=12)
DAY_OF_WEEK = Field("day-of-week", 1, 7, "SUN MON TUE WED THU FRI SAT")
YEAR = Field("year", 1970, 2199, steps=229)

FIELDS = (MINUTES, HOURS, DAY_OF_MONTH, MONTH, DAY_OF_WEEK, YEAR)


class Fields(NamedTuple):
    """A parsed expression. Bit *n* of a mask is value *n*.

    Args:
        text: the six fields, single-spaced, without leading zeros.
        days: see `Days`.
    """

    text: str
    minutes: int
    hours: int
    days: Days
    months: int
    years: int


def read_fields(text: str) -> Fields:
    """Parse five or six fields.

    Raises:
        ConfigError: a field is not valid; the error names field, value and range.
    """
    words = text.split()
    if len(words) == 5:
        words.append("*")
    if len(words) != 6:
        raise ConfigError(
            f"{len(words)} fields: give six (minutes hours day-of-month month day-of-week year), or five without the year"
        )
    _refuse_lower_case(words)
    minute, hour, day, month, weekday, year = words
    if (day == "?") == (weekday == "?"):
        raise ConfigError(
            f"day-of-month {day!r} and day-of-week {weekday!r}: exactly one of the two must be '?'. "
            "For five-field Unix expressions use cron.unix(...)"
        )
    minutes, minute = _read(MINUTES, minute)
    hours, hour = _read(HOURS, hour)
    if weekday == "?":
        days, day = _read_day_of_month(day)
    else:
        days, weekday = _read_day_of_week(weekday)
    months, month = _read(MONTH, month)
    years, year = _read(YEAR, year)
    if day.endswith("W"):
        _refuse_missing_day(day, month, months, years)
    return Fields(f"{minute} {hour} {day} {month} {weekday} {year}", minutes, hours, days, months, years)


@lru_cache(maxsize=1024)
def _read(field: Field, text: str) -> tuple[int, str]:
    """The mask of values, and the normalized text."""
    mask, kept = 0, []
    for item in text.split(","):
        bits, normalized = _read_item(field, item, text)
        mask |= bits
        kept.append(normalized)
    return mask, ",".join(kept)


def _read_item(field: Field, item: str, text: str) -> tuple[int, str]:
    span, slash, step = item.partition("/")
    if span == "*":
        if not slash and text != "*":
            raise refusal(field, text, f"'*' in a list is {UNDEFINED}; give '*' alone")
        low, high, kept = field.low, field.high, "*"
    else:
        first, dash, last = span.partition("-")
        low, kept = _read_value(field, first, text)
        high = field.high if slash else low
        if dash:
            high, kept_last = _read_value(field, last, text)
            _check_range(field, text, (first, low), (last, high))
            kept += f"-{kept_last}"
    every = 1
    if slash:
        every = _read_step(field, step, text)
        kept += f"/{every}"
    mask = 0
    for value in range(low, high + 1, every):
        mask |= 1 << value
    return mask, kept


def _check_range(field: Field, text: str, first: tuple[str, int], last: tuple[str, int]) -> None:
    if (first[0] in field.names) != (last[0] in field.names):
        raise refusal(field, text, f"a range from a number to a name is {UNDEFINED}; give two numbers or two names")
    if first[1] > last[1]:
        raise refusal(field, text, f"a range that wraps is {UNDEFINED}; write {field.unwrapped(first[0], last[0])}")


def _read_value(field: Field, value: str, text: str) -> tuple[int, str]:
    if value in field.names:
        return field.names[value], value
    if not is_digits(value) or len(value) > 4:
        problem = f"{value!r} is not a value of this field" if value else "a value is missing"
        raise refusal(field, text, f"{problem}; give {field.allowed}")
    number = int(value)
    if not field.low <= number <= field.high:
        unix = ". In cron.unix(...) 0 is Sunday" if field is DAY_OF_WEEK and number == 0 else ""
        raise refusal(field, text, f"{number} is out of range; give {field.allowed}{unix}")
    return number, str(number)


def _read_step(field: Field, step: str, text: str) -> int:
    if not field.steps:
        raise refusal(field, text, f"a step in this field is {UNDEFINED}; list the days, such as MON,WED,FRI")
    if not is_digits(step) or not 1 <= int(step[:5]) <= field.steps:
        raise refusal(field, text, f"the step {step!r} is out of range; give 1 to {field.steps}")
    return int(step)


@lru_cache(maxsize=1024)
def _read_day_of_month(text: str) -> tuple[Days, str]:
    if text == "L":
        return on_last_day(), text
    if text.endswith("W") and is_digits(text[:-1]):
        day, kept = _read_value(DAY_OF_MONTH, text[:-1], text)
        return on_nearest_weekday(day), f"{kept}W"
    if any(item.startswith("L") or item.endswith(("L", "W")) for item in text.split(",")):
        raise refusal(
            DAY_OF_MONTH,
            text,
            f"{UNDEFINED}, which has L alone and one number (1 to 31) with W, such as 3W, and no lists",
        )
    mask, kept = _read(DAY_OF_MONTH, text)
    return on_days(mask), kept


@lru_cache(maxsize=1024)
def _read_day_of_week(text: str) -> tuple[Days, str]:
    if text == "L":
        return on_weekdays(1 << SATURDAY), text
    if "#" in text:
        return _read_nth_weekday(text)
    if text.endswith("L") and (text[:-1] in DAY_OF_WEEK.names or is_digits(text[:-1])):
        weekday, kept = _read_value(DAY_OF_WEEK, text[:-1], text)
        return on_last(weekday - 1), f"{kept}L"
    if any(item.startswith("L-") or item.endswith("L") for item in text.split(",")):
        raise refusal(
            DAY_OF_WEEK, text, f"{UNDEFINED}, which has L alone and one day (1 to 7) with L, such as 6L, and no lists"
        )
    mask, kept = _read(DAY_OF_WEEK, text)
    return on_weekdays(mask >> 1), kept


def _read_nth_weekday(text: str) -> tuple[Days, str]:
    day, _, number = text.partition("#")
    if "," in text:
        raise refusal(DAY_OF_WEEK, text, "with '#' the field holds one expression only; make one schedule of each")
    weekday, kept = _read_value(DAY_OF_WEEK, day, text)
    if number not in ("1", "2", "3", "4", "5"):
        raise refusal(DAY_OF_WEEK, text, f"{number!r} after '#' is out of range; give 1 to 5, such as 3#2")
    return on_nth(weekday - 1, int(number)), f"{kept}#{number}"


def _refuse_missing_day(day: str, month: str, months: int, years: int) -> None:
    """Reject ``31W`` for a month without a 31st: some crons take the last weekday, some none."""
    common = any(years >> year & 1 and length_of(year, 2) == 28 for year in range(YEAR.low, YEAR.high + 1))
    for number in range(1, 13):
        if months >> number & 1 and int(day[:-1]) > length_of(1970 if common else 1972, number):
            raise refusal(
                DAY_OF_MONTH,
                day,
                f"in a month without that day (month {month!r} includes one) this is {UNDEFINED}; "
                "give 1W to 28W, or months that have the day",
            )


def _refuse_lower_case(words: list[str]) -> None:
    """Reject lower case if upper case would be valid. Other errors are reported by the field."""
    lower = next((pair for pair in zip(FIELDS, words, strict=True) if pair[1] != pair[1].upper()), None)
    if lower is None:
        return
    try:
        read_fields(" ".join(words).upper())
    except ConfigError:
        return
    raise refusal(*lower, f"lower case is {UNDEFINED}; write {lower[1].upper()!r}")


def is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def refusal(field: Field, text: str, reason: str) -> ConfigError:
    return ConfigError(f"{field.label} {text!r}: {reason}")


def on_days(mask: int) -> Days:
    """The days of `mask` that exist in the month."""
    return _table(lambda first, length: mask)


def on_weekdays(mask: int) -> Days:
    """Every day with a weekday in `mask` (bit 0 for Sunday)."""
    weeks = sum(mask << 7 * week for week in range(6))
    return _table(lambda first, length: weeks >> first << 1)


def on_last_day() -> Days:
    return _table(lambda first, length: 1 << length)


def on_last(weekday: int) -> Days:
    """The last day of the month with this weekday."""
    return _table(lambda first, length: 1 << length - (first + length - 1 - weekday) % 7)


def on_nth(weekday: int, number: int) -> Days:
    """The second Tuesday, for example; no day in a month with fewer of them."""
    return _table(lambda first, length: 1 << 1 + (weekday - first) % 7 + 7 * (number - 1))


def on_nearest_weekday(day: int) -> Days:
    """The day from Monday to Friday nearest to `day` in the same month."""

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
    """The first day of a month, counted from 1 January 1970, and the index of its kind in `Days`."""
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
