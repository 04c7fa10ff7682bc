"""Our evaluation against two independent ones, in UTC: aws-croniter, and croniter behind a translation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from aws_croniter import AwsCroniter
from croniter import CroniterBadDateError, croniter
from hypothesis import given, settings

from taskq_sls.scheduler.parse import cron
from tests.support.cron_texts import WEEKDAYS, expressions, times

CRONITER_YEARS = (1970, 2099)
"""The years that croniter knows."""


def in_croniter_s_words(text: str) -> str:
    """Sunday is 0 there, the year comes last, behind the seconds, and a range of one value counts as the whole."""
    minute, hour, day, month, weekday, year = (
        re.sub(r"\b(\w+)-\1\b(?:/\d+)?", r"\1", field) for field in text.split(" ")
    )
    for number, name in enumerate(WEEKDAYS):
        weekday = weekday.replace(name, str(number + 1))
    if weekday == "L":
        weekday = "7"
    weekday = re.sub(r"(?<!#)\d", lambda digit: str(int(digit[0]) - 1), weekday)
    weekday = re.sub(r"^(\d)L$", r"L\1", weekday)
    return f"{minute} {hour} {day} {month} {weekday} 0 {year}"


def by_croniter(text: str, time: float, *, back: bool = False) -> Iterator[float | None]:
    walk = croniter(in_croniter_s_words(text), time, max_years_between_matches=130)
    while True:
        try:
            found = walk.get_prev(float) if back else walk.get_next(float)
            yield found if found >= 0 else None
        except CroniterBadDateError:
            yield None


def by_aws_croniter(text: str, time: float) -> Iterator[float | None]:
    oracle = AwsCroniter(re.sub(r" L (\S+)$", r" 7 \1", text))  # L alone never fires there
    start = datetime.fromtimestamp(time, UTC)
    while True:
        (found,) = oracle.get_next(start)
        if found is not None:
            yield found.timestamp()
            start = found
        elif start.year > 2199:
            yield None
        else:  # it gives up after ten steps, eight of them months at least
            start += timedelta(days=180)


@settings(max_examples=120, deadline=None)
@given(expressions(CRONITER_YEARS), times())
def test_the_next_times_are_those_of_croniter(text: str, time: float) -> None:
    one, theirs = cron(text), by_croniter(text, time)
    now: float | None = time
    for _ in range(4):
        assert now is not None
        now = one.next_time(now)
        if now is None or datetime.fromtimestamp(now, UTC).year > CRONITER_YEARS[1]:
            assert next(theirs) is None
            return
        assert now == next(theirs)


@settings(max_examples=120, deadline=None)
@given(expressions(CRONITER_YEARS), times())
def test_the_previous_times_are_those_of_croniter(text: str, time: float) -> None:
    one, theirs = cron(text), by_croniter(text, time, back=True)
    now: float | None = time
    for _ in range(4):
        assert now is not None
        now = one.previous_time(now)
        assert now == next(theirs)
        if now is None:
            return


@settings(max_examples=120, deadline=None)
@given(expressions(), times())
def test_the_next_times_are_those_of_aws_croniter(text: str, time: float) -> None:
    one, theirs = cron(text), by_aws_croniter(text, time)
    now: float | None = time
    for _ in range(4):
        assert now is not None
        now = one.next_time(now)
        assert now == next(theirs)
        if now is None:
            return
