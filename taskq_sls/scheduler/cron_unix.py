"""The translation of five-field Unix cron into EventBridge Scheduler's dialect.

croniter expands the expression. It gets one value or range at a time, so that an error names the field and the value.
Import this module only for `cron.unix`: croniter takes tens of milliseconds.
"""

from __future__ import annotations

import re
from typing import Any

from croniter import CroniterError, croniter

from ..errors import ConfigError
from .cron_fields import DAY_OF_WEEK, MONTH, Field, is_digits, refusal

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

MINUTE = Field("minute", 0, 59, steps=59)
HOUR = Field("hour", 0, 23, steps=23)
DAY = Field("day of month", 1, 31, steps=31)
MONTH_OF_YEAR = Field("month", 1, 12, " ".join(MONTH.names), steps=12)
WEEKDAY = Field("day of week", 0, 7, " ".join(DAY_OF_WEEK.names), steps=7)
WEEKDAY.allowed = "0 to 7 (0 and 7 = Sunday) or SUN to SAT"

FIELDS = (MINUTE, HOUR, DAY, MONTH_OF_YEAR, WEEKDAY)
DAY_NAMES = tuple(DAY_OF_WEEK.names)

NUMBER_OR_NAME = re.compile("[0-9]{1,20}|[A-Z]{3}")
"""croniter also reads ``?``, ``L``, ``W``, ``#`` and ``H``, which Unix cron does not have."""


def translate(expression: str) -> str:
    """Translate five Unix fields into the six of EventBridge.

    Raises:
        ConfigError: a field is not valid (the error names field, value and range), or EventBridge has no such expression.
    """
    if not isinstance(expression, str):
        raise ConfigError("give text such as '*/5 * * * *'")
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in SHORTHANDS:
            raise ConfigError(f"{text!r} is not a known shorthand; give one of {', '.join(SHORTHANDS)}")
        text = SHORTHANDS[text.lower()]
    words = text.upper().split()
    if len(words) != 5:
        raise ConfigError(
            f"{len(words)} fields; give five: minute, hour, day of month, month, day of week. "
            "For EventBridge's six use cron(...)"
        )
    minute, hour, day, month, weekday = words
    minutes, hours, months = _translate(MINUTE, minute), _translate(HOUR, hour), _translate(MONTH_OF_YEAR, month)
    days, weekdays = _translate(DAY, day), _translate_weekdays(weekday)
    if days != "*" and weekdays != "*":
        raise _both_days_error(words)
    return f"{minutes} {hours} {days} {months} ? *" if weekdays == "*" else f"{minutes} {hours} ? {months} {weekdays} *"


def _both_days_error(words: list[str]) -> ConfigError:
    minute, hour, day, month, weekday = words
    if day.startswith("*") or weekday.startswith("*"):
        return ConfigError(
            f"day of month {day!r} and day of week {weekday!r}: EventBridge cannot require both; "
            "set one, and check the other in the task"
        )
    return ConfigError(
        f"day of month {day!r} and day of week {weekday!r}: Unix runs on days that match either, which "
        f"EventBridge cannot express; make two schedules: cron.unix('{minute} {hour} {day} {month} *') and "
        f"cron.unix('{minute} {hour} * {month} {weekday}')"
    )


def _translate(field: Field, text: str) -> str:
    """A field other than the day of week. Steps get the form that EventBridge documents."""
    return ",".join(_translate_item(field, item, text) for item in text.split(","))


def _translate_item(field: Field, item: str, text: str) -> str:
    values, step = _expand(field, item, text)
    if item.startswith("*") and step == 1:
        return "*"
    if "/" not in item:
        return item
    if values == [*range(values[0], field.high + 1, step)]:
        return f"{values[0]}/{step}"
    return ",".join(map(str, values))


def _translate_weekdays(text: str) -> str:
    items = text.split(",")
    days = sorted({value % 7 for item in items for value in _expand(WEEKDAY, item, text)[0]})
    if text == "*" or "*/1" in items:
        return "*"
    if len(days) > 2 and len(days) == days[-1] - days[0] + 1:
        return f"{DAY_NAMES[days[0]]}-{DAY_NAMES[days[-1]]}"
    return ",".join(DAY_NAMES[day] for day in days)


def _expand(field: Field, item: str, text: str) -> tuple[list[int], int]:
    """The values of one item of a list, ascending, and its step."""
    span, slash, step = item.partition("/")
    low, high = (field.low, field.high) if span == "*" else _read_span(field, span, step if slash else None, text)
    number = _read_step(field, step, text) if slash else 1
    if "," in text and (item == "*" or (span == "*" and number == 1 and field is not WEEKDAY)):
        raise refusal(field, text, "'*' in a list means every value; give '*' alone")
    if low == high:
        return [low], number  # croniter reads the range 3-3 as *
    values = _ask_croniter(field, item)
    return list(range(field.low, field.high + 1)) if values == ["*"] else values, number


def _read_span(field: Field, span: str, step: str | None, text: str) -> tuple[int, int]:
    """The first and the last value of a range, or of a single value, which takes no step."""
    first, dash, last = span.partition("-")
    low = _value(field, first, text)
    high = _value(field, last, text) if dash else low
    if step is not None and not dash:
        raise refusal(field, text, f"Unix has steps after '*' or a range only; write '{span}-{field.high}/{step}'")
    if low > high:
        raise refusal(field, text, f"{span!r} runs backwards; write {field.unwrapped(first, last)}")
    return low, high


def _read_step(field: Field, step: str, text: str) -> int:
    if not is_digits(step) or not 1 <= int(step[:5]) <= field.steps:
        raise refusal(field, text, f"the step {step!r} is out of range; give 1 to {field.steps}")
    return int(step)


def _value(field: Field, value: str, text: str) -> int:
    if NUMBER_OR_NAME.fullmatch(value):
        try:
            (number,) = _ask_croniter(field, value)
        except CroniterError:
            pass
        else:
            return int(value) if is_digits(value) else number  # 7 stays 7: 5-7 does not run backwards
    reason = f"{value!r} is not a value of this field; give {field.allowed}"
    if any(sign in value for sign in "?LW#") and value not in DAY_OF_WEEK.names:
        reason += ". For ?, L, W and # use EventBridge's cron(...)"
    raise refusal(field, text, reason)


def _ask_croniter(field: Field, item: str) -> list[Any]:
    """The values of `item` in a field, ascending; ``["*"]`` for all values."""
    words = [item if other is field else "*" for other in FIELDS]
    found: list[Any] = croniter.expand(" ".join(words))[0][FIELDS.index(field)]
    return found
