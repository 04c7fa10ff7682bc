"""What drivers count, and when it is written."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from taskq_sls import ConfigError, Retry, TaskQ
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import AsyncFlow
from taskq_sls.core.states import State
from taskq_sls.errors import AwsError
from taskq_sls.metrics.counters import EMPTY, HOUR, MINUTE, CounterKey, Counters, MemoryMetrics
from taskq_sls.metrics.meter import LONGEST_PAUSE, MOST_KEPT, Meter
from taskq_sls.testing import in_memory
from tests.support.engine_harness import NOW, EngineHarness, delivery

MOMENT = int(NOW)


class Store(MemoryMetrics):
    """Counters in memory, whose writes fail or hang as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[CounterKey] = []
        self.fault: AwsError | None = None
        self.lost = False
        self.hangs = False

    async def add(self, app: str, slot: CounterKey, counters: Counters) -> None:
        self.written.append(slot)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fault is not None and not self.lost:
            raise self.fault
        await super().add(app, slot, counters)
        if self.fault is not None:
            raise self.fault

    async def minutes(self) -> dict[int, Counters]:
        found = await self.read("shop", MINUTE, 0, 10**10, now=NOW)
        return {(slot.time - MOMENT) // MINUTE: counters for slot, counters in found}

    async def hour(self) -> int:
        return sum(counters.started for _, counters in await self.read("shop", HOUR, 0, 10**10, now=NOW))


@pytest.fixture
def store() -> Store:
    return Store()


def meter_of(store: Store, **options: Any) -> Meter:
    return Meter("shop", store, AsyncFlow(ManualClock(NOW)), **options)


def run_one(meter: Meter, at: float, *, seconds: float = 0.0, task: str = "resize") -> None:
    meter.started(task, "default", at, None)
    meter.ended(task, "default", at + seconds, State.SUCCEEDED, seconds=seconds)


def fault() -> AwsError:
    return AwsError("update_item", "ThrottlingException", "slow down", status=400, transient=True)


# -- what is counted --------------------------------------------------------------------------------------------------


async def counted(harness: EngineHarness, **options: Any) -> Counters:
    meter = (await harness.executor()).meter
    assert meter is not None
    await meter.flush(harness.clock.time(), everything=True)
    return await harness.app.metrics.atotals(**options)


async def test_a_success_is_counted_with_its_duration_and_its_wait() -> None:
    harness = EngineHarness()

    @harness.task(name="work")
    async def work() -> None:
        harness.clock.travel(0.3)

    harness.clock.travel(2)  # since the enqueue
    await harness.run(work)

    counters = await counted(harness, task="work", queue="default")
    assert (counters.started, counters.succeeded, counters.ended) == (1, 1, 1)
    assert (counters.duration, counters.longest, counters.timed) == (pytest.approx(0.3), pytest.approx(0.3), 1)
    assert (counters.waits, counters.wait) == (1, pytest.approx(2))
    assert counters.histogram.index(1) == 6  # up to 0.5 s


async def test_a_delayed_task_waits_from_the_time_it_was_wanted_for() -> None:
    harness = EngineHarness()

    @harness.task(name="work")
    async def work() -> None: ...

    harness.clock.travel(70)
    await harness.run(work, not_before=NOW + 60)
    assert (await counted(harness)).wait == pytest.approx(10)


async def test_a_retry_and_its_end_are_counted_and_only_the_first_attempt_has_waited() -> None:
    harness = EngineHarness()

    @harness.task(name="work", retry=Retry(max_attempts=2, backoff=1, jitter="none"))
    async def work() -> None:
        raise ValueError

    await harness.run(work)
    harness.clock.travel(30)
    await harness.process(delivery(work, receive_count=2))

    counters = await counted(harness)
    assert (counters.started, counters.retried, counters.failed, counters.succeeded) == (2, 1, 1, 0)
    assert (counters.waits, counters.timed, counters.ended) == (1, 2, 1)


@pytest.mark.parametrize("record", ["none", "finished", "started"])
async def test_every_level_of_recording_is_counted(record: str) -> None:
    harness = EngineHarness(metrics=True)

    @harness.task(name="work", record=record)
    async def work() -> None: ...

    await harness.run(work)
    assert ((await counted(harness)).started, (await counted(harness)).succeeded) == (1, 1)


@pytest.mark.parametrize("record", ["none", "started"])
async def test_a_task_that_came_too_late_is_counted_as_expired_and_not_as_started(record: str) -> None:
    harness = EngineHarness(metrics=True)

    @harness.task(name="work", record=record)
    async def work() -> None: ...

    harness.clock.travel(10)
    await harness.run(work, expires_at=NOW + 5)
    assert await counted(harness) == Counters(expired=1)


async def test_arguments_that_do_not_fit_are_a_failure_without_a_start() -> None:
    harness = EngineHarness()

    @harness.task(name="work")
    async def work(count: int) -> None: ...

    await harness.process(delivery(work, "many", receive_count=10))
    assert await counted(harness) == Counters(failed=1)


async def test_a_task_whose_worker_died_at_its_last_attempt_is_a_failure() -> None:
    harness = EngineHarness()
    results = harness.results

    @harness.task(name="work", retry=Retry(max_attempts=1))
    async def work() -> None:
        results.fail("finish", AwsError("update_item", "ValidationException", "no", status=400))

    await harness.run(work)  # its end could not be stored
    assert (await counted(harness)).ended == 0
    harness.clock.travel(120)
    await harness.process(delivery(work, receive_count=2))
    counters = await counted(harness)
    assert (counters.started, counters.failed) == (1, 1)


async def test_a_cancel_that_came_while_the_task_failed_is_counted_as_that() -> None:
    harness = EngineHarness()

    @harness.task(name="work")
    async def work() -> None:
        await harness.results.cancel("task-1", task="work", queue="default", now=harness.clock.time(), ttl=NOW + 10**6)
        raise ValueError

    await harness.run(work)
    counters = await counted(harness)
    assert (counters.cancelled, counters.retried, counters.timed) == (1, 0, 1)


async def test_a_firing_that_is_skipped_is_counted_as_that(store: Store) -> None:
    meter = meter_of(store)
    meter.ended("nightly", "default", NOW, State.CANCELLED, "overlap")
    await meter.flush(NOW, everything=True)
    assert await store.minutes() == {0: Counters(skipped=1)}


async def test_a_clock_that_is_set_back_makes_no_negative_duration(store: Store) -> None:
    meter = meter_of(store)
    run_one(meter, NOW + 30, seconds=-5)
    await meter.flush(NOW + 30, everything=True)
    assert (await store.minutes())[0].duration == 0


async def test_an_attempt_counts_where_it_starts_and_where_it_ends(store: Store) -> None:
    meter = meter_of(store)
    meter.started("resize", "default", NOW + 50, None)
    await meter.flush(NOW + 61)
    meter.ended("resize", "default", NOW + 140, State.FAILED, seconds=90)
    await meter.flush(NOW + 180)
    minutes = await store.minutes()
    assert set(minutes) == {0, 2}
    assert minutes[0] == Counters(started=1)
    assert (minutes[2].started, minutes[2].failed, minutes[2].longest) == (0, 1, 90)


async def test_what_ends_in_the_minute_that_was_just_written_is_not_lost(store: Store) -> None:
    meter = meter_of(store)
    meter.started("resize", "default", NOW + 10, None)
    await meter.flush(NOW + 11, everything=True)
    meter.ended("resize", "default", NOW + 12, State.SUCCEEDED, seconds=2)
    await meter.flush(NOW + 13, everything=True)
    assert ((await store.minutes())[0].started, (await store.minutes())[0].succeeded) == (1, 1)


# -- when it is written -----------------------------------------------------------------------------------------------


async def test_nothing_is_written_while_nothing_happens(store: Store) -> None:
    meter = meter_of(store)
    for minute in range(5):
        assert not meter.due(NOW + minute * MINUTE, everything=True)
        await meter.flush(NOW + minute * MINUTE, everything=True)
    assert store.written == []


async def test_a_minute_is_written_once_when_it_is_over(store: Store) -> None:
    meter = meter_of(store, hours_every=300)
    for second in range(0, 600, 5):
        run_one(meter, NOW + second)
        if meter.due(NOW + second):
            await meter.flush(NOW + second)
    minutes = [slot.time for slot in store.written if slot.span == MINUTE]
    assert minutes == [MOMENT + minute * MINUTE for minute in range(9)]
    assert {counters.started for counters in (await store.minutes()).values()} == {12}
    hours = [slot for slot in store.written if slot.span == HOUR]
    assert len(hours) == 2  # with the first, and five minutes later


async def test_an_hour_is_written_whole_as_soon_as_it_is_over(store: Store) -> None:
    meter = meter_of(store, hours_every=10 * HOUR)
    run_one(meter, NOW + 10)
    await meter.flush(NOW + 60)
    assert await store.hour() == 1  # the first time at once
    run_one(meter, NOW + 70)
    await meter.flush(NOW + 120)
    assert await store.hour() == 1
    run_one(meter, NOW + HOUR + 1)
    await meter.flush(NOW + HOUR + 60)
    assert await store.hour() == 2


async def test_at_the_end_everything_is_written(store: Store) -> None:
    meter = meter_of(store, hours_every=10 * HOUR)
    run_one(meter, NOW + 10)
    await meter.flush(NOW + 61)
    run_one(meter, NOW + 62)
    assert not meter.due(NOW + 63)
    assert meter.due(NOW + 63, everything=True)
    await meter.flush(NOW + 63, everything=True)
    assert sum(counters.started for counters in (await store.minutes()).values()) == 2
    assert await store.hour() == 2
    assert not meter.due(NOW + 64, everything=True)


def test_a_minute_is_written_early_only_where_nobody_knows_of_a_next_time(store: Store) -> None:
    meter = meter_of(store)
    assert meter.flush_partial_minute(NOW)
    meter._flushed_at = NOW
    assert not meter.flush_partial_minute(NOW + 59)
    assert meter.flush_partial_minute(NOW + 60)
    run_one(meter, NOW + 30)
    assert not meter.flush_partial_minute(NOW + 60)  # a minute is over, and will be written alone
    assert meter.flush_partial_minute(NOW + 120)


# -- faults -----------------------------------------------------------------------------------------------------------


async def test_what_could_not_be_written_is_kept_and_written_later(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    meter = meter_of(store)
    store.fault = fault()
    for minute in range(3):
        run_one(meter, NOW + minute * MINUTE)
        await meter.flush(NOW + minute * MINUTE + 60)
    assert len(store.written) == 3  # one try each time
    store.fault = None
    await meter.flush(NOW + 240)
    assert [(await store.minutes())[minute].started for minute in range(3)] == [1, 1, 1]
    assert await store.hour() == 3
    said = [record for record in caplog.records if record.name == "taskq_sls.metrics"]
    assert [record.levelno for record in said if record.levelno == logging.WARNING] == [logging.WARNING]


async def test_after_a_fault_the_next_try_waits_longer_and_longer(store: Store) -> None:
    meter = meter_of(store)
    store.fault = fault()
    run_one(meter, NOW)
    now, pauses = NOW + 60, []
    for _ in range(6):
        await meter.flush(now)
        pause = next(seconds for seconds in range(10_000) if meter.due(now + seconds))
        pauses.append(pause)
        now += pause
    assert pauses == [60, 120, 240, 480, 960, LONGEST_PAUSE]
    store.fault = None
    await meter.flush(now)
    run_one(meter, now)
    assert meter.due(now + 60)


async def test_a_lost_answer_may_count_twice_and_loses_nothing(store: Store) -> None:
    meter = meter_of(store)
    run_one(meter, NOW)
    store.fault, store.lost = fault(), True
    await meter.flush(NOW + 60)
    store.fault = None
    await meter.flush(NOW + 180)
    assert (await store.minutes())[0].started == 2


async def test_a_flush_that_is_ended_in_the_middle_loses_nothing(store: Store) -> None:
    meter = meter_of(store)
    run_one(meter, NOW)
    store.hangs = True
    flushing = asyncio.create_task(meter.flush(NOW + 60))
    await asyncio.sleep(0)
    assert store.written
    flushing.cancel()
    await asyncio.wait([flushing])
    store.hangs = False
    await meter.flush(NOW + 61)
    assert ((await store.minutes())[0].started, await store.hour()) == (1, 1)


async def test_two_flushes_at_once_write_nothing_twice(store: Store) -> None:
    meter = meter_of(store)
    for number in range(20):
        run_one(meter, NOW, task=f"task-{number}")
    await asyncio.gather(meter.flush(NOW + 60), meter.flush(NOW + 60, everything=True))
    assert len(store.written) == len(set(store.written)) == 40


async def test_counters_that_cannot_be_written_for_long_do_not_fill_the_memory(store: Store) -> None:
    meter = meter_of(store)
    store.fault = fault()
    for number in range(MOST_KEPT + 10):
        run_one(meter, NOW + number * MINUTE)
    await meter.flush(NOW + 10**6)
    assert len(meter._unwritten) <= MOST_KEPT


# -- switched off -----------------------------------------------------------------------------------------------------


async def test_without_metrics_nothing_is_counted() -> None:
    harness = EngineHarness(metrics=False)

    @harness.task(name="work")
    async def work() -> None: ...

    await harness.run(work)
    assert (await harness.executor()).meter is None
    assert await harness.app.metrics.atotals() == EMPTY


@pytest.mark.parametrize(
    ("given", "variable", "record", "counts"),
    [
        (None, None, "started", True),
        (None, None, "none", False),
        (True, None, "none", True),
        (False, None, "started", False),
        (None, "off", "started", False),
        (None, "on", "none", True),
        (True, "off", "started", True),
        (False, "on", "started", False),
    ],
)
def test_metrics_are_on_where_something_is_recorded_unless_told_otherwise(
    given: bool | None, variable: str | None, record: str, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("TASKQ_METRICS", variable)
    app = TaskQ("shop", metrics=given)

    @app.task(name="work", record=record)
    def work() -> None: ...

    assert app.counts is counts


def test_a_switch_is_on_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="metrics='yes'"):
        TaskQ("shop", metrics="yes")  # type: ignore[arg-type]  # on purpose
    monkeypatch.setenv("TASKQ_METRICS", "perhaps")
    with pytest.raises(ConfigError, match="TASKQ_METRICS='perhaps' must be on or off"):
        _ = TaskQ("shop").counts


def test_tasks_that_run_in_a_test_are_counted_too() -> None:
    app = TaskQ("shop")

    @app.task(name="work")
    def work() -> None: ...

    with in_memory(app) as memory:
        work.enqueue()
        memory.run_until_idle()
        assert app.metrics.totals(task="work").succeeded == 1
