"""A worker's report of itself: one small write a minute, switchable off, taken away at a clean stop."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from taskq_sls import ConfigError, TaskQ
from taskq_sls.core.context import TaskContext
from taskq_sls.core.flow import drive
from taskq_sls.errors import AwsError
from taskq_sls.results.workers import REPORT_INTERVAL_SECONDS, MemoryWorkers, RunningTask, WorkerReport
from taskq_sls.worker import reporting
from taskq_sls.worker.reporting import MAX_NAMED_BYTES, Reporter, oldest_tasks
from tests.support.engine_harness import EngineHarness


class Monotonic:
    """The clock of intervals, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    time = Monotonic()
    monkeypatch.setattr(reporting, "time", time)
    return time


def rigged(*, record: str = "started") -> EngineHarness:
    harness = EngineHarness()

    @harness.task(name="shop:work", record=record)
    async def work() -> None: ...

    return harness


def reporter_of(harness: EngineHarness, **options: Any) -> Reporter:
    executor = asyncio.run(harness.executor())
    return Reporter(harness.app.worker(**options), executor, harness.app.services.blocking(), lambda: False)


def reports(harness: EngineHarness) -> list[WorkerReport]:
    return drive(harness.results.workers.alive("shop", now=harness.clock.time()))


def test_a_worker_says_who_it_is_and_what_it_does(time: Monotonic) -> None:
    harness = rigged()

    reporter_of(harness, concurrency=7).report_if_due()

    (one,) = reports(harness)
    assert (one.concurrency, one.queues, one.running, one.stopping) == (7, ("default",), 0, False)
    assert one.host
    assert one.pid
    assert one.version
    assert one.started_at == harness.clock.time()


def test_it_reports_once_a_minute_and_no_more(time: Monotonic, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = rigged()
    reporter = reporter_of(harness)
    beats: list[float] = []
    beat = MemoryWorkers.beat

    async def counted(self: MemoryWorkers, report: WorkerReport) -> None:
        beats.append(time.now)
        await beat(self, report)

    monkeypatch.setattr(MemoryWorkers, "beat", counted)
    for _ in range(181):
        reporter.report_if_due()
        time.now += 1

    assert beats == [1000.0 + REPORT_INTERVAL_SECONDS * number for number in range(4)]


def test_it_is_gone_after_a_clean_stop(time: Monotonic) -> None:
    harness = rigged()
    reporter = reporter_of(harness)
    reporter.report_if_due()

    reporter.unregister()

    assert reports(harness) == []


@pytest.mark.parametrize("options", [{"report": False}, {}])
def test_it_can_be_switched_off_for_a_worker_or_for_the_app(time: Monotonic, options: dict[str, Any]) -> None:
    harness = rigged()
    harness.app.report = bool(options)
    reporter = reporter_of(harness, **options)

    reporter.report_if_due()
    reporter.unregister()

    assert reports(harness) == []


def test_an_app_that_records_nothing_is_not_asked_for_a_table(time: Monotonic) -> None:
    harness = rigged(record="none")

    reporter_of(harness).report_if_due()

    assert reports(harness) == []


def test_a_fault_is_logged_once_and_the_next_minute_tries_again(
    time: Monotonic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = rigged()
    reporter = reporter_of(harness)
    beat = MemoryWorkers.beat

    async def denied(self: MemoryWorkers, report: WorkerReport) -> None:
        raise AwsError("put_item", "AccessDeniedException", "not yours")

    monkeypatch.setattr(MemoryWorkers, "beat", denied)
    with caplog.at_level(logging.WARNING, "taskq_sls.worker"):
        for _ in range(3):
            reporter.report_if_due()
            time.now += REPORT_INTERVAL_SECONDS
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "this worker cannot report itself in the table"
    ]

    monkeypatch.setattr(MemoryWorkers, "beat", beat)
    reporter.report_if_due()
    assert len(reports(harness)) == 1


def test_the_first_tasks_are_named_as_long_as_the_item_stays_small() -> None:
    contexts = [TaskContext(f"id-{number}", "shop:work") for number in range(10)]
    assert oldest_tasks(contexts) == tuple(RunningTask(f"id-{number}", "shop:work") for number in range(5))

    long = [TaskContext(f"{number}" * 100, "m" * 150) for number in range(5)]
    named = oldest_tasks(long)
    assert sum(len(one.id) + len(one.task) for one in named) <= MAX_NAMED_BYTES
    assert len(named) == 2


def test_the_option_must_be_a_boolean() -> None:
    with pytest.raises(ConfigError, match="report='no'"):
        TaskQ("shop", report="no")  # type: ignore[arg-type]  # what is tested
