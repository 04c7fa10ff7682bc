"""Time zones, and what a change of the clocks does to a schedule.

The rule is EventBridge Scheduler's (user guide, schedule types): a local time that the clocks skip does not fire, and
one that they show twice fires once, the first time. `first_moment` is that rule, and nothing else decides it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from ..errors import ConfigError

MAX_TIMEZONE = 50
"""Longest name of a time zone (EventBridge Scheduler API reference, ScheduleExpressionTimezone)."""

NOT_IANA = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""What some machines keep beside the zones: files that are no zones of the IANA, or mean another one on each machine."""

EPOCH = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)


def first_moment(local: datetime, zone: tzinfo) -> int | None:
    """Epoch seconds when the clocks of `zone` first show `local` (naive); None where they never do."""
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
    if zone is UTC:
        return int(time // 60)
    return _minute(datetime.fromtimestamp(time, zone))


def latest_minute_shown(time: float, zone: tzinfo) -> int:
    """The latest minute that the clocks of `zone` have shown by `time`, or some minutes more.

    It is ahead of what they show while they show an hour for the second time.
    """
    if zone is UTC:
        return int(time // 60)
    local = datetime.fromtimestamp(time, zone)
    shown = _minute(local)
    if local.fold:
        before, after = local.replace(fold=0).utcoffset(), local.utcoffset()
        assert before is not None
        assert after is not None
        shown += -((after - before) // timedelta(minutes=1))
    return shown


def _minute(local: datetime) -> int:
    return (local.replace(tzinfo=None) - EPOCH) // timedelta(minutes=1)


@lru_cache(maxsize=1024)
def find_zone(name: str) -> tuple[str, tzinfo]:
    """The zone with this IANA name; the name comes back as one string that all schedules share.

    Raises:
        ConfigError: there is no such zone, its name is too long, or this machine knows no zones.
    """
    if name == "UTC":
        return "UTC", UTC
    if len(name) > MAX_TIMEZONE:
        raise ConfigError(f"timezone {name!r} has {len(name)} characters; EventBridge takes {MAX_TIMEZONE}")
    import zoneinfo

    try:
        if name.startswith(NOT_IANA):
            raise ValueError(name)
        return sys.intern(name), zoneinfo.ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # an OSError for the name of a directory, such as America
        raise ConfigError(_unknown(name)) from None


def _unknown(name: str) -> str:
    import difflib
    import zoneinfo

    known = sorted(one for one in zoneinfo.available_timezones() if not one.startswith(NOT_IANA))
    if not known:
        return (
            f"timezone {name!r}: this machine has no time zone data; install the package tzdata "
            "(pip install tzdata, in Lambda as part of the function), or use UTC"
        )
    folded = {one.lower(): one for one in known} | {one.rpartition("/")[2].lower(): one for one in known}
    wanted = name.replace(" ", "_").lower()
    close = dict.fromkeys(folded[one] for one in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.75))
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"timezone {name!r} is unknown; give an IANA name such as Europe/Berlin or UTC{hint}"
