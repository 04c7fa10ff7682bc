"""The local clock over the local AWS: the real stores, in real time."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime

import pytest

from taskq_sls.errors import MissingResource
from taskq_sls.scheduler.local_clock import retrying
from tests.support.clock_bench import ROLE, ClockBench, backdate, name_of
from tests.support.waiting import async_until


async def test_schedules_that_stand_and_those_made_meanwhile_fire(clocks: ClockBench) -> None:
    await clocks.make("r-before", "rate(1 minute)")
    async with clocks.ticking() as local:
        await clocks.wait_for("r-before")
        at = datetime.fromtimestamp(int(time.time()) + 3, UTC)
        await clocks.make("t-meanwhile", f"at({at:%Y-%m-%dT%H:%M:%S})", delete_after=True)

        [delivery] = await clocks.wait_for("t-meanwhile")

        assert json.loads(delivery.body)["schedule"]["at"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
        assert time.time() >= at.timestamp()
        await async_until(lambda: local.timetable.get("t-meanwhile") is None)
    assert await clocks.store.get("t-meanwhile") is None
    assert set(await clocks.last_firings.read()) == {"r-before"}


async def test_a_change_counts_within_seconds(clocks: ClockBench) -> None:
    async with clocks.ticking() as local:
        await async_until(lambda: local._fired_at > 0)
        await clocks.make("r-new", "rate(1 minute)")
        await clocks.wait_for("r-new")

        await clocks.store.delete("r-new")

        await async_until(lambda: local.timetable.get("r-new") is None, seconds=5)


async def test_a_schedule_of_another_program_is_found_and_its_message_is_sent_as_it_is(clocks: ClockBench) -> None:
    async with clocks.ticking():
        await clocks.raw("foreign")

        await clocks.wait_for("None")


async def test_what_the_clock_cannot_fire_is_told_and_stops_no_other(
    clocks: ClockBench, caplog: pytest.LogCaptureFixture
) -> None:
    await clocks.raw("garbage", ScheduleExpression="cron(garbage)")
    await clocks.raw("nowhere", ScheduleExpressionTimezone="Mars/Base")
    function = {"Arn": "arn:aws:lambda:us-east-1:123456789012:function:f", "RoleArn": ROLE, "Input": "{}"}
    await clocks.raw("function", Target=function)
    await clocks.make("r-good", "rate(1 minute)")
    async with clocks.ticking():
        await clocks.wait_for("r-good")

    for name in ("garbage", "nowhere", "function"):
        assert len([text for text in caplog.messages if f"schedule {name} cannot be fired here" in text]) == 1


async def test_faults_of_the_api_do_not_end_it_and_are_told_once(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrying, "MAX_BACKOFF_SECONDS", 0.5)
    wire = clocks.bench.wire
    async with clocks.ticking() as local:
        await async_until(lambda: local._loader._listed_at > 0)
        wire.fails = lambda operation: operation == "SendMessageBatch"
        wire.fault = "reset"
        await clocks.make("r-tick", "rate(1 minute)")
        await async_until(lambda: told(caplog, "does not take firings"))
        wire.fails = lambda operation: True
        await async_until(lambda: told(caplog, "cannot be read or written"))
        wire.fault = None

        await clocks.wait_for("r-tick")

    assert told(caplog, "does not take firings") == 1


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """How often a fault was told of."""
    return len([text for text in caplog.messages if words in text and text.endswith("retrying")])


async def test_a_start_waits_for_an_api_that_does_not_answer(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retrying, "MAX_BACKOFF_SECONDS", 0.2)
    await clocks.make("r-tick", "rate(1 minute)")
    clocks.bench.wire.fault = "503"
    async with clocks.ticking():
        await async_until(lambda: any("cannot start yet" in text for text in caplog.messages))
        clocks.bench.wire.fault = None
        await clocks.wait_for("r-tick")


async def test_a_clock_that_is_stopped_before_it_has_started_does_not_say_that_it_is_ready(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(retrying, "MAX_BACKOFF_SECONDS", 0.2)
    clocks.bench.wire.fault = "503"
    async with clocks.ticking():
        await async_until(lambda: any("cannot start yet" in text for text in caplog.messages))
    assert any("ended" in text for text in caplog.messages)
    assert not any("ready" in text for text in caplog.messages)


async def test_without_its_group_it_does_not_start(clocks: ClockBench) -> None:
    await clocks.port.client("scheduler").call("delete_schedule_group", Name=clocks.store.group)

    with pytest.raises(MissingResource, match=r"schedule group .* does not exist .* `taskq provision"):
        await clocks.local_clock().serve(asyncio.Event())


async def test_without_the_table_it_does_not_start(clocks: ClockBench) -> None:
    table = clocks.bench.app.settings.table
    await clocks.port.client("dynamodb").call("delete_table", TableName=table)

    with pytest.raises(MissingResource, match=table):
        await clocks.local_clock().serve(asyncio.Event())


async def test_misfires_after_a_downtime_are_up_to_the_policy(clocks: ClockBench) -> None:
    for policy in ("skip", "once", "all"):
        await clocks.make(f"r-{policy}", "rate(1 hour)", fields={"misfire": policy})
        backdate(clocks.store.group, f"r-{policy}", 9_000)
        await clocks.last_firings.record(f"r-{policy}", int(time.time()) - 9_000, time.time())
    async with clocks.ticking() as local:
        await async_until(lambda: len(local.timetable) == 3)
        found = await clocks.wait_for("r-once", "r-all")
        await async_until(lambda: not local._sender._tasks())
        found += await clocks.received()

    assert sorted(map(name_of, found)) == ["r-all", "r-all", "r-once"]
    last = await clocks.last_firings.read()
    assert last["r-all"] == last["r-once"] == pytest.approx(time.time() - 1_800, abs=60)
