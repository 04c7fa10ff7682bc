"""What every expression carries beside itself: time zone, bounds, window and jitter."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from ..errors import ConfigError
from .expressions import MAX_JITTER, MAX_WINDOW, When
from .moments import Moment, moment_text, read_moment, up
from .zones import find_zone

MAX_EXPRESSION = 256
"""Longest expression (EventBridge Scheduler API reference, ScheduleExpression)."""


class Bounded(When):
    """The common part of `Cron`, `Rate` and `At`. Frozen."""

    __slots__ = ("_zone", "end", "expression", "jitter", "start", "timezone", "window")

    _zone: tzinfo

    def _fill(
        self,
        call: str,
        expression: str,
        timezone: str,
        start: Moment | None,
        end: Moment | None,
        window: int,
        jitter: int,
    ) -> None:
        """Set everything, checked.

        Args:
            call: what the user wrote, for errors: ``cron('0 12 * * ? *')``.

        Raises:
            ConfigError: a value is out of range.
        """
        if len(expression) > MAX_EXPRESSION:
            raise ConfigError(f"{call}: {len(expression)} characters; EventBridge takes {MAX_EXPRESSION}")
        timezone, zone = self._find_zone(call, timezone)
        first = None if start is None else float(up(read_moment(f"{call}: start=", start, zone)))
        last = None if end is None else float(math.floor(read_moment(f"{call}: end=", end, zone)))
        if first is not None and last is not None and last <= first:
            raise ConfigError(f"{call}: end={end!r} is not after start={start!r}")
        _check_whole(call, "window", window, MAX_WINDOW, "minutes")
        _check_whole(call, "jitter", jitter, MAX_JITTER, "seconds")
        put = object.__setattr__
        put(self, "expression", expression)
        put(self, "timezone", timezone)
        put(self, "_zone", zone)
        put(self, "start", first)
        put(self, "end", last)
        put(self, "window", window)
        put(self, "jitter", jitter)

    @staticmethod
    def _find_zone(call: str, timezone: str) -> tuple[str, tzinfo]:
        if not isinstance(timezone, str):
            raise ConfigError(f"{call}: timezone={timezone!r}: give an IANA name such as Europe/Berlin")
        try:
            return find_zone(timezone)
        except ConfigError as error:
            raise ConfigError(f"{call}: {error}") from None

    def local(self, time: float) -> datetime:
        return datetime.fromtimestamp(time, self._zone)

    def _value(self) -> tuple[Any, ...]:
        return self.expression, self.timezone, self.start, self.end, self.window, self.jitter

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bounded) and self._value() == other._value()

    def __hash__(self) -> int:
        return hash(self._value())

    def __repr__(self) -> str:
        kind, _, inner = self.expression[:-1].partition("(")
        shown = [repr(inner)]
        if self.timezone != "UTC":
            shown.append(f"timezone={self.timezone!r}")
        shown += [
            f"{name}={moment_text(bound)!r}" for name, bound in (("start", self.start), ("end", self.end)) if bound
        ]
        shown += [f"{name}={value}" for name, value in (("window", self.window), ("jitter", self.jitter)) if value]
        return f"{kind}({', '.join(shown)})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} cannot be changed; make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{self!r} cannot be changed; make another")

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_again, (type(self), *self._value())


def _read_again(
    kind: Callable[..., Bounded],
    expression: str,
    timezone: str,
    start: float | None,
    end: float | None,
    window: int,
    jitter: int,
) -> Bounded:
    return kind(expression, timezone=timezone, start=start, end=end, window=window, jitter=jitter)


def unwrap(kind: str, text: object) -> str:
    """What stands between the brackets of ``kind(...)``, or the text as it is where there are none.

    Raises:
        ConfigError: it is no text.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{kind}({text!r}): give the expression as text")
    text = text.strip()
    return text[len(kind) + 1 : -1].strip() if text.startswith(f"{kind}(") and text.endswith(")") else text


def _check_whole(call: str, name: str, value: object, high: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise ConfigError(f"{call}: {name}={value!r}: give whole {unit}, 0 to {high:,}")
