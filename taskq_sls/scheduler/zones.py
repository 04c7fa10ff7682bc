"""Time zones, times as users write them, and the rule for a change of the clocks.

The rule is EventBridge Scheduler's (user guide, schedule types): a local time that the clocks skip does not fire, and
one that they show twice fires once, the first time. `first_moment` implements it; nothing else decides it.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from ..core.number_checks import is_number
from ..errors import ConfigError

LocalTimeLike = datetime | str | float
"""An aware datetime, a naive one or ISO text in the schedule's own time zone, or epoch seconds."""

MAX_TIME = 7_258_118_400.0
"""End of the year 2199 in UTC, the last year of an expression. Epoch seconds."""

MAX_TIMEZONE = 50
"""Longest name of a time zone, in characters (EventBridge Scheduler API reference, ScheduleExpressionTimezone)."""

NOT_IANA = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""Prefixes of files beside the zones on some machines that are no IANA zones, or differ between machines."""

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)


def read_local_time(label: str, value: object, zone: tzinfo) -> float:
    """`value` in epoch seconds, fractions included.

    Args:
        label: start of the error messages, such as ``at: ``.
        zone: zone of a datetime or text without an offset. A local time that occurs twice means the first.

    Raises:
        ConfigError: `value` is not a time, is outside 1970 to 2199, or is a local time that does not exist.
    """
    if isinstance(value, str):
        value = _parse_text(label, value)
    if isinstance(value, datetime):
        seconds = _seconds(label, value, zone)
    elif is_number(value):
        seconds = float(value)
    else:
        raise ConfigError(f"{label}{value!r}: give a datetime, text such as 2026-12-01T09:00:00, or epoch seconds")
    if not 0 <= seconds < MAX_TIME:
        raise ConfigError(f"{label}{value!r} is out of range; give a time from 1970 to 2199")
    return seconds


def utc_text(seconds: float) -> str:
    """Text that `read_local_time` parses."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def round_up(seconds: float) -> int:
    """The whole second at or after `seconds`, so that nothing starts early."""
    return math.ceil(seconds)


def first_moment(local: datetime, zone: tzinfo) -> int | None:
    """Epoch seconds when the clocks of `zone` first show `local` (naive); None if they skip it."""
    since_epoch = (local - EPOCH) // SECOND
    if zone is UTC:
        return since_epoch
    before = zone.utcoffset(local)
    after = zone.utcoffset(local.replace(fold=1))
    assert before is not None
    assert after is not None
    if before < after:
        return None  # the clocks were put forward over it
    return since_epoch - before // SECOND


def moment_of_minute(wall: int, zone: tzinfo) -> int | None:
    """`first_moment` of a minute of the wall clock, counted from 1970."""
    return wall * 60 if zone is UTC else first_moment(EPOCH + timedelta(minutes=wall), zone)


def minute_shown(time: float, zone: tzinfo) -> int:
    """The minute that the clocks of `zone` show at `time`, counted from 1970 of the wall clock."""
    return int(time // 60) if zone is UTC else _wall_minute(datetime.fromtimestamp(time, zone))


def latest_minute_shown(time: float, zone: tzinfo) -> int:
    """The latest minute that the clocks of `zone` have shown by `time`, or some minutes more.

    It is ahead of `minute_shown` while the clocks show an hour for the second time.
    """
    if zone is UTC:
        return int(time // 60)
    local = datetime.fromtimestamp(time, zone)
    shown = _wall_minute(local)
    if local.fold:
        before, after = local.replace(fold=0).utcoffset(), local.utcoffset()
        assert before is not None
        assert after is not None
        shown += -((after - before) // timedelta(minutes=1))
    return shown


@lru_cache(maxsize=1024)
def find_zone(name: str) -> tuple[str, tzinfo]:
    """The IANA name, as one string shared by all schedules, and its zone.

    Raises:
        ConfigError: the zone does not exist, its name is too long, or this machine has no time zone data.
    """
    if name == "UTC":
        return "UTC", UTC
    if len(name) > MAX_TIMEZONE:
        raise ConfigError(f"timezone {name!r} has {len(name)} characters; EventBridge takes {MAX_TIMEZONE}")
    import zoneinfo  # only here: schedules in UTC do not pay for it at a cold start

    try:
        if name.startswith(NOT_IANA):
            raise ValueError(name)
        return sys.intern(name), zoneinfo.ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # OSError: the name of a directory, such as America
        raise ConfigError(_unknown_zone(name)) from None


def _unknown_zone(name: str) -> str:
    import difflib  # only for an error
    import zoneinfo

    known = sorted(zone for zone in zoneinfo.available_timezones() if not zone.startswith(NOT_IANA))
    if not known:
        return (
            f"timezone {name!r}: this machine has no time zone data; install the package tzdata "
            "(pip install tzdata, in Lambda as part of the function), or use UTC"
        )
    folded = {zone.lower(): zone for zone in known} | {zone.rpartition("/")[2].lower(): zone for zone in known}
    wanted = name.replace(" ", "_").lower()
    close = dict.fromkeys(folded[match] for match in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.75))
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"timezone {name!r} is unknown; give an IANA name such as Europe/Berlin or UTC{hint}"


def _parse_text(label: str, text: str) -> datetime:
    try:
        if len(text.strip()) <= len("2026-12-01"):  # a date alone would mean midnight
            raise ValueError(text)
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            f"{label}{text!r}: give date and time as yyyy-mm-ddThh:mm:ss, such as 2026-12-01T09:00:00"
        ) from None


def _seconds(label: str, value: datetime, zone: tzinfo) -> float:
    if value.tzinfo is not None:
        return value.timestamp()
    whole = first_moment(value.replace(microsecond=0, fold=0), zone)
    if whole is None:
        raise ConfigError(
            f"{label}{value.isoformat()!r} does not exist in {zone}: the clocks are put forward over it. "
            "Give a time before or after, or an aware datetime"
        )
    return whole + value.microsecond / 1_000_000


def _wall_minute(local: datetime) -> int:
    return (local.replace(tzinfo=None) - EPOCH) // timedelta(minutes=1)
