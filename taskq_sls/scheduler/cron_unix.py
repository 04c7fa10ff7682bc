"""The translation of five-field Unix cron into EventBridge Scheduler's dialect.

Own code, since the errors need every value anyway, and croniter expands some expressions wrongly: `3-3` to every value.
"""

from __future__ import annotations

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

DAY_NAMES = tuple(DAY_OF_WEEK.names)


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
    low, high, step = _read_item(field, item, text)
    if item == "*" or (item.startswith("*") and step == 1):
        if "," in text:
            raise refusal(field, text, "'*' in a list means every value; give '*' alone")
        return "*"
    if "/" not in item:
        return item
    values = range(low, high + 1, step)
    if values == range(low, field.high + 1, step):
        return f"{low}/{step}"
    return ",".join(map(str, values))


def _translate_weekdays(text: str) -> str:
    if text == "*":
        return "*"
    chosen: set[int] = set()
    for item in text.split(","):
        if item == "*":
            raise refusal(WEEKDAY, text, "'*' in a list means every value; give '*' alone")
        low, high, step = _read_item(WEEKDAY, item, text)
        if item == "*/1":
            return "*"
        chosen |= {value % 7 for value in range(low, high + 1, step)}
    low, high = min(chosen), max(chosen)
    if len(chosen) > 2 and len(chosen) == high - low + 1:
        return f"{DAY_NAMES[low]}-{DAY_NAMES[high]}"
    return ",".join(DAY_NAMES[value] for value in sorted(chosen))


def _read_item(field: Field, item: str, text: str) -> tuple[int, int, int]:
    """The first value, the last value and the step of one item."""
    span, slash, step = item.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        low, high = field.low, field.high
    else:
        low = _value(field, first, text)
        high = _value(field, last, text) if dash else low
        if slash and not dash:
            raise refusal(field, text, f"Unix has steps after '*' or a range only; write '{span}-{field.high}/{step}'")
    if low > high:
        raise refusal(field, text, f"{span!r} runs backwards; write {field.unwrapped(first, last)}")
    if slash and (not is_digits(step) or not 1 <= int(step[:5]) <= field.steps):
        raise refusal(field, text, f"the step {step!r} is out of range; give 1 to {field.steps}")
    return low, high, int(step) if slash else 1


def _value(field: Field, value: str, text: str) -> int:
    if value in field.names:
        return field.names[value]
    if is_digits(value) and field.low <= int(value[:5]) <= field.high:
        return int(value)
    reason = f"{value!r} is not a value of this field; give {field.allowed}"
    if any(sign in value for sign in "?LW#") and value not in DAY_OF_WEEK.names:
        reason += ". For ?, L, W and # use EventBridge's cron(...)"
    raise refusal(field, text, reason)
