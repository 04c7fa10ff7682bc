"""How long messages and records live, and times as users give them."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..errors import ConfigError
from .number_checks import is_number

DAY = 86_400.0

RETENTION = 14 * DAY
"""How long SQS keeps a message, in seconds: the most it allows, provisioned everywhere."""

MIN_RESULT_TTL = RETENTION + DAY
"""Shortest life of a record, in seconds, so that it outlives every message that could ask for it."""

MAX_VISIBILITY_STEP = 11 * 3600
"""Longest visibility timeout that is asked for, in seconds: SQS counts its 12 hours from the receive. A retry that is due
later takes several steps."""

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
