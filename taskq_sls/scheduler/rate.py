"""``rate(...)``: every so many minutes, hours or days."""

from __future__ import annotations

import math

from ..errors import ConfigError
from .bounded import Bounded, unwrap
from .cron_fields import is_number
from .moments import LAST, Moment, up

UNITS = {"minute": 60, "hour": 3_600, "day": 86_400}
"""Seconds. A day is 24 hours, also where the clocks change."""


class Rate(Bounded):
    """Fires at a steady pace: at its start, or without one when its schedule is made, and every period from then on.

    Args:
        expression: such as ``5 minutes``, ``1 hour`` or ``rate(7 days)``.
        minutes, hours, days: a positive whole number, in place of `expression`.
        timezone: IANA name of the zone in which a naive `start` or `end` is read; a day is 24 hours in all of them.
        start, end: nothing fires before and after: an aware datetime, or a naive one or text such as
            ``2026-12-01T09:00:00`` in `timezone`. In whole seconds: a fraction moves the start up and the end down.
        window: minutes (0 to 1,440) within which EventBridge may choose the moment.
        jitter: seconds (0 to 43,200) by which firings are put off, evenly spread.

    Raises:
        ConfigError: names the value and what is allowed.
    """

    __slots__ = ("_period",)

    _period: int

    def __init__(
        self,
        expression: str | None = None,
        *,
        minutes: int | None = None,
        hours: int | None = None,
        days: int | None = None,
        timezone: str = "UTC",
        start: Moment | None = None,
        end: Moment | None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        number, unit = _read(expression, {"minute": minutes, "hour": hours, "day": days})
        text = f"rate({number} {unit if number == 1 else unit + 's'})"
        self._fill(text, text, timezone, start, end, window, jitter)
        object.__setattr__(self, "_period", number * UNITS[unit])

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        if after >= LAST:
            return None
        origin = self._origin(after, anchor)
        past = max(-1, (math.floor(max(after, -1.0)) - origin) // self._period)
        time = origin + (past + 1) * self._period
        return None if self.end is not None and time > self.end else float(time)

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        if self.end is not None and before > self.end:
            before = self.end + 1.0
        before = max(-1.0, min(before, LAST))
        origin = self._origin(before, anchor)
        past = (math.ceil(before) - 1 - origin) // self._period
        return None if past < 0 else float(origin + past * self._period)

    def _origin(self, now: float, anchor: float | None) -> int:
        """The first firing, a whole second: a fraction of the anchor is rounded up, so that none is before it."""
        if self.start is not None:
            return int(self.start)
        return math.floor(max(now, -1.0)) if anchor is None else up(anchor)


def _read(expression: str | None, named: dict[str, int | None]) -> tuple[int, str]:
    """How many of which unit."""
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
    if isinstance(value, bool) or not isinstance(value, int):
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
    if not is_number(value) or len(value) > 9:
        raise ConfigError(f"{call}: the value {value!r} is out of range; give a whole number of 1 or more")
    return _check(call, int(value), singular)


def _check(call: str, value: int, unit: str) -> tuple[int, str]:
    most = int(LAST) // UNITS[unit]
    if not 1 <= value <= most:
        raise ConfigError(f"{call}: the value {value} is out of range; give 1 to {most:,} {unit}s (1970 to 2199)")
    return value, unit
