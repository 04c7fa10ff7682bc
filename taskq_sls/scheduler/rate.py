"""``rate(...)``: every few minutes, hours or days."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..core.number_checks import is_whole
from ..errors import ConfigError
from .cron_fields import is_digits
from .expressions import When, unwrap
from .zones import MAX_TIME, LocalTimeLike, round_up

UNITS = {"minute": 60, "hour": 3_600, "day": 86_400}
"""Seconds per unit. A day is 24 hours, even when the clocks change."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Rate(When):
    """Fires at its start, or when its schedule is created if it has no start, and every period after that.

    Args:
        expression: such as ``5 minutes``, ``1 hour`` or ``rate(7 days)``.
        minutes, hours, days: a positive whole number, instead of `expression`.
        timezone: IANA name of the zone of a naive `start` or `end`. A day is 24 hours in every zone.
        start, end: nothing fires before and after: an aware datetime, or a naive one or text such as
            ``2026-12-01T09:00:00`` in `timezone`. In whole seconds: a fraction moves the start up and the end down.
        window: minutes (0 to 1,440) within which EventBridge may choose the time.
        jitter: largest random delay of a firing in seconds (0 to 43,200).

    Raises:
        ConfigError: a value is not valid; the error names the value and the allowed range.
    """

    _period: int = field(compare=False)

    def __init__(
        self,
        expression: str | None = None,
        *,
        minutes: int | None = None,
        hours: int | None = None,
        days: int | None = None,
        timezone: str = "UTC",
        start: LocalTimeLike | None = None,
        end: LocalTimeLike | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        number, unit = _read(expression, {"minute": minutes, "hour": hours, "day": days})
        text = f"rate({number} {unit if number == 1 else unit + 's'})"
        self._set_common(text, text, timezone, start=start, end=end, window=window, jitter=jitter)
        self._set(_period=number * UNITS[unit])

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        if after >= MAX_TIME:
            return None
        origin = self._origin(after, anchor)
        past = max(-1, (math.floor(max(after, -1.0)) - origin) // self._period)
        time = origin + (past + 1) * self._period
        return None if self.end is not None and time > self.end else float(time)

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        if self.end is not None and before > self.end:
            before = self.end + 1.0
        before = max(-1.0, min(before, MAX_TIME))
        origin = self._origin(before, anchor)
        past = (math.ceil(before) - 1 - origin) // self._period
        return None if past < 0 else float(origin + past * self._period)

    def _origin(self, now: float, anchor: float | None) -> int:
        """The first firing, in whole seconds: rounding the anchor up keeps it from firing before its schedule exists."""
        if self.start is not None:
            return int(self.start)
        return math.floor(max(now, -1.0)) if anchor is None else round_up(anchor)


def _read(expression: str | None, named: dict[str, int | None]) -> tuple[int, str]:
    """The number and its unit."""
    given = {unit: value for unit, value in named.items() if value is not None}
    if (expression is not None) + len(given) != 1:
        raise ConfigError(
            "rate(...): give one of an expression such as '5 minutes', minutes=, hours= and days="
            + (f", not {'nothing' if not given and expression is None else 'several'}")
        )
    if expression is not None:
        return _read_text(expression)
    ((unit, value),) = given.items()
    call = f"rate({unit}s={value!r})"
    if not is_whole(value):
        raise ConfigError(f"{call}: give a whole number of 1 or more")
    return _check(call, value, unit)


def _read_text(expression: str) -> tuple[int, str]:
    words = unwrap("rate", expression).split()
    call = f"rate({expression!r})"
    if len(words) != 2:
        raise ConfigError(f"{call}: give a value and a unit, such as '5 minutes'")
    value, unit = words
    singular = unit.removesuffix("s")
    if singular not in UNITS or unit not in (singular, f"{singular}s"):
        raise ConfigError(f"{call}: the unit {unit!r} is unknown; give minutes, hours or days (1 minute is the least)")
    if not is_digits(value) or len(value) > 9:
        raise ConfigError(f"{call}: the value {value!r} is out of range; give a whole number of 1 or more")
    return _check(call, int(value), singular)


def _check(call: str, value: int, unit: str) -> tuple[int, str]:
    most = int(MAX_TIME) // UNITS[unit]
    if not 1 <= value <= most:
        raise ConfigError(f"{call}: the value {value} is out of range; give 1 to {most:,} {unit}s (1970 to 2199)")
    return value, unit
