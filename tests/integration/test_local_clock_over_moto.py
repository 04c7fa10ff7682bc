"""The local clock over the local AWS: the real stores, in real time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.scheduler.models import scheduler_backends

from taskq_sls import Queue
from taskq_sls.aws.aio import AsyncAws
from taskq_sls.clock import SystemClock
from taskq_sls.delivery import Delivery
from taskq_sls.errors import MissingResource
from taskq_sls.scheduler import local_clock, repeating
from taskq_sls.scheduler.local_clock import LocalClock
from taskq_sls.scheduler.specs import ScheduleSpec
from taskq_sls.services import Services
from tests.support.aws_bench import AwsBench, until

ROLE = "arn:aws:iam::123456789012:role/taskq-scheduler"

MakeBench = Callable[..., AwsBench]


class ClockBench:
    """An app that can schedule, and local clocks over its schedules."""

    def __init__(self, bench: AwsBench, services: Services, port: AsyncAws) -> None:
        assert services.schedules is not None
        assert services.notes is not None
        self.bench = bench
        self.services = services
        self.port = port
        self.store = services.schedules
        self.notes = services.notes

    def local_clock(self) -> LocalClock:
        dead_letters = self.bench.app.settings.queue_name("schedules-dlq")
        return LocalClock(
            self.store, self.notes, self.port.client("sqs"), dead_letters, self.services.flow, SystemClock()
        )

    @contextlib.asynccontextmanager
    async def ticking(self) -> AsyncIterator[LocalClock]:
        local, stop = self.local_clock(), asyncio.Event()
        serving = asyncio.create_task(local.serve(stop))
        try:
            yield local
            stop.set()
            await asyncio.wait_for(serving, 20)
        finally:
            serving.cancel()
            await asyncio.wait([serving])

    async def make(self, name: str, expression: str, **more: Any) -> None:
        fields = {"name": name, "group": self.store.group, "at": "<aws.scheduler.scheduled-time>"}
        body = json.dumps({"v": 1, "task": "shop:tick", "schedule": {**fields, **more.pop("fields", {})}})
        assert await self.store.create(ScheduleSpec(name, expression, "UTC", "default", body, **more))

    async def raw(self, name: str, **parameters: Any) -> None:
        """A schedule that is not ours."""
        target = {"Arn": await self.services.broker.queue_arn("default"), "RoleArn": ROLE, "Input": "{}"}
        await self.port.client("scheduler").call(
            "create_schedule",
            **{
                "Name": name,
                "GroupName": self.store.group,
                "ScheduleExpression": "rate(1 minute)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": target,
                **parameters,
            },
        )

    async def received(self) -> list[Delivery]:
        return await self.services.broker.receive("default", max_messages=10, wait=0, visibility=600)

    async def wait_for(self, *names: str) -> list[Delivery]:
        """The messages in the queue, once every schedule has one."""
        found: list[Delivery] = []

        async def all_there() -> bool:
            found.extend(await self.received())
            return set(names) <= {name_of(delivery) for delivery in found}

        await until(all_there)
        return found


def name_of(delivery: Delivery) -> str:
    return str(json.loads(delivery.body).get("schedule", {}).get("name"))


@pytest.fixture
async def clocks(make_aws_bench: MakeBench) -> AsyncIterator[ClockBench]:
    bench = make_aws_bench(Queue("default"), schedule_role_arn=ROLE)
    once = {"max_attempts": 1}  # the port's own tries take long, and are not the subject here
    services, port = bench.app.services.new_async(**once), AsyncAws(SystemClock(), **once)
    yield ClockBench(bench, services, port)
    await port.close()
    await services.close()


async def test_schedules_that_stand_and_those_made_meanwhile_fire(clocks: ClockBench) -> None:
    await clocks.make("r-before", "rate(1 minute)")
    async with clocks.ticking() as local:
        await clocks.wait_for("r-before")
        at = datetime.fromtimestamp(int(time.time()) + 2, UTC)
        await clocks.make("t-meanwhile", f"at({at:%Y-%m-%dT%H:%M:%S})", delete_after=True)

        [delivery] = await clocks.wait_for("t-meanwhile")

        assert json.loads(delivery.body)["schedule"]["at"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
        assert time.time() >= at.timestamp()
        await until(lambda: local.agenda.get("t-meanwhile") is None)
    assert await clocks.store.get("t-meanwhile") is None
    assert set(await clocks.notes.last_fired()) == {"r-before"}
    assert await clocks.notes.clock_alive(time.time())


async def test_a_change_by_the_api_counts_before_the_next_listing(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_clock, "FEW", -1)
    async with clocks.ticking() as local:
        await until(lambda: local._listings == 1)
        await clocks.make("r-new", "rate(1 minute)")

        await clocks.wait_for("r-new")
        await clocks.store.delete("r-new")
        await until(lambda: local.agenda.get("r-new") is None)

        assert local._listings == 1


async def test_a_change_by_somebody_else_is_found_by_the_next_listing(clocks: ClockBench) -> None:
    async with clocks.ticking() as local:
        await until(lambda: local._listings == 1)
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
    monkeypatch.setattr(repeating, "LONGEST_BACKOFF", 0.5)
    wire = clocks.bench.wire
    async with clocks.ticking() as local:
        await until(lambda: local._listings == 1)
        wire.fails = lambda operation: operation == "SendMessageBatch"
        wire.fault = "reset"
        await clocks.make("r-tick", "rate(1 minute)")
        await until(lambda: told(caplog, "does not take firings"))
        wire.fails = lambda operation: True
        await until(lambda: told(caplog, "cannot be read or written"))
        wire.fault = None

        await clocks.wait_for("r-tick")

    assert told(caplog, "does not take firings") == 1


def told(caplog: pytest.LogCaptureFixture, words: str) -> int:
    """How often a fault was told of."""
    return len([text for text in caplog.messages if words in text and text.endswith("retrying")])


async def test_a_start_waits_for_an_api_that_does_not_answer(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repeating, "LONGEST_BACKOFF", 0.2)
    await clocks.make("r-tick", "rate(1 minute)")
    clocks.bench.wire.fault = "503"
    async with clocks.ticking():
        await until(lambda: any("cannot start yet" in text for text in caplog.messages))
        clocks.bench.wire.fault = None
        await clocks.wait_for("r-tick")


async def test_a_clock_that_is_stopped_before_it_has_started_does_not_say_that_it_is_ready(
    clocks: ClockBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(repeating, "LONGEST_BACKOFF", 0.2)
    clocks.bench.wire.fault = "503"
    async with clocks.ticking():
        await until(lambda: any("cannot start yet" in text for text in caplog.messages))
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
        await clocks.notes.fired(f"r-{policy}", int(time.time()) - 9_000, time.time())
    async with clocks.ticking() as local:
        await until(lambda: local._listings == 1)
        found = await clocks.wait_for("r-once", "r-all")
        await until(lambda: not local._sender._tasks())
        found += await clocks.received()

    assert sorted(map(name_of, found)) == ["r-all", "r-all", "r-once"]
    last = await clocks.notes.last_fired()
    assert last["r-all"] == last["r-once"] == pytest.approx(time.time() - 1_800, abs=60)


def backdate(group: str, name: str, seconds: float) -> None:
    """Let a schedule be made so long ago."""
    schedule = scheduler_backends["123456789012"]["us-east-1"].schedule_groups[group].schedules[name]
    schedule.creation_date -= seconds
    schedule.last_modified_date -= seconds
