"""The base of ``cron(...)``, ``rate(...)`` and ``at(...)``, and `At` itself."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

from ..core.number_checks import is_whole
from ..core.schedule_spec import MAX_EXPRESSION, MAX_WINDOW_MINUTES
from ..errors import ConfigError
from .zones import EPOCH, LocalTimeLike, find_zone, first_moment, read_local_time, round_up, utc_text

MAX_JITTER_SECONDS = 43_200
"""Longest jitter: SQS keeps a message hidden for 12 hours at most."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class When(abc.ABC):
    """The times at which a schedule fires. An immutable value: compared by its fields.

    Attributes:
        expression: as EventBridge Scheduler writes it: ``cron(0 12 ? * MON-FRI *)``, ``rate(5 minutes)``,
            ``at(2026-12-01T09:00:00)``.
        timezone: IANA name of the zone of `expression`.
        start, end: epoch seconds before and after which nothing fires; None for no bound.
        window: minutes (0 to 1,440) within which EventBridge may choose the time; 0 for none.
        jitter: largest random delay of a firing in seconds (0 to 43,200); the same for every delivery of one firing.
    """

    expression: str
    timezone: str
    start: float | None
    end: float | None
    window: int
    jitter: int
    _zone: tzinfo = field(compare=False)

    @abc.abstractmethod
    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        """The first time strictly after `after`, within the bounds, in epoch seconds; None if none is left.

        Args:
            anchor: start of the grid of a ``rate`` without `start`: the creation of its schedule. Default: `after`.
        """

    @abc.abstractmethod
    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        """The last time strictly before `before`, within the bounds, in epoch seconds; None if there was none."""

    def next(self, after: datetime) -> datetime | None:
        """The first time strictly after `after`, in this value's time zone; None if none is left.

        Args:
            after: an aware datetime.

        Raises:
            ConfigError: `after` is not a datetime, or has no time zone.
        """
        if not isinstance(after, datetime) or after.tzinfo is None:
            raise ConfigError(f"{self.expression}.next({after!r}): give a datetime with a time zone")
        found = self.next_time(after.timestamp())
        return None if found is None else self.local(found)

    def local(self, time: float) -> datetime:
        """Epoch seconds as an aware datetime in this value's time zone."""
        return datetime.fromtimestamp(time, self._zone)

    @property
    def once(self) -> bool:
        """True if it fires a single time (``at``)."""
        return False

    def __repr__(self) -> str:
        kind, _, inner = self.expression[:-1].partition("(")
        shown = [repr(inner)]
        if self.timezone != "UTC":
            shown.append(f"timezone={self.timezone!r}")
        bounds = {"start": self.start, "end": self.end}
        shown += [f"{name}={utc_text(bound)!r}" for name, bound in bounds.items() if bound]
        shown += [f"{name}={value}" for name, value in (("window", self.window), ("jitter", self.jitter)) if value]
        return f"{kind}({', '.join(shown)})"

    def _set(self, **values: object) -> None:
        """Set fields in the constructor: a frozen class refuses plain assignments."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _set_common(
        self,
        call: str,
        expression: str,
        timezone: str,
        *,
        start: LocalTimeLike | None = None,
        end: LocalTimeLike | None = None,
        window: int,
        jitter: int,
    ) -> None:
        """Check and set the fields that all expressions have.

        Args:
            call: the user's call, for errors: ``cron('0 12 * * ? *')``.

        Raises:
            ConfigError: a value is out of range.
        """
        if len(expression) > MAX_EXPRESSION:
            raise ConfigError(f"{call}: {len(expression)} characters; EventBridge takes {MAX_EXPRESSION}")
        timezone, zone = named_zone(call, timezone)
        first = None if start is None else float(round_up(read_local_time(f"{call}: start=", start, zone)))
        last = None if end is None else float(math.floor(read_local_time(f"{call}: end=", end, zone)))
        if first is not None and last is not None and last <= first:
            raise ConfigError(f"{call}: end={end!r} is not after start={start!r}")
        _check_whole(call, "window", window, MAX_WINDOW_MINUTES, "minutes")
        _check_whole(call, "jitter", jitter, MAX_JITTER_SECONDS, "seconds")
        self._set(expression=expression, timezone=timezone, start=first, end=last, window=window, jitter=jitter)
        self._set(_zone=zone)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class At(When):
    """Fires once.

    Args:
        time: an aware datetime; or a naive one, or text such as ``2026-12-01T09:00:00``, in `timezone`. Whole
            seconds: a fraction is rounded up. A local time that occurs twice means the first; an aware datetime
            of the second is kept in UTC.
        timezone: IANA name of the zone of a naive `time`.
        start, end: not for a single time; EventBridge ignores them.
        window: minutes (0 to 1,440) within which EventBridge may choose the time.
        jitter: largest random delay of the firing in seconds (0 to 43,200).

    Raises:
        ConfigError: `time` is not a time, does not exist in `timezone`, or is outside 1970 to 2199.
    """

    _seconds: int = field(compare=False)

    def __init__(
        self,
        time: datetime | str,
        *,
        timezone: str = "UTC",
        start: None = None,
        end: None = None,
        window: int = 0,
        jitter: int = 0,
    ) -> None:
        call = f"at({str(time) if isinstance(time, datetime) else time!r})"
        if start is not None or end is not None:
            raise ConfigError(f"{call}: start and end do not go with a single time; leave them out")
        value: LocalTimeLike = unwrap("at", time) if isinstance(time, str) else time
        if not isinstance(value, datetime | str):
            raise ConfigError(f"{call}: give a datetime, or text such as 2026-12-01T09:00:00")
        _, zone = named_zone(call, timezone)
        seconds = round_up(read_local_time("at: ", value, zone))
        local = datetime.fromtimestamp(seconds, zone).replace(tzinfo=None, fold=0)
        if first_moment(local, zone) != seconds:
            # The second of two equal local times: local text would mean the first.
            timezone, local = "UTC", EPOCH + timedelta(seconds=seconds)
        self._set_common(call, f"at({local.isoformat()})", timezone, window=window, jitter=jitter)
        self._set(_seconds=seconds)

    def next_time(self, after: float, anchor: float | None = None) -> float | None:
        return float(self._seconds) if self._seconds > after else None

    def previous_time(self, before: float, anchor: float | None = None) -> float | None:
        return float(self._seconds) if self._seconds < before else None

    @property
    def once(self) -> bool:
        return True

    @property
    def time(self) -> datetime:
        """The time at which it fires, in UTC."""
        return utc(self._seconds)


def utc(time: float) -> datetime:
    """Epoch seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(time, UTC)


def named_zone(call: str, timezone: str) -> tuple[str, tzinfo]:
    """`find_zone`; its errors begin with the user's call.

    Raises:
        ConfigError: see `find_zone`; or `timezone` is not text.
    """
    if not isinstance(timezone, str):
        raise ConfigError(f"{call}: timezone={timezone!r}: give an IANA name such as Europe/Berlin")
    try:
        return find_zone(timezone)
    except ConfigError as error:
        raise ConfigError(f"{call}: {error}") from None


def unwrap(kind: str, text: object) -> str:
    """`text` without ``kind(...)`` around it.

    Raises:
        ConfigError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{kind}({text!r}): give the expression as text")
    text = text.strip()
    return text[len(kind) + 1 : -1].strip() if text.startswith(f"{kind}(") and text.endswith(")") else text


def _check_whole(call: str, name: str, value: object, high: int, unit: str) -> None:
    if not is_whole(value, 0, high):
        raise ConfigError(f"{call}: {name}={value!r}: give whole {unit}, 0 to {high:,}")
