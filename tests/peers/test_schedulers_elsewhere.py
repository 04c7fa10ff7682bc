"""What schedulers of other task queues lose or fire twice."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from taskq_sls import TaskQ, cron
from taskq_sls.testing import in_memory
from tests.support.clock_bench import ClockBench, backdate, name_of
from tests.support.waiting import async_until


async def test_a_firing_whose_send_hangs_is_sent_again(clocks: ClockBench) -> None:
    """taskiq#626: a send that hung stopped its schedule."""
    wire = clocks.bench.wire
    wire.fails = lambda operation: operation == "SendMessageBatch" and wire.counts[operation] == 1
    wire.fault = "hang"
    clocks.services = clocks.bench.app.services.new_async(max_attempts=1, read_timeout=3.0)
    async with clocks.ticking():
        await clocks.make("r-tick", "rate(1 minute)")
        await clocks.wait_for("r-tick")
        assert wire.counts["SendMessageBatch"] == 2
        wire.fault = None
    await clocks.services.close()


async def test_a_send_that_hangs_holds_up_no_schedule_of_another_queue(clocks: ClockBench) -> None:
    wire = clocks.bench.wire
    wire.fails = lambda operation: operation == "SendMessageBatch" and wire.counts[operation] == 1
    wire.fault = "hang"
    arn = await clocks.services.broker.queue_arn("default-dlq")
    elsewhere = {"Arn": arn, "RoleArn": "arn:aws:iam::123456789012:role/taskq-scheduler", "Input": "{}"}
    async with clocks.ticking():
        await clocks.raw("hangs", Target=elsewhere)
        await async_until(lambda: wire.counts["SendMessageBatch"] == 1)
        await clocks.make("r-tick", "rate(1 minute)")
        await clocks.wait_for("r-tick")
        assert (await clocks.bench.depth("default-dlq")).visible == 0
        wire.fault = None
        await async_until(lambda: _arrived(clocks, "default-dlq"))


async def test_a_clock_that_is_started_anew_knows_what_was_fired_and_makes_up_for_what_was_not(
    clocks: ClockBench,
) -> None:
    """taskiq#328: elsewhere the last run is kept in memory alone, and what was missed meanwhile is lost."""
    await clocks.make("r-tick", "rate(1 hour)", fields={"misfire": "once"})
    # It last fired two and a half hours ago; no clock has run since.
    backdate(clocks.store.group, "r-tick", 9_000)
    await clocks.last_firings.record("r-tick", int(time.time()) - 9_000, time.time())
    async with clocks.ticking():
        assert [name_of(missed) for missed in await clocks.wait_for("r-tick")] == ["r-tick"]
    async with clocks.ticking() as local:
        await async_until(lambda: local._loader._listed_at > 0 and local._fired_at > 0 and not local._sender._tasks())
        assert await clocks.received() == []


@pytest.mark.parametrize(
    ("zone", "midnight", "time_of_day"),
    [
        ("Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC), "30 2"),
        ("America/New_York", datetime(2026, 11, 1, 4, tzinfo=UTC), "30 1"),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 13, tzinfo=UTC), "45 1"),
    ],
)
def test_an_hour_that_the_clocks_repeat_fires_once(zone: str, midnight: datetime, time_of_day: str) -> None:
    """Elsewhere it fires twice."""
    app = TaskQ("shop")
    runs: list[float] = []

    @app.task(schedule=cron(f"{time_of_day} * * ? *", timezone=zone))
    def job() -> None:
        runs.append(memory.clock.time())

    with in_memory(app, schedules=True, start=midnight.timestamp()) as memory:
        for _ in range(12 * 4):
            memory.travel(900)
            memory.run_until_idle()
        assert len(runs) == 1


async def _arrived(clocks: ClockBench, queue: str) -> bool:
    return bool((await clocks.bench.depth(queue)).visible)
