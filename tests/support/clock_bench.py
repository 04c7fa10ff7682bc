"""An app whose schedules are fired by local clocks over the local AWS."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

from taskq_sls import Queue
from taskq_sls.client.services import Services
from taskq_sls.core.clock import SystemClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.scheduler.local_clock.clock import LocalClock
from tests.support.aws_bench import AwsBench
from tests.support.waiting import async_until

if TYPE_CHECKING:
    from taskq_sls.aws.aio import AsyncAws

MakeBench = Callable[..., AwsBench]

ROLE = "arn:aws:iam::123456789012:role/taskq-scheduler"


class ClockBench:
    """An app that can schedule, and local clocks over its schedules."""

    def __init__(self, bench: AwsBench, services: Services, port: AsyncAws) -> None:
        assert services.schedules is not None
        assert services.last_firings is not None
        self.bench = bench
        self.services = services
        self.port = port
        self.store = services.schedules
        self.last_firings = services.last_firings

    def local_clock(self) -> LocalClock:
        broker, flow = self.services.broker, self.services.flow
        return LocalClock(self.store, self.last_firings, broker, flow, SystemClock())

    @contextlib.asynccontextmanager
    async def ticking(self) -> AsyncIterator[LocalClock]:
        local, stop = self.local_clock(), asyncio.Event()
        serving = asyncio.create_task(local.serve(stop))
        try:
            yield local
            stop.set()
            await asyncio.wait_for(serving, 60)
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

        await async_until(all_there)
        return found


def name_of(delivery: Delivery) -> str:
    return str(json.loads(delivery.body).get("schedule", {}).get("name"))


def backdate(group: str, name: str, seconds: float) -> None:
    """Let a schedule be made so long ago."""
    from moto.scheduler.models import scheduler_backends  # not in the tests that need no moto

    schedule = scheduler_backends["123456789012"]["us-east-1"].schedule_groups[group].schedules[name]
    schedule.creation_date -= seconds
    schedule.last_modified_date -= seconds


@pytest.fixture
async def clocks(make_aws_bench: MakeBench) -> AsyncIterator[ClockBench]:
    from taskq_sls.aws.aio import AsyncAws

    bench = make_aws_bench(Queue("default"), schedule_role_arn=ROLE)
    once: dict[str, Any] = {"max_attempts": 1}  # the port's own tries take long, and are not the subject here
    services, port = bench.app.services.new_async(**once), AsyncAws(SystemClock(), **once)
    made = ClockBench(bench, services, port)
    yield made
    await made.port.close()
    await services.close()
