"""Times that come once."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import at, parse

BERLIN = ZoneInfo("Europe/Berlin")
NINE = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "zone", "expression"),
    [
        ("2026-12-01T09:00:00", "UTC", "at(2026-12-01T09:00:00)"),
        ("at(2026-12-01T09:00:00)", "UTC", "at(2026-12-01T09:00:00)"),
        ("2026-12-01T09:00:00Z", "UTC", "at(2026-12-01T09:00:00)"),
        ("2026-12-01T09:00:00+00:00", "Europe/Berlin", "at(2026-12-01T10:00:00)"),
        ("2026-12-01 10:00", "Europe/Berlin", "at(2026-12-01T10:00:00)"),
        (datetime(2026, 12, 1, 10), "Europe/Berlin", "at(2026-12-01T10:00:00)"),
        (NINE, "UTC", "at(2026-12-01T09:00:00)"),
        (NINE, "Europe/Berlin", "at(2026-12-01T10:00:00)"),
        (NINE.astimezone(BERLIN), "UTC", "at(2026-12-01T09:00:00)"),
        (NINE - timedelta(microseconds=1), "UTC", "at(2026-12-01T09:00:00)"),
        ("2026-12-01T08:59:59.001", "UTC", "at(2026-12-01T09:00:00)"),
    ],
)
def test_the_same_moment_in_many_words(time: datetime | str, zone: str, expression: str) -> None:
    one = at(time, timezone=zone)
    assert (one.expression, one.timezone, one.next_time(0.0)) == (expression, zone, NINE.timestamp())
    assert parse(one.expression, zone) == one


def test_it_fires_once() -> None:
    one, time = at(NINE), NINE.timestamp()
    assert one.once
    assert one.next_time(time - 0.001) == time
    assert one.next_time(time) is None
    assert one.previous_time(time + 0.001) == time
    assert one.previous_time(time) is None
    assert one.next(NINE - timedelta(days=1)) == NINE


@pytest.mark.parametrize("time", [datetime(2026, 3, 29, 2, 30), "2026-03-29T02:00:00", "2026-03-29T02:59:59"])
def test_a_local_time_that_does_not_exist_is_refused(time: Any) -> None:
    with pytest.raises(ConfigError, match="does not exist in Europe/Berlin: the clocks are put forward over it"):
        at(time, timezone="Europe/Berlin")


def test_of_a_local_time_that_occurs_twice_the_first_is_meant() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert at("2026-10-25T02:30:00", timezone="Europe/Berlin").next_time(0.0) == first
    assert at(datetime(2026, 10, 25, 2, 30, fold=1), timezone="Europe/Berlin").next_time(0.0) == first


def test_an_aware_time_that_is_the_second_of_two_is_kept_exactly() -> None:
    second = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
    one = at(second, timezone="Europe/Berlin")
    assert (one.expression, one.timezone) == ("at(2026-10-25T01:30:00)", "UTC")
    assert one.next_time(0.0) == second.timestamp()
    assert parse(one.expression, one.timezone) == one


@pytest.mark.parametrize(
    ("time", "part"),
    [
        ("2026-12-01", "give date and time as yyyy-mm-ddThh:mm:ss"),
        ("tomorrow at nine", "'tomorrow at nine': give date and time"),
        ("2026-13-01T09:00:00", "'2026-13-01T09:00:00': give date and time"),
        ("2026-12-01T25:00:00", "give date and time"),
        ("", "give date and time"),
        (date(2026, 12, 1), "give a datetime, or text such as 2026-12-01T09:00:00"),
        (1_800_000_000, "give a datetime, or text"),
        (None, "give a datetime, or text"),
        ("1969-12-31T23:59:59", "is out of range; give a time from 1970 to 2199"),
        (datetime(2200, 1, 1), "is out of range; give a time from 1970 to 2199"),
        (datetime.max, "is out of range"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), "is out of range"),
    ],
)
def test_what_is_no_moment_is_refused(time: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        at(time)


@pytest.mark.parametrize("bound", ["start", "end"])
def test_a_single_time_has_no_bounds(bound: str) -> None:
    options: dict[str, Any] = {bound: "2026-01-01T00:00:00"}
    with pytest.raises(ConfigError, match="start and end do not go with a single time; leave them out"):
        at("2026-12-01T09:00:00", **options)


def test_bounds_in_a_store_are_ignored_as_eventbridge_does() -> None:
    one = parse("at(2026-12-01T09:00:00)", start=0.0, end=5.0)
    assert one == at(NINE)
    assert one.start is one.end is None
