"""What cron expressions may say, and what they are told when they may not."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq_sls import ConfigError
from taskq_sls.scheduler.parse import at, cron, parse, rate

UNDEFINED = "undefined in the documentation of EventBridge Scheduler"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("0 12 ? * MON-FRI *", "cron(0 12 ? * MON-FRI *)"),
        ("0 12 ? * MON-FRI", "cron(0 12 ? * MON-FRI *)"),
        ("  0\t12  ?\n* MON-FRI   2026 ", "cron(0 12 ? * MON-FRI 2026)"),
        ("cron(0 12 ? * MON-FRI *)", "cron(0 12 ? * MON-FRI *)"),
        ("00 05 01 02 ? *", "cron(0 5 1 2 ? *)"),
        ("00-05/05,07 * 03W * ? *", "cron(0-5/5,7 * 3W * ? *)"),
    ],
)
def test_an_expression_is_kept_in_six_fields_without_what_does_not_matter(given: str, kept: str) -> None:
    assert cron(given).expression == kept


@pytest.mark.parametrize(
    "text",
    [
        "0 10 * * ? *",
        "15 12 * * ? *",
        "0 18 ? * MON-FRI *",
        "0 8 1 * ? *",
        "1/10 * ? * MON-FRI *",
        "0/15 * * * ? *",
        "0/5 8-17 ? * MON-FRI *",
        "0/30 20-23,0-2 ? * MON-FRI *",
        "15 10 ? * 6L 2022-2023",
        "0 9 ? * 3#2 *",
        "0 9 ? * TUE#5 *",
        "0 9 ? * FRIL *",
        "0 9 ? * L *",
        "0 9 L * ? *",
        "0 9 3W * ? *",
        "0 9 31W JAN,MAR,MAY ? *",
        "0 9 30W APR ? *",
        "0 9 29W FEB ? 2024,2028",
        "0 9 1-15 JAN,FEB,MAR ? *",
        "0 9 1 JAN-MAR,6 ? *",
        "0 9 1 JAN/3 ? *",
        "0 9 1 1/3 ? 1970-2199",
        "0 9 ? * SUN,3,5-7 *",
        "*/15 */2 */10 */3 ? */2",
        "59 23 31 12 ? 2199",
        "0 0 1 1 ? 1970",
        "10-20/5,30-40,50 * * * ? *",
        "0 0 29 2 ? *",
        "11-11 * * * ? *",
    ],
)
def test_all_that_is_documented_is_accepted_and_read_back_alike(text: str) -> None:
    read = cron(text)
    assert read.expression == f"cron({text})"
    assert parse(read.expression) == read


@pytest.mark.parametrize(
    ("text", "field", "value", "allowed"),
    [
        ("60 * * * ? *", "minutes", "60", "0 to 59"),
        ("-1 * * * ? *", "minutes", "-1", "0 to 59"),
        ("1, * * * ? *", "minutes", "1,", "0 to 59"),
        ("1- * * * ? *", "minutes", "1-", "0 to 59"),
        ("5-60 * * * ? *", "minutes", "5-60", "0 to 59"),
        ("1.5 * * * ? *", "minutes", "1.5", "0 to 59"),
        ("? * * * ? *", "minutes", "?", "0 to 59"),
        ("\u0663 * * * ? *", "minutes", "\u0663", "0 to 59"),
        ("0/0 * * * ? *", "minutes", "0/0", "1 to 59"),
        ("0/60 * * * ? *", "minutes", "0/60", "1 to 59"),
        ("0/ * * * ? *", "minutes", "0/", "1 to 59"),
        ("0/5/5 * * * ? *", "minutes", "0/5/5", "1 to 59"),
        ("/5 * * * ? *", "minutes", "/5", "0 to 59"),
        ("0 24 * * ? *", "hours", "24", "0 to 23"),
        ("0 x * * ? *", "hours", "x", "0 to 23"),
        ("0 0/24 * * ? *", "hours", "0/24", "1 to 23"),
        ("0 0 0 * ? *", "day-of-month", "0", "1 to 31"),
        ("0 0 32 * ? *", "day-of-month", "32", "1 to 31"),
        ("0 0 32W * ? *", "day-of-month", "32W", "1 to 31"),
        ("0 0 WED * ? *", "day-of-month", "WED", "1 to 31"),
        ("0 0 1/32 * ? *", "day-of-month", "1/32", "1 to 31"),
        ("0 0 1 0 ? *", "month", "0", "1 to 12 or JAN to DEC"),
        ("0 0 1 13 ? *", "month", "13", "1 to 12 or JAN to DEC"),
        ("0 0 1 MAI ? *", "month", "MAI", "1 to 12 or JAN to DEC"),
        ("0 0 1 L ? *", "month", "L", "1 to 12 or JAN to DEC"),
        ("0 0 ? * 0 *", "day-of-week", "0", r"1 to 7 (1 = SUN) or SUN to SAT. In cron.unix(...) 0 is Sunday"),
        ("0 0 ? * 8 *", "day-of-week", "8", "1 to 7 (1 = SUN) or SUN to SAT"),
        ("0 0 ? * 8L *", "day-of-week", "8L", "1 to 7 (1 = SUN) or SUN to SAT"),
        ("0 0 ? * 0#1 *", "day-of-week", "0#1", "1 to 7 (1 = SUN) or SUN to SAT"),
        ("0 0 ? * LUN *", "day-of-week", "LUN", "1 to 7 (1 = SUN) or SUN to SAT"),
        ("0 0 ? * 3W *", "day-of-week", "3W", "1 to 7 (1 = SUN) or SUN to SAT"),
        ("0 0 ? * 3#6 *", "day-of-week", "3#6", "1 to 5"),
        ("0 0 ? * 3# *", "day-of-week", "3#", "1 to 5"),
        ("0 0 * * ? 1969", "year", "1969", "1970 to 2199"),
        ("0 0 * * ? 2200", "year", "2200", "1970 to 2199"),
        ("0 0 * * ? 2020/230", "year", "2020/230", "1 to 229"),
    ],
)
def test_what_is_out_of_range_is_told_with_field_value_and_range(
    text: str, field: str, value: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as error:
        cron(text)
    assert f"{field} {value!r}: " in str(error.value)
    assert str(error.value).endswith(allowed) or f"give {allowed}" in str(error.value)
    assert f"cron({text!r})" in str(error.value)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("0 0 LW * ? *", "day-of-month", "LW"),
        ("0 0 W * ? *", "day-of-month", "W"),
        ("0 0 L-3 * ? *", "day-of-month", "L-3"),
        ("0 0 1-L * ? *", "day-of-month", "1-L"),
        ("0 0 1,L * ? *", "day-of-month", "1,L"),
        ("0 0 1W,15W * ? *", "day-of-month", "1W,15W"),
        ("0 0 1-5W * ? *", "day-of-month", "1-5W"),
        ("0 0 31W * ? *", "day-of-month", "31W"),
        ("0 0 30W JAN-MAR ? *", "day-of-month", "30W"),
        ("0 0 29W FEB ? *", "day-of-month", "29W"),
        ("0 0 29W FEB ? 2024,2025", "day-of-month", "29W"),
        ("0 0 3w * ? *", "day-of-month", "3w"),
        ("0 0 l * ? *", "day-of-month", "l"),
        ("0 0 ? * L-2 *", "day-of-week", "L-2"),
        ("0 0 ? * MON,6L *", "day-of-week", "MON,6L"),
        ("0 0 ? * MON-FRIL *", "day-of-week", "MON-FRIL"),
        ("0 0 ? * mon-fri *", "day-of-week", "mon-fri"),
        ("0 0 ? * Tue#2 *", "day-of-week", "Tue#2"),
        ("0 0 ? * 2/2 *", "day-of-week", "2/2"),
        ("0 0 ? * */2 *", "day-of-week", "*/2"),
        ("0 0 ? * FRI-MON *", "day-of-week", "FRI-MON"),
        ("0 0 ? * 6-2 *", "day-of-week", "6-2"),
        ("0 0 ? * 2-FRI *", "day-of-week", "2-FRI"),
        ("0 0 1 jan ? *", "month", "jan"),
        ("0 0 1 NOV-FEB ? *", "month", "NOV-FEB"),
        ("0 22-2 * * ? *", "hours", "22-2"),
        ("0 22-2/2 * * ? *", "hours", "22-2/2"),
        ("*,5 * * * ? *", "minutes", "*,5"),
        ("0 0 * * ? 2030-2020", "year", "2030-2020"),
    ],
)
def test_what_the_documentation_leaves_undefined_is_refused_as_such(text: str, field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{field} {value!r}: ")) as error:
        cron(text)
    assert UNDEFINED in str(error.value)


def test_a_range_that_wraps_is_answered_with_the_list_to_write() -> None:
    with pytest.raises(ConfigError, match="write 'FRI-SAT,SUN-MON'"):
        cron("0 0 ? * FRI-MON *")
    with pytest.raises(ConfigError, match="write '22-23,0-2'"):
        cron("0 22-2 * * ? *")


@pytest.mark.parametrize(
    "text", ["* * * * * *", "0 0 ? * ? *", "0 0 1 * MON *", "0 0 * * MON *", "0 0 1 * * *", "*/5 * * * *", "0 0 * * 1"]
)
def test_exactly_one_of_the_two_day_fields_is_a_question_mark(text: str) -> None:
    with pytest.raises(ConfigError, match=r"exactly one of the two must be '\?'.*cron.unix"):
        cron(text)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("hello", 1), ("0 0 * ?", 4), ("0 0 0 * * ? *", 7)])
def test_the_number_of_fields_is_told(text: str, count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} fields: give six"):
        cron(text)


def test_several_instances_of_a_weekday_are_several_schedules() -> None:
    with pytest.raises(ConfigError, match="one expression only; make one schedule of each"):
        cron("0 0 ? * 3#1,6#3 *")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0 0 30 2 ? *", "month '2' has no day-of-month '30' in the years '*'"),
        ("0 0 31 APR,JUN ? *", "month 'APR,JUN' has no day-of-month '31'"),
        ("0 0 29 2 ? 2100", "month '2' has no day-of-month '29' in the years '2100'"),
        ("0 0 ? 2 2#5 2025-2027", "month '2' has no day-of-week '2#5' in the years '2025-2027'"),
    ],
)
def test_what_can_never_fire_is_refused(text: str, part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        cron(text)


@pytest.mark.parametrize("text", [None, 5, b"0 0 * * ? *", ["0"]])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match="as text"):
        cron(text)


def test_an_expression_has_256_characters_at_most() -> None:
    minutes = ",".join(["5"] * 119)
    assert len(cron(f"{minutes} * * * ? *").expression) == 253
    with pytest.raises(ConfigError, match="257 characters; EventBridge takes 256"):
        cron(f"{minutes},5,5 * * * ? *")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"window": -1}, "window=-1: give whole minutes, 0 to 1,440"),
        ({"window": 1_441}, "window=1441"),
        ({"window": 1.5}, "window=1.5"),
        ({"window": True}, "window=True"),
        ({"jitter": 43_201}, "jitter=43201: give whole seconds, 0 to 43,200"),
        ({"jitter": "5"}, "jitter='5'"),
        ({"start": "soon"}, "start='soon': give date and time as yyyy-mm-ddThh:mm:ss"),
        ({"start": "2026-12-01"}, "start='2026-12-01': give date and time"),
        ({"end": True}, "end=True: give a datetime"),
        ({"end": float("nan")}, "end=nan is out of range"),
        ({"end": datetime(1969, 12, 31, tzinfo=UTC)}, "give a time from 1970 to 2199"),
        ({"end": datetime(2200, 1, 1)}, "give a time from 1970 to 2199"),
        ({"start": "2027-01-01T00:00:00", "end": "2026-01-01T00:00:00"}, "is not after start="),
        ({"start": "2027-01-01T00:00:00", "end": "2027-01-01T00:00:00"}, "is not after start="),
        (
            {"start": "2026-03-29T02:30:00", "timezone": "Europe/Berlin"},
            "start='2026-03-29T02:30:00' does not exist in Europe/Berlin",
        ),
    ],
)
def test_options_out_of_range_are_refused_by_all_three(options: dict[str, Any], part: str) -> None:
    makers: list[Callable[[], object]] = [lambda: cron("0 0 * * ? *", **options), lambda: rate("5 minutes", **options)]
    if not options.keys() & {"start", "end"}:
        makers.append(lambda: at("2026-12-01T09:00:00", **options))
    for make in makers:
        with pytest.raises(ConfigError, match=re.escape(part)):
            make()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("berlin", "did you mean Europe/Berlin"),
        ("new york", r"did you mean America/New_York\?"),
        ("utc", "did you mean UTC"),
        ("Mars/X", "is unknown; give an IANA name such as Europe/Berlin or UTC$"),
        ("America", "is unknown"),
        ("../Berlin", "is unknown"),
        ("/etc/localtime", "is unknown"),
        ("posix/Europe/Berlin", "is unknown"),
        ("localtime", "is unknown"),
        ("Factory", "is unknown"),
        ("", "is unknown"),
        ("a\x00b", "is unknown"),
        ("A" * 51, "has 51 characters; EventBridge takes 50"),
        (None, "timezone=None: give an IANA name"),
    ],
)
def test_a_time_zone_that_does_not_exist_is_refused_with_those_that_look_like_it(name: Any, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        cron("0 0 * * ? *", timezone=name)


def test_a_machine_without_time_zone_data_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", lambda: set[str]())
    with pytest.raises(ConfigError, match="no time zone data; install the package tzdata"):
        cron("0 0 * * ? *", timezone="Europe/Nowhere")


def test_expressions_are_values() -> None:
    one = cron("0 9 ? * 2 *", timezone="Europe/Berlin", start="2026-01-01T00:00:00", window=5, jitter=7)
    assert one == cron("00 9 ? * 2", timezone="Europe/Berlin", start="2025-12-31T23:00:00Z", window=5, jitter=7)
    assert len({one, pickle.loads(pickle.dumps(one)), copy.deepcopy(one), eval(repr(one))}) == 1
    for other in (
        cron("0 9 ? * 2 *"),
        cron("0 9 ? * 2 *", timezone="Europe/Paris", start=one.start, window=5, jitter=7),
        cron("0 9 ? * 2 *", timezone="Europe/Berlin", start=one.start, window=5),
        cron("0 9 ? * 2 *", timezone="Europe/Berlin", window=5, jitter=7),
        rate("5 minutes"),
        "cron(0 9 ? * 2 *)",
    ):
        assert one != other
    assert repr(one) == (
        "cron('0 9 ? * 2 *', timezone='Europe/Berlin', start='2025-12-31T23:00:00Z', window=5, jitter=7)"
    )


def test_expressions_cannot_be_changed_and_are_small() -> None:
    for one in (cron("0 9 ? * 2 *"), rate("5 minutes"), at("2026-12-01T09:00:00")):
        with pytest.raises(AttributeError, match="cannot assign to field 'expression'"):
            one.expression = "cron(0 0 * * ? *)"  # type: ignore[misc]  # read-only on purpose
        with pytest.raises(AttributeError, match="cannot delete field 'window'"):
            del one.window
        assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("text", ["cron(0 9 ? * 2#1 *)", "rate(1 hour)", "rate(90 minutes)", "at(2026-12-01T09:00:00)"])
def test_what_a_store_holds_is_read_back(text: str) -> None:
    read = parse(text, "Asia/Tokyo", start=1e9, end=2e9, window=15, jitter=3)
    assert (read.expression, read.timezone, read.window, read.jitter) == (text, "Asia/Tokyo", 15, 3)
    assert (read.start, read.end) == ((None, None) if text.startswith("at") else (1e9, 2e9))
    assert parse(read.expression, read.timezone, read.start, read.end, read.window, read.jitter) == read
    assert pickle.loads(pickle.dumps(read)).next_time(1.5e9) == read.next_time(1.5e9)


@pytest.mark.parametrize("text", ["hello", "0 9 ? * 2 *", "cron(0 9 ? * 2 *", "CRON(0 9 ? * 2 *)", "", None])
def test_text_that_is_no_expression_is_refused(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"give cron\(\.\.\.\), rate\(\.\.\.\) or at\(\.\.\.\)"):
        parse(text)
