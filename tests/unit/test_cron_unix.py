"""The five-field Unix dialect."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import cron
from tests.support.cron_texts import MONTHS, WEEKDAYS, times


@pytest.mark.parametrize(
    ("unix", "eventbridge"),
    [
        ("* * * * *", "* * * * ? *"),
        ("*/5 * * * *", "0/5 * * * ? *"),
        ("0 */2 * * *", "0 0/2 * * ? *"),
        ("0 0 */2 */3 *", "0 0 1/2 1/3 ? *"),
        ("*/1 * * * *", "* * * * ? *"),
        ("1-59/2 * * * *", "1/2 * * * ? *"),
        ("0-30/10,45 * * * *", "0,10,20,30,45 * * * ? *"),
        ("0 0 1-20/12 * *", "0 0 1,13 * ? *"),
        ("  00   09  1,15 * *", "0 9 1,15 * ? *"),
        ("0 9 * jan-mar *", "0 9 * JAN-MAR ? *"),
        ("0 9 * * 0", "0 9 ? * SUN *"),
        ("0 9 * * 7", "0 9 ? * SUN *"),
        ("0 9 * * 0,7", "0 9 ? * SUN *"),
        ("0 9 * * 1-5", "0 9 ? * MON-FRI *"),
        ("0 9 * * mon-Fri", "0 9 ? * MON-FRI *"),
        ("0 9 * * 5-7", "0 9 ? * SUN,FRI,SAT *"),
        ("0 9 * * 6,3", "0 9 ? * WED,SAT *"),
        ("0 9 * * */2", "0 9 ? * SUN,TUE,THU,SAT *"),
        ("0 9 * * 1-7/2", "0 9 ? * SUN,MON,WED,FRI *"),
        ("0 9 * * 0-6", "0 9 ? * SUN-SAT *"),
        ("0 9 * * */1", "0 9 * * ? *"),
        ("0 9 */1 * 1", "0 9 ? * MON *"),
        ("0 9 3-3 * *", "0 9 3-3 * ? *"),
        ("7-7/2 0-23/1 * Jan-JAN *", "7 0/1 * JAN-JAN ? *"),
        ("59-59/15 9 * * 7-7", "59/15 9 ? * SUN *"),
        ("0 9 * * sat,*/1", "0 9 * * ? *"),
        ("@hourly", "0 * * * ? *"),
        ("@daily", "0 0 * * ? *"),
        ("@Midnight", "0 0 * * ? *"),
        ("@weekly", "0 0 ? * SUN *"),
        ("@monthly", "0 0 1 * ? *"),
        ("@yearly", "0 0 1 1 ? *"),
        ("@annually", "0 0 1 1 ? *"),
    ],
)
def test_it_is_put_into_eventbridge_s_words(unix: str, eventbridge: str) -> None:
    assert cron.unix(unix, timezone="Asia/Tokyo", window=3) == cron(eventbridge, timezone="Asia/Tokyo", window=3)


@pytest.mark.parametrize(
    ("unix", "part"),
    [
        ("60 * * * *", "minute '60': '60' is not a value of this field; give 0 to 59"),
        ("0 24 * * *", "hour '24': '24' is not a value of this field; give 0 to 23"),
        ("0 0 0 * *", "day of month '0': '0' is not a value of this field; give 1 to 31"),
        ("0 0 1 13 *", "month '13': '13' is not a value of this field; give 1 to 12 or JAN to DEC"),
        (
            "0 0 * * 8",
            "day of week '8': '8' is not a value of this field; give 0 to 7 (0 and 7 = Sunday) or SUN to SAT",
        ),
        ("0 0 L * *", "give 1 to 31. For ?, L, W and # use EventBridge's cron(...)"),
        ("0 0 ? * *", "For ?, L, W and # use EventBridge's"),
        ("0 0 * * TUE#2", "For ?, L, W and # use EventBridge's"),
        ("*/0 * * * *", "minute '*/0': the step '0' is out of range; give 1 to 59"),
        ("*/61 * * * *", "the step '61' is out of range"),
        ("5/15 * * * *", "Unix has steps after '*' or a range only; write '5-59/15'"),
        ("0 22-2 * * *", "'22-2' runs backwards; write '22-23,0-2'"),
        ("0 0 * * FRI-MON", "'FRI-MON' runs backwards; write 'FRI-SAT,SUN-MON'"),
        ("0 0 * * 7-0", "'7-0' runs backwards"),
        ("h * * * *", "minute 'H': 'H' is not a value of this field; give 0 to 59"),
        ("5- * * * *", "minute '5-': '' is not a value of this field"),
        ("5,*/1 * * * *", "'*' in a list means every value"),
        ("*,5 * * * *", "'*' in a list means every value"),
        ("0 0 * * *,5", "'*' in a list means every value"),
        ("* * * *", "4 fields; give five"),
        ("0 0 12 * * ?", "6 fields; give five"),
        ("@reboot", "'@reboot' is not a known shorthand; give one of @yearly"),
        ("0 0 30 2 *", "can never fire"),
        (None, "give text such as '*/5 * * * *'"),
    ],
)
def test_what_is_wrong_is_told_in_unix_terms(unix: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)) as error:
        cron.unix(unix)
    assert str(error.value).startswith(f"cron.unix({unix!r}): ")


def test_days_of_the_month_or_of_the_week_are_two_schedules() -> None:
    with pytest.raises(ConfigError) as error:
        cron.unix("30 9 13 * fri")
    assert "make two schedules: cron.unix('30 9 13 * *') and cron.unix('30 9 * * FRI')" in str(error.value)


@pytest.mark.parametrize("unix", ["0 9 */2 * 1", "0 9 13 * */2"])
def test_days_of_the_month_and_of_the_week_are_refused(unix: str) -> None:
    with pytest.raises(ConfigError, match="cannot require both"):
        cron.unix(unix)


def item(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    value = st.integers(low, high)
    named = value.map(lambda number: (names or [])[(number - low) % len(names)] if names else str(number))
    span = st.lists(value, min_size=2, max_size=2).map(sorted).map("{0[0]}-{0[1]}".format)
    stepped = st.tuples(span | st.just("*"), st.integers(2, max(2, (high - low) // 2)).map(str)).map("/".join)
    return st.just("*") | st.lists(named | span | stepped, min_size=1, max_size=3).map(",".join)


@settings(max_examples=120, deadline=None)
@given(
    st.tuples(item(0, 59), item(0, 23), item(1, 28), item(1, 12, MONTHS), st.just("*"))
    | st.tuples(item(0, 59), item(0, 23), st.just("*"), item(1, 12, MONTHS), item(0, 6, WEEKDAYS)),
    times(),
)
def test_the_times_are_those_of_croniter(fields: tuple[str, ...], time: float) -> None:
    unix = " ".join(fields)
    one = cron.unix(unix)
    # croniter reads a range of one value as the whole field.
    theirs = croniter(re.sub(r"\b(\d+)-\1\b(?:/\d+)?", r"\1", unix), datetime.fromtimestamp(time, UTC))
    now: float | None = time
    for _ in range(3):
        assert now is not None
        now = one.next_time(now)
        assert now == theirs.get_next(float)
