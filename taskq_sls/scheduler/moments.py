"""Reading a moment that a user gives: `at(...)`, and the start and end of a schedule."""

from __future__ import annotations

import math
from datetime import UTC, datetime, tzinfo

from ..errors import ConfigError
from .zones import first_moment

Moment = datetime | str | float
"""An aware datetime, a naive one or ISO text in the schedule's own time zone, or epoch seconds."""

LAST = 7_258_118_400.0
"""The end of the year 2199, in UTC: the last that an expression can name."""


def read_moment(what: str, value: object, zone: tzinfo) -> float:
    """Epoch seconds of `value`, fractions included.

    Args:
        what: how errors name it.
        zone: where a datetime or text without an offset is read. Of a local time that occurs twice the first is
            meant.

    Raises:
        ConfigError: `value` is no moment, is outside 1970 to 2199, or names a local time that does not exist.
    """
    if isinstance(value, str):
        value = _read_text(what, value)
    if isinstance(value, datetime):
        seconds = _seconds(what, value, zone)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ConfigError(f"{what}{value!r}: give a datetime, text such as 2026-12-01T09:00:00, or epoch seconds")
    if not 0 <= seconds < LAST:
        raise ConfigError(f"{what}{value!r} is out of range; give a time from 1970 to 2199")
    return seconds


def moment_text(seconds: float) -> str:
    """Text that `read_moment` reads back."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_text(what: str, text: str) -> datetime:
    try:
        if len(text.strip()) <= len("2026-12-01"):  # a date alone would be read as midnight
            raise ValueError(text)
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"{what}{text!r}: give date and time as yyyy-mm-ddThh:mm:ss, such as 2026-12-01T09:00:00"
        ) from None


def _seconds(what: str, value: datetime, zone: tzinfo) -> float:
    if value.tzinfo is not None:
        return value.timestamp()
    whole = first_moment(value.replace(microsecond=0, fold=0), zone)
    if whole is None:
        raise ConfigError(
            f"{what}{value.isoformat()!r} does not exist in {zone}: the clocks are put forward over it. "
            "Give a time before or after, or an aware datetime"
        )
    return whole + value.microsecond / 1_000_000


def up(seconds: float) -> int:
    """The whole second at or after, so that nothing starts early."""
    return math.ceil(seconds)
