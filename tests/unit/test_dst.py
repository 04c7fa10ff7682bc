"""What changes of the clocks do to cron expressions.

The reference walks real time minute by minute and looks at the clock on the wall, as EventBridge Scheduler's
documentation puts the rule: what the wall clock does not show does not fire, and what it shows twice fires once, the
first time.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import pytest

from taskq_sls.scheduler.expressions import When
from taskq_sls.scheduler.parse import cron

HOUR = 3_600

ZONES = [
    "Africa/Cairo",
    "Africa/Casablanca",  # back for Ramadan
    "America/Havana",  # at midnight
    "America/Los_Angeles",
    "America/Nuuk",  # changed its rules in 2023
    "America/Santiago",  # at midnight
    "America/St_Johns",
    "Antarctica/Troll",  # two hours
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Tehran",  # gave it up in 2022
    "Australia/Lord_Howe",  # half an hour
    "Europe/Berlin",
    "Europe/Dublin",  # its summer time is the standard
    "Pacific/Apia",  # gave it up in 2021
    "Pacific/Chatham",
]

Matcher = Callable[[datetime], bool]

PATTERNS: list[tuple[str, Matcher]] = [
    ("* * * * ? *", lambda wall: True),
    ("0/5 * * * ? *", lambda wall: wall.minute % 5 == 0),
    ("0 * * * ? *", lambda wall: wall.minute == 0),
    ("15,45 0/2 * * ? *", lambda wall: wall.minute in (15, 45) and wall.hour % 2 == 0),
    ("30 1 * * ? *", lambda wall: (wall.hour, wall.minute) == (1, 30)),
    ("30 2 * * ? *", lambda wall: (wall.hour, wall.minute) == (2, 30)),
    ("0 0 * * ? *", lambda wall: (wall.hour, wall.minute) == (0, 0)),
    ("59 23 ? * SUN,SAT *", lambda wall: (wall.hour, wall.minute) == (23, 59) and wall.isoweekday() in (6, 7)),
]


@cache
def changes(zone: str, first: int, last: int) -> list[int]:
    """When the clocks of `zone` change in these years, epoch seconds."""
    place = ZoneInfo(zone)

    def offset(time: int) -> object:
        return datetime.fromtimestamp(time, place).utcoffset()

    found = []
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last + 1))
    for low in range(start, end, 12 * HOUR):
        high = low + 12 * HOUR
        if offset(low) != offset(high):
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(high)
    return found


def shown(zone: str, start: int, end: int) -> list[tuple[int, datetime]]:
    """What the wall clock shows at each minute, where it shows it for the first time."""
    place, seen, first = ZoneInfo(zone), set(), []
    for time in range(start, end, 60):
        wall = datetime.fromtimestamp(time, place).replace(tzinfo=None, fold=0)
        if wall not in seen:
            seen.add(wall)
            first.append((time, wall))
    return first


def check(one: When, expected: list[int], start: int, end: int) -> None:
    """Compare from `start` to `end`, forwards, backwards, and from moments in between."""
    forwards, time = [], one.next_time(start - 1)
    while time is not None and time < end:
        forwards.append(int(time))
        time = one.next_time(time)
    assert forwards == expected
    backwards, time = [], one.previous_time(end)
    while time is not None and time >= start:
        backwards.append(int(time))
        time = one.previous_time(time)
    assert backwards == expected[::-1]
    for moment in random.Random(start).choices(range(start * 2, end * 2), k=8):
        now = moment / 2
        after, before = bisect_right(expected, now), bisect_left(expected, now)
        later, earlier = one.next_time(now), one.previous_time(now)
        assert later is not None
        assert later == expected[after] if after < len(expected) else later >= end
        assert earlier is not None
        assert earlier == expected[before - 1] if before else earlier < start


@pytest.mark.parametrize("zone", ZONES)
def test_every_change_from_2020_to_2035_does_what_the_wall_clock_says(zone: str) -> None:
    found = changes(zone, 2020, 2035)
    assert found
    for change in found:
        start, end = change // 60 * 60 - 3 * HOUR, change // 60 * 60 + 3 * HOUR
        walls = shown(zone, start, end)
        for text, matches in PATTERNS:
            expected = [time for time, wall in walls if matches(wall)]
            check(cron(text, timezone=zone), expected, start, end)


def test_the_zones_are_a_fair_sample() -> None:
    assert sum(len(changes(zone, 2020, 2035)) for zone in ZONES) > 350
    steps = set()
    for zone in ZONES:
        for change in changes(zone, 2020, 2035):
            before, after = (datetime.fromtimestamp(time, ZoneInfo(zone)).utcoffset() for time in (change - 1, change))
            assert before is not None
            assert after is not None
            steps.add((after - before).total_seconds())
    assert {3_600.0, -3_600.0, 1_800.0, -1_800.0, 7_200.0, -7_200.0} <= steps


@pytest.mark.parametrize(
    ("zone", "year"),
    [
        ("Pacific/Apia", 2011),  # without 30 December
        ("Asia/Pyongyang", 2015),  # half an hour back, for good
        ("America/Caracas", 2016),
        ("Africa/Monrovia", 1972),  # 44 minutes and 30 seconds
        ("Pacific/Kwajalein", 1993),  # without 21 August
    ],
)
def test_changes_for_good_are_no_exception(zone: str, year: int) -> None:
    for change in changes(zone, year, year):
        start, end = change // 60 * 60 - 30 * HOUR, change // 60 * 60 + 30 * HOUR
        place = ZoneInfo(zone)
        minutes, seen = [], set()
        for time in range(start, end, 30 if zone == "Africa/Monrovia" else 60):
            wall = datetime.fromtimestamp(time, place).replace(tzinfo=None, fold=0)
            if wall.second == 0 and wall not in seen:
                seen.add(wall)
                minutes.append((time, wall))
        for text, matches in PATTERNS[:4]:
            check(cron(text, timezone=zone), [time for time, wall in minutes if matches(wall)], start, end)


def test_a_local_time_that_does_not_exist_is_skipped() -> None:
    one = cron("30 2 * * ? *", timezone="America/Los_Angeles")
    found = one.next(datetime(2026, 3, 7, 12, tzinfo=UTC))
    assert found is not None
    assert found.isoformat() == "2026-03-09T02:30:00-07:00"
    assert cron("30 2 8 3 ? 2026", timezone="America/Los_Angeles").next_time(0.0) is None


def test_a_local_time_that_occurs_twice_fires_the_first_time_only() -> None:
    one = cron("30 1 * * ? *", timezone="America/Los_Angeles")
    first = one.next(datetime(2026, 11, 1, 7, tzinfo=UTC))
    assert first is not None
    assert first.isoformat() == "2026-11-01T01:30:00-07:00"
    second = one.next(first)
    assert second is not None
    assert second.isoformat() == "2026-11-02T01:30:00-08:00"


def test_every_minute_of_the_wall_clock_fires_once_so_a_repeated_hour_is_silent() -> None:
    one = cron("* * * * ? *", timezone="Europe/Berlin")
    last = datetime(2026, 10, 25, 0, 59, tzinfo=UTC).timestamp()
    assert one.next_time(last) == last + 60 + HOUR
    assert one.next_time(last + 1_800) == last + 60 + HOUR
    assert one.previous_time(last + 1_800) == last


def test_samoa_has_no_30_december_2011() -> None:
    daily = cron("0 12 * * ? *", timezone="Pacific/Apia")
    days, now = [], datetime(2011, 12, 28, 23, tzinfo=UTC)
    for _ in range(3):
        found = daily.next(now)
        assert found is not None
        days.append(found.isoformat())
        now = found
    assert days == ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00", "2012-01-01T12:00:00+14:00"]
    assert cron("* * 30 12 ? 2011", timezone="Pacific/Apia").next_time(0.0) is None
    assert cron("* * 30 12 ? 2011", timezone="Pacific/Apia").previous_time(2e9) is None
