"""Rates: a steady grid from the start, or from where a schedule was made."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf, nextafter
from typing import Any, cast

import pytest

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import rate

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        (rate("5 minutes"), "rate(5 minutes)"),
        (rate("rate(5 minutes)"), "rate(5 minutes)"),
        (rate("  5   minutes "), "rate(5 minutes)"),
        (rate("05 minutes"), "rate(5 minutes)"),
        (rate("1 minute"), "rate(1 minute)"),
        (rate("1 minutes"), "rate(1 minute)"),
        (rate("2 hour"), "rate(2 hours)"),
        (rate("1 day"), "rate(1 day)"),
        (rate(minutes=90), "rate(90 minutes)"),
        (rate(hours=1), "rate(1 hour)"),
        (rate(days=7), "rate(7 days)"),
    ],
)
def test_the_unit_is_singular_for_one_and_plural_for_more(given: rate, expression: str) -> None:
    assert given.expression == expression
    assert given.timezone == "UTC"
    assert not given.once


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: rate("0 minutes"), "rate('0 minutes'): the value 0 is out of range; give 1 to 120,968,640 minutes"),
        (lambda: rate("-5 minutes"), "the value '-5' is out of range"),
        (lambda: rate("1.5 hours"), "the value '1.5' is out of range"),
        (lambda: rate("9" * 30 + " days"), "is out of range"),
        (lambda: rate("84007 days"), "give 1 to 84,006 days (1970 to 2199)"),
        (
            lambda: rate("30 seconds"),
            "the unit 'seconds' is unknown; give minutes, hours or days (1 minute is the least)",
        ),
        (lambda: rate("5 Minutes"), "the unit 'Minutes' is unknown"),
        (lambda: rate("5 minutess"), "the unit 'minutess' is unknown"),
        (lambda: rate("5"), "give a value and a unit, such as '5 minutes'"),
        (lambda: rate("5 minutes please"), "give a value and a unit"),
        (lambda: rate(cast(Any, 5)), "rate(5): give the expression as text"),
        (lambda: rate(), "not nothing"),
        (lambda: rate("5 minutes", minutes=5), "not several"),
        (lambda: rate(minutes=5, hours=1), "not several"),
        (lambda: rate(minutes=0), "rate(minutes=0): the value 0 is out of range"),
        (lambda: rate(hours=cast(Any, 1.5)), "rate(hours=1.5): give a whole number of 1 or more"),
        (lambda: rate(days=True), "rate(days=True): give a whole number of 1 or more"),
    ],
)
def test_what_is_no_rate_is_refused(make: Callable[[], Any], part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        make()


def test_the_first_firing_is_at_the_anchor_itself() -> None:
    five = rate("5 minutes")
    assert five.next_time(NOON - 1, NOON) == NOON
    assert five.next_time(NOON - 86_400, NOON) == NOON
    assert five.next_time(NOON, NOON) == NOON + 300
    assert five.next_time(NOON + 299.9, NOON) == NOON + 300
    assert five.next_time(NOON + 300, NOON) == NOON + 600


def test_the_start_is_the_grid_whatever_the_anchor() -> None:
    one = rate("1 hour", start=NOON)
    assert one.next_time(NOON - 1, NOON - 100) == NOON
    assert one.next_time(NOON, NOON + 17) == NOON + 3_600
    assert one.previous_time(NOON + 3_601, NOON + 17) == NOON + 3_600


def test_without_start_and_anchor_the_next_is_one_period_away() -> None:
    assert rate("5 minutes").next_time(NOON) == NOON + 300
    assert rate("5 minutes").next(datetime(2026, 11, 20, 12, 0, 0, 7, tzinfo=UTC)) == datetime(
        2026, 11, 20, 12, 5, tzinfo=UTC
    )
    assert rate("5 minutes").previous_time(NOON) is None


def test_a_fraction_of_the_anchor_is_rounded_up_so_that_the_first_firing_is_not_lost() -> None:
    five = rate("5 minutes")
    assert five.next_time(nextafter(NOON + 0.25, -inf), NOON + 0.25) == NOON + 1
    assert five.next_time(NOON + 1, NOON + 0.25) == NOON + 301


def test_the_previous_is_the_last_before_and_none_before_the_first() -> None:
    five = rate("5 minutes")
    assert five.previous_time(NOON + 600, NOON) == NOON + 300
    assert five.previous_time(NOON + 600.5, NOON) == NOON + 600
    assert five.previous_time(NOON + 0.5, NOON) == NOON
    assert five.previous_time(NOON, NOON) is None
    assert five.previous_time(NOON - 1, NOON) is None


def test_nothing_fires_after_the_end() -> None:
    one = rate("5 minutes", start=NOON, end=NOON + 600)
    assert one.next_time(NOON + 300) == NOON + 600
    assert one.next_time(NOON + 600) is None
    assert one.previous_time(inf) == NOON + 600
    assert rate("5 minutes", start=NOON, end=NOON + 599).previous_time(inf) == NOON + 300
    assert rate("1 day", end=NOON).next_time(NOON - 1) is None


def test_a_day_is_24_hours_also_where_the_clocks_change() -> None:
    daily = rate("1 day", timezone="Europe/Berlin", start="2026-03-28T12:00:00")
    found = daily.next(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert found is not None
    assert found.isoformat() == "2026-03-29T13:00:00+02:00"


def test_times_without_end_have_their_answers() -> None:
    assert rate("5 minutes").next_time(inf, NOON) is rate("5 minutes").next_time(1e12, NOON) is None
    assert rate("5 minutes").next_time(-inf, NOON) == NOON
    assert rate("5 minutes").previous_time(-inf, NOON) is None


def test_next_and_previous_are_each_other_s_inverse() -> None:
    one, time = rate("7 minutes"), NOON - 5
    for _ in range(50):
        later = one.next_time(time, NOON)
        assert later is not None
        assert later > time
        assert one.previous_time(later + 1, NOON) == later
        assert one.previous_time(later, NOON) == (time if time >= NOON else None)
        time = later
