"""What the heartbeat's thread does in one look, without the thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from faults import FaultyBroker
from rig import Rig, delivery

from taskq_sls import TaskContext
from taskq_sls.brokers.base import Answer, Outgoing
from taskq_sls.delivery import Delivery, Done
from taskq_sls.flow import BlockingFlow
from taskq_sls.services import Services
from taskq_sls.worker import heartbeat as heartbeat_module
from taskq_sls.worker.heartbeat import Heartbeat
from taskq_sls.worker.holds import Holds

HOLD = 6


class Machine:
    """The monotonic clock that the heartbeat reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(heartbeat_module.time, "monotonic", lambda: self.now)


async def beating(rig: Rig, holds: Holds) -> Heartbeat:
    services = Services(BlockingFlow(rig.clock), lambda: rig.broker, lambda: rig.results, _nothing)
    return Heartbeat(await rig.executor(), holds, {"default": HOLD}, services, rig.clock, lambda context, reason: None)


@pytest.mark.parametrize(("takes", "warned"), [(HOLD / 3, False), (HOLD / 3 + 0.1, True)])
async def test_a_beat_that_takes_longer_than_its_interval_warns(
    takes: float, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig, machine, holds = Rig(), Machine(monkeypatch), Holds()
    await rig.broker.send([Outgoing("default", "held", "a")])
    holds.add(await rig.broker.receive("default", max_messages=1, wait=0, visibility=HOLD))
    extend = FaultyBroker.extend

    async def slowly(broker: FaultyBroker, batch: Sequence[Delivery], seconds: int) -> list[Answer]:
        machine.now += takes
        return await extend(broker, batch, seconds)

    monkeypatch.setattr(FaultyBroker, "extend", slowly)
    heartbeat = await beating(rig, holds)
    machine.now += HOLD / 3
    heartbeat._tick()
    assert [record.levelno for record in caplog.records if record.action == "heartbeat_slow"] == (  # type: ignore[attr-defined]  # all of ours have one
        [logging.WARNING] if warned else []
    )


async def test_progress_told_many_times_between_two_looks_is_one_write_and_none_without_news() -> None:
    rig = Rig()
    told, end = asyncio.Event(), asyncio.Event()

    @rig.task
    async def job(ctx: TaskContext) -> None:
        for done in range(1, 101):
            ctx.progress(done, 100)
        told.set()
        await end.wait()

    running: asyncio.Task[Any] = asyncio.create_task(rig.process(delivery(job)))
    await told.wait()
    heartbeat = await beating(rig, Holds())
    for _ in range(3):
        heartbeat._tick()
    assert rig.results.calls == ["claim", "renew"]
    assert rig.record().progress == (100, 100, None)
    end.set()
    assert await running == Done()


async def _nothing() -> None:
    return
