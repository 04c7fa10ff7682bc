"""The grammar of EventBridge Scheduler's cron expressions: six fields to bitmasks.

What its documentation (user guide, schedule types) leaves undefined is refused: what AWS makes of it is not known, so
no clock offline could promise the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ..errors import ConfigError
from .cron_days import SATURDAY, Days, length_of, on_days, on_last, on_last_day, on_nearest_weekday, on_nth, on_weekdays

UNDEFINED = "undefined in the documentation of EventBridge Scheduler"


class Field:
    """One place of an expression: its name, the values it takes, and how the error for a wrong one puts that."""

    def __init__(self, label: str, low: int, high: int, names: str = "", *, steps: int = 0) -> None:
        self.label = label
        self.low = low
        self.high = high
        self.names: Mapping[str, int] = {name: low + place for place, name in enumerate(names.split())}
        self.steps = steps
        self.allowed = f"{low} to {high}"
        if names:
            one = " (1 = SUN)" if label == "day-of-week" else ""
            self.allowed += f"{one} or {names[:3]} to {names[-3:]}"

    def unwrapped(self, first: str, last: str) -> str:
        """A range that runs past the end of the field, as a list of two that do not."""
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
    """An expression, read. Bit *n* of a mask is value *n*.

    Args:
        text: the six fields, single-spaced, without leading zeros.
        days: see `days`.
    """

    text: str
    minutes: int
    hours: int
    days: Days
    months: int
    years: int


def read_fields(text: str) -> Fields:
    """Read five or six fields.

    Raises:
        ConfigError: names the field, the value and the allowed range.
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
            "The five-field Unix dialect is read by cron.unix(...)"
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
    """The mask of values, and the text as it is kept."""
    mask, kept = 0, []
    for item in text.split(","):
        bits, one = _read_item(field, item, text)
        mask |= bits
        kept.append(one)
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
    if not is_number(value) or len(value) > 4:
        what = f"{value!r} is no value of this field" if value else "a value is missing"
        raise refusal(field, text, f"{what}; give {field.allowed}")
    number = int(value)
    if not field.low <= number <= field.high:
        unix = ". cron.unix(...) reads 0 as Sunday" if field is DAY_OF_WEEK and number == 0 else ""
        raise refusal(field, text, f"{number} is out of range; give {field.allowed}{unix}")
    return number, str(number)


def _read_step(field: Field, step: str, text: str) -> int:
    if not field.steps:
        raise refusal(field, text, f"a step in this field is {UNDEFINED}; list the days, such as MON,WED,FRI")
    if not is_number(step) or not 1 <= int(step[:5]) <= field.steps:
        raise refusal(field, text, f"the step {step!r} is out of range; give 1 to {field.steps}")
    return int(step)


@lru_cache(maxsize=1024)
def _read_day_of_month(text: str) -> tuple[Days, str]:
    if text == "L":
        return on_last_day(), text
    if text.endswith("W") and is_number(text[:-1]):
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
        day, _, number = text.partition("#")
        if "," in text:
            raise refusal(DAY_OF_WEEK, text, "with '#' the field holds one expression only; make one schedule of each")
        weekday, kept = _read_value(DAY_OF_WEEK, day, text)
        if number not in ("1", "2", "3", "4", "5"):
            raise refusal(DAY_OF_WEEK, text, f"{number!r} after '#' is out of range; give 1 to 5, such as 3#2")
        return on_nth(weekday - 1, int(number)), f"{kept}#{number}"
    if text.endswith("L") and (text[:-1] in DAY_OF_WEEK.names or is_number(text[:-1])):
        weekday, kept = _read_value(DAY_OF_WEEK, text[:-1], text)
        return on_last(weekday - 1), f"{kept}L"
    if any(item.startswith("L-") or item.endswith("L") for item in text.split(",")):
        raise refusal(
            DAY_OF_WEEK, text, f"{UNDEFINED}, which has L alone and one day (1 to 7) with L, such as 6L, and no lists"
        )
    mask, kept = _read(DAY_OF_WEEK, text)
    return on_weekdays(mask >> 1), kept


def _refuse_missing_day(day: str, month: str, months: int, years: int) -> None:
    """``31W`` in a month without a 31st: some take the last weekday, some none."""
    common = any(years >> year & 1 and length_of(year, 2) == 28 for year in range(YEAR.low, YEAR.high + 1))
    for number in range(1, 13):
        if months >> number & 1 and int(day[:-1]) > length_of(1970 if common else 1972, number):
            raise refusal(
                DAY_OF_MONTH,
                day,
                f"in a month without that day (month {month!r} has such) this is {UNDEFINED}; "
                "give 1W to 28W, or months that have the day",
            )


def _refuse_lower_case(words: list[str]) -> None:
    """Where upper case would do. What else is wrong is said by the field."""
    lower = next((pair for pair in zip(FIELDS, words, strict=True) if pair[1] != pair[1].upper()), None)
    if lower is None:
        return
    try:
        read_fields(" ".join(words).upper())
    except ConfigError:
        return
    raise refusal(*lower, f"lower case is {UNDEFINED}; write {lower[1].upper()!r}")


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def refusal(field: Field, text: str, reason: str) -> ConfigError:
    return ConfigError(f"{field.label} {text!r}: {reason}")
