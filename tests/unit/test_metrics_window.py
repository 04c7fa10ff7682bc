"""What is read of counters: points of equal length, percentiles, what fails most."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq_sls import ConfigError, TaskQ
from taskq_sls.client.metrics import Metrics
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.metrics.counters import BUCKETS, EMPTY, HOUR, MINUTE, CounterKey, Counters
from taskq_sls.testing import in_memory

NOW = 1_800_000_000.0 + 30 * 60 + 20  # half past, and 20 seconds
THIS_MINUTE = int(NOW) // MINUTE * MINUTE
THIS_HOUR = int(NOW) // HOUR * HOUR


class Kept:
    """An app whose counters a test writes."""

    def __init__(self) -> None:
        self.app = TaskQ("shop")
        self._memory = in_memory(self.app, start=NOW)
        self._memory.__enter__()

    @property
    def clock(self) -> ManualClock:
        return self._memory.clock

    @property
    def metrics(self) -> Metrics:
        return self.app.metrics

    def add(self, time: int, span: int = MINUTE, task: str = "resize", queue: str = "default", **counts: Any) -> None:
        drive(self._memory.results.metrics.add("shop", CounterKey(span, time, task, queue), Counters(**counts)))


@pytest.fixture
def kept() -> Kept:
    return Kept()


def histogram(**buckets: int) -> tuple[int, ...]:
    return tuple(buckets.get(f"b{bucket}", 0) for bucket in range(BUCKETS))


# -- points ---------------------------------------------------------------------------------------------------------


def test_every_minute_of_the_last_hour_is_a_point_also_those_in_which_nothing_happened(kept: Kept) -> None:
    kept.add(THIS_MINUTE - 5 * MINUTE, started=3)
    kept.add(THIS_MINUTE - 5 * MINUTE, task="crop", started=4)
    points = kept.metrics.series()
    assert [point.time for point in points] == list(range(THIS_MINUTE - HOUR, THIS_MINUTE + MINUTE, MINUTE))
    assert [point.counters.started for point in points if point.counters != EMPTY] == [7]


def test_points_begin_at_whole_steps(kept: Kept) -> None:
    kept.add(THIS_MINUTE - 3 * MINUTE, started=1)
    kept.add(THIS_MINUTE - 4 * MINUTE, started=2)
    window = kept.metrics.window(since=timedelta(minutes=20), step=600)
    assert (window.since % 600, window.until % 600, window.step) == (0, 0, 600)
    assert [point.counters.started for point in window.points] == [0, 3, 0]


@pytest.mark.parametrize(
    ("span", "step"),
    [
        (timedelta(hours=3), 60),
        (timedelta(hours=4), 300),
        (timedelta(hours=12), 300),
        (timedelta(hours=13), 3600),
        (timedelta(days=14), 3600),
        (timedelta(days=15), 86_400),
    ],
)
def test_without_a_step_there_is_one_that_fits(kept: Kept, span: timedelta, step: int) -> None:
    assert kept.metrics.window(since=span).step == step


def test_hours_that_are_over_are_read_as_such_and_this_hour_by_its_minutes(kept: Kept) -> None:
    kept.add(THIS_HOUR - HOUR, HOUR, started=100)
    kept.add(THIS_HOUR - MINUTE, MINUTE, started=100)  # part of that hour
    kept.add(THIS_HOUR, HOUR, started=5)  # what workers have written of this hour so far
    kept.add(THIS_HOUR, MINUTE, started=5)
    kept.add(THIS_MINUTE - MINUTE, MINUTE, started=2)
    points = kept.metrics.series(since=timedelta(hours=3), step=timedelta(hours=1))
    assert [point.counters.started for point in points] == [0, 0, 100, 7]


def test_a_time_is_an_aware_datetime_epoch_seconds_or_so_long_ago(kept: Kept) -> None:
    windows = [
        kept.metrics.window(since=since, until=NOW - 600)
        for since in (datetime.fromtimestamp(NOW - 1800, UTC), NOW - 1800, timedelta(minutes=30))
    ]
    assert {(window.since, window.until) for window in windows} == {(THIS_MINUTE - 1800, THIS_MINUTE - 540)}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"step": 90}, "whole minutes"),
        ({"step": 5400}, "whole hours"),
        ({"step": 0}, "step=0"),
        ({"step": True}, "step=True"),
        ({"since": timedelta(days=8), "step": 60}, "at most 1,500"),
        ({"since": timedelta(0)}, "before until"),
        ({"since": datetime(2026, 1, 1)}, "no time zone"),
        ({"since": "1h"}, "since='1h'"),
        ({"until": float("nan")}, "until=nan"),
    ],
)
def test_malformed_times_and_steps_are_refused(kept: Kept, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        kept.metrics.window(**arguments)


# -- tasks and queues -----------------------------------------------------------------------------------------------


def test_a_task_or_a_queue_is_read_alone(kept: Kept) -> None:
    kept.add(THIS_MINUTE, started=1)
    kept.add(THIS_MINUTE, queue="slow", started=2)
    kept.add(THIS_MINUTE, task="crop", queue="slow", started=4)
    assert kept.metrics.totals().started == 7
    assert kept.metrics.totals(task="resize").started == 3
    assert kept.metrics.totals(queue="slow").started == 6
    assert kept.metrics.totals(task="resize", queue="slow").started == 2
    window = kept.metrics.window()
    assert window.of(task="crop").totals.started == 4
    assert [(one.name, one.counters.started) for one in window.tasks] == [("crop", 4), ("resize", 3)]
    assert [(one.name, one.counters.started) for one in window.queues] == [("default", 1), ("slow", 6)]


def test_what_fails_most_comes_first_and_what_does_not_fail_not_at_all(kept: Kept) -> None:
    kept.add(THIS_MINUTE, task="retries", succeeded=1, retried=50)
    kept.add(THIS_MINUTE, task="well", succeeded=9)
    kept.add(THIS_MINUTE, task="worse", failed=3)
    kept.add(THIS_MINUTE - MINUTE, task="bad", failed=2, retried=9)
    kept.add(THIS_MINUTE, task="worse", queue="slow", failed=1)
    failing = kept.metrics.failing()
    assert [(one.name, one.counters.failed) for one in failing] == [("worse", 4), ("bad", 2), ("retries", 0)]
    assert [one.name for one in kept.metrics.failing(limit=1)] == ["worse"]
    assert [one.name for one in kept.metrics.failing(queue="slow")] == ["worse"]


async def test_async_code_reads_the_same(kept: Kept) -> None:
    kept.add(THIS_MINUTE, started=1, failed=1)
    assert (await kept.metrics.aseries())[-1].counters.started == 1
    assert (await kept.metrics.atotals()).failed == 1
    assert [one.name for one in await kept.metrics.afailing()] == ["resize"]


# -- what follows from counters ---------------------------------------------------------------------------------------


def test_a_percentile_lies_within_its_bucket_as_if_that_were_evenly_filled() -> None:
    counters = Counters(longest=10.0, histogram=histogram(b4=50, b9=50))  # 50 to 100 ms, and 2.5 to 5 s
    assert counters.percentile(0.25) == pytest.approx(0.075)
    assert counters.p50 == pytest.approx(0.1)
    assert counters.p95 == pytest.approx(4.75)
    assert counters.percentile(1.0) == pytest.approx(5.0)


def test_a_percentile_is_never_above_the_longest_attempt() -> None:
    assert Counters(longest=0.06, histogram=histogram(b4=10)).p99 == pytest.approx(0.05 + 0.01 * 0.99)
    assert Counters(longest=2000.0, histogram=histogram(b15=1)).p99 == pytest.approx(900 + 1100 * 0.99)
    assert Counters(longest=0.0, histogram=histogram(b0=3)).p50 == 0.0


def test_without_attempts_there_are_no_percentiles_and_means() -> None:
    assert EMPTY.p50 is EMPTY.mean is EMPTY.mean_wait is EMPTY.failure_rate is None


def test_means_and_rates_follow_from_sums() -> None:
    counters = Counters(
        started=9, succeeded=6, failed=1, retried=1, cancelled=2, expired=3, skipped=4, duration=5.0, waits=4, wait=2.0,
        histogram=histogram(b7=10),
    )  # fmt: skip
    assert (counters.mean, counters.mean_wait, counters.failure_rate, counters.ended) == (0.5, 0.5, 0.25, 16)


def test_a_backend_that_counts_nothing_has_empty_points(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(kept._memory.results), "metrics", None)
    assert kept.metrics.totals() == EMPTY
    assert len(kept.metrics.series()) == 61
