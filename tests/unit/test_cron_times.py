"""When cron expressions fire, in UTC, within their bounds, and looked at from both sides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import cron
from tests.support.cron_texts import expressions, times


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def text(time: float | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # The examples of AWS's pages.
        ("0 10 * * ? *", "2026-01-31 10:00", ["2026-02-01 10:00", "2026-02-02 10:00"]),
        ("15 12 * * ? *", "2026-12-31 12:14", ["2026-12-31 12:15", "2027-01-01 12:15"]),
        ("0 18 ? * MON-FRI *", "2026-11-20 18:00", ["2026-11-23 18:00", "2026-11-24 18:00"]),
        ("0 8 1 * ? *", "2026-11-20 18:00", ["2026-12-01 08:00", "2027-01-01 08:00"]),
        ("1/10 * * * ? *", "2026-11-20 18:00", ["2026-11-20 18:01", "2026-11-20 18:11", "2026-11-20 18:21"]),
        ("1/10 * * * ? *", "2026-11-20 18:51", ["2026-11-20 19:01"]),
        ("0/15 * * * ? *", "2026-11-20 18:50", ["2026-11-20 19:00", "2026-11-20 19:15"]),
        ("0/5 8-17 ? * MON-FRI *", "2026-11-20 17:55", ["2026-11-23 08:00", "2026-11-23 08:05"]),
        ("0/30 20-23,0-2 ? * MON-FRI *", "2026-11-20 23:30", ["2026-11-23 00:00", "2026-11-23 00:30"]),
        ("15 10 ? * 6L 2022-2023", "2022-01-01 00:00", ["2022-01-28 10:15", "2022-02-25 10:15", "2022-03-25 10:15"]),
        ("15 10 ? * 6L 2022-2023", "2023-12-29 10:14", ["2023-12-29 10:15", None]),
        ("0 0 ? * 3#2 *", "2026-11-01 00:00", ["2026-11-10 00:00", "2026-12-08 00:00"]),
        ("0 0 3W * ? *", "2026-10-01 00:00", ["2026-10-02 00:00", "2026-11-03 00:00", "2026-12-03 00:00"]),
        ("0 0 L * ? *", "2027-12-31 00:00", ["2028-01-31 00:00", "2028-02-29 00:00", "2028-03-31 00:00"]),
        ("0 0 ? * L *", "2026-11-22 00:00", ["2026-11-28 00:00", "2026-12-05 00:00"]),
        # 1 = SUN, and names alike.
        ("0 0 ? * 1 *", "2026-11-21 00:00", ["2026-11-22 00:00"]),
        ("0 0 ? * SUN *", "2026-11-21 00:00", ["2026-11-22 00:00"]),
        ("0 0 ? * 7 *", "2026-11-20 00:00", ["2026-11-21 00:00"]),
        ("0 0 ? * FRIL *", "2026-11-20 00:00", ["2026-11-27 00:00"]),
        ("0 0 ? * TUE#5 *", "2026-11-20 00:00", ["2026-12-29 00:00", "2027-03-30 00:00"]),
        # W stays in its month.
        ("0 0 1W * ? *", "2026-07-31 00:00", ["2026-08-03 00:00"]),
        ("0 0 31W 1 ? *", "2027-01-01 00:00", ["2027-01-29 00:00"]),
        ("0 0 15W * ? *", "2026-11-01 00:00", ["2026-11-16 00:00"]),
        ("0 0 14W * ? *", "2026-11-01 00:00", ["2026-11-13 00:00"]),
        # Months without the day, leap years, steps of years.
        ("0 0 31 * ? *", "2026-11-01 00:00", ["2026-12-31 00:00", "2027-01-31 00:00", "2027-03-31 00:00"]),
        ("0 0 29 2 ? *", "2096-02-29 00:00", ["2104-02-29 00:00"]),
        ("0 0 29 2 ? *", "1996-02-29 00:00", ["2000-02-29 00:00"]),
        ("0 0 ? 2 2#5 *", "2026-11-01 00:00", ["2044-02-29 00:00", "2072-02-29 00:00"]),
        ("0 0 1 JAN/3 ? *", "2026-11-01 00:00", ["2027-01-01 00:00", "2027-04-01 00:00", "2027-07-01 00:00"]),
        ("0 0 1 1 ? 1970/50", "1970-01-01 00:00", ["2020-01-01 00:00", "2070-01-01 00:00"]),
        ("0 0 1 1 ? 1970", "1970-01-01 00:00", [None]),
        ("59 23 31 12 ? 2199", "2026-11-01 00:00", ["2199-12-31 23:59", None]),
        ("3 4 ? 5 * 2001", "2026-11-01 00:00", [None]),
    ],
)
def test_the_next_times(expression: str, after: str, expected: list[str | None]) -> None:
    one = cron(expression)
    found: list[str | None] = []
    time: float | None = moment(after)
    while time is not None and len(found) < len(expected):
        time = one.next_time(time)
        found.append(text(time))
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "before", "expected"),
    [
        ("0 10 * * ? *", "2026-02-01 10:00", "2026-01-31 10:00"),
        ("0 10 * * ? *", "2026-02-01 10:01", "2026-02-01 10:00"),
        ("0/7 3,5 ? * 6L *", "2026-11-01 00:00", "2026-10-30 05:56"),
        ("0/7 3,5 ? * 6L *", "2026-10-30 05:00", "2026-10-30 03:56"),
        ("0 0 29 2 ? *", "2104-02-29 00:00", "2096-02-29 00:00"),
        ("0 0 31 JAN,MAY ? *", "2026-05-01 00:00", "2026-01-31 00:00"),
        ("0 0 1 1 ? 1970", "2026-01-01 00:00", "1970-01-01 00:00"),
        ("0 0 1 1 ? 1970", "1970-01-01 00:00", None),
        ("0 0 1 1 ? 2030", "2026-01-01 00:00", None),
    ],
)
def test_the_previous_time(expression: str, before: str, expected: str | None) -> None:
    assert text(cron(expression).previous_time(moment(before))) == expected


def test_fractions_of_a_second_count() -> None:
    noon = moment("2026-11-20 12:00")
    daily = cron("0 12 * * ? *")
    assert daily.next_time(noon - 0.001) == noon
    assert daily.next_time(noon) == noon + 86_400
    assert daily.previous_time(noon + 0.001) == noon
    assert daily.previous_time(noon) == noon - 86_400


def test_times_before_1970_and_after_2199_have_their_answers() -> None:
    always = cron("* * * * ? *")
    last = moment("2199-12-31 23:59")
    assert always.next_time(-inf) == always.next_time(-1e9) == 0.0
    assert always.next_time(last) is always.next_time(1e12) is always.next_time(inf) is None
    assert always.previous_time(inf) == always.previous_time(1e12) == last
    assert always.previous_time(0.0) is always.previous_time(-inf) is None


def test_nothing_fires_before_the_start_and_after_the_end() -> None:
    one = cron("0 12 * * ? *", start="2026-11-20T12:00:00", end="2026-11-22T12:00:00")
    first, last = moment("2026-11-20 12:00"), moment("2026-11-22 12:00")
    assert one.next_time(0) == first
    assert one.next_time(first) == first + 86_400
    assert one.next_time(last - 1) == last
    assert one.next_time(last) is None
    assert one.previous_time(inf) == last
    assert one.previous_time(first + 1) == first
    assert one.previous_time(first) is None


def test_fractions_of_the_bounds_make_them_narrower() -> None:
    one = cron("0 12 * * ? *", start=moment("2026-11-20 12:00") + 0.5, end=moment("2026-11-22 12:00") - 0.5)
    assert one.start == moment("2026-11-20 12:00:01")
    assert text(one.next_time(0)) == text(one.previous_time(inf)) == "2026-11-21 12:00"


def test_naive_bounds_are_read_in_the_time_zone_and_aware_ones_as_they_are() -> None:
    naive = cron("0 0 * * ? *", timezone="Asia/Tokyo", start=datetime(2026, 11, 20, 9), end="2026-12-01T09:00:00")
    aware = cron(
        "0 0 * * ? *",
        timezone="Asia/Tokyo",
        start=datetime(2026, 11, 20, tzinfo=UTC),
        end=datetime(2026, 12, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    )
    assert naive == aware
    assert naive.start == moment("2026-11-20 00:00")


def test_next_answers_in_the_time_zone_of_the_expression() -> None:
    found = cron("0 9 ? * 2#1 *", timezone="America/New_York").next(datetime(2026, 11, 22, tzinfo=UTC))
    assert found is not None
    assert found.isoformat() == "2026-12-07T09:00:00-05:00"
    assert cron("0 9 ? * 2#1 2001").next(datetime(2026, 11, 22, tzinfo=UTC)) is None
    with pytest.raises(ConfigError, match="give a datetime with a time zone"):
        cron("0 9 * * ? *").next(datetime(2026, 11, 22))
    with pytest.raises(ConfigError, match="give a datetime with a time zone"):
        cron("0 9 * * ? *").next("2026-11-22T00:00:00Z")  # type: ignore[arg-type]  # what is tested


@settings(max_examples=150, deadline=None)
@given(expressions(), times(), st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]))
def test_next_and_previous_are_each_other_s_inverse_and_strictly_ordered(text: str, time: float, zone: str) -> None:
    one = cron(text, timezone=zone)
    later = one.next_time(time)
    earlier = one.previous_time(time)
    assert later is None or later > time
    assert earlier is None or earlier < time
    if later is not None:
        assert one.previous_time(later + 1) == later
        assert one.next_time(later - 1) == later
        assert one.previous_time(later) in (earlier, time)
    if earlier is not None:
        assert one.next_time(earlier - 1) == earlier
        assert one.previous_time(earlier + 1) == earlier
        assert one.next_time(earlier) in (later, time)
