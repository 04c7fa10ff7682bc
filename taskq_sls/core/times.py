"""Times as users give them."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..errors import ConfigError
from .number_checks import is_number

TimeLike = datetime | timedelta | float
"""An aware datetime, epoch seconds, or a timedelta back from now."""


def epoch_seconds(name: str, when: TimeLike, now: float) -> float:
    """A time in epoch seconds.

    Args:
        name: the caller's name of it, for errors.

    Raises:
        ConfigError: a datetime without a zone, or a value of another type.
    """
    if isinstance(when, timedelta):
        return now - when.total_seconds()
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise ConfigError(f"{name}={when.isoformat()} has no time zone; give an aware datetime")
        return when.timestamp()
    if not is_number(when):
        raise ConfigError(f"{name}={when!r} must be an aware datetime, a timedelta or epoch seconds")
    return float(when)
