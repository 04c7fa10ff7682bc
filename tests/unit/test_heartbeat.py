"""What the heartbeat's thread does in one look, without the thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from taskq_sls import Queue, State, TaskContext
from taskq_sls.brokers.base import Answer, EntryError, Outgoing
from taskq_sls.client.services import Services
from taskq_sls.core.context import Progress
from taskq_sls.core.delivery import Delivery, Done
from taskq_sls.core.flow import BlockingFlow
from taskq_sls.errors import AwsError
from taskq_sls.worker.heartbeat import Heartbeat
from taskq_sls.worker.in_flight import InFlight
from tests.support.engine_harness import EngineHarness, delivery
from tests.support.faulty_backends import FaultyBroker

HOLD = 6


class Machine:
    """The monotonic clock that the heartbeat reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("taskq_sls.worker.heartbeat.time.monotonic", lambda: self.now)


async def beating(harness: EngineHarness, in_flight: InFlight, visibility_timeout: int = HOLD) -> Heartbeat:
    services = Services(BlockingFlow(harness.clock), lambda: harness.broker, lambda: harness.results, _nothing)
    return Heartbeat(
        await harness.executor(),
        in_flight,
        {"default": visibility_timeout},
        services,
        harness.clock,
        lambda context, reason: None,
    )


@pytest.mark.parametrize(("takes", "warned"), [(HOLD / 3, False), (HOLD / 3 + 0.1, True)])
async def test_a_beat_that_takes_longer_than_its_interval_warns(
    takes: float, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness, machine, in_flight = EngineHarness(), Machine(monkeypatch), InFlight()
    await harness.broker.send([Outgoing("default", "held", "a")])
    in_flight.add(await harness.broker.receive("default", max_messages=1, wait=0, visibility=HOLD))
    extend = FaultyBroker.extend

    async def slowly(broker: FaultyBroker, batch: Sequence[Delivery], seconds: int) -> list[Answer]:
        machine.now += takes
        return await extend(broker, batch, seconds)

    monkeypatch.setattr(FaultyBroker, "extend", slowly)
    heartbeat = await beating(harness, in_flight)
    machine.now += HOLD / 3
    heartbeat._check()
    assert [record.levelno for record in caplog.records if record.action == "heartbeat_slow"] == (  # type: ignore[attr-defined]  # all of ours have one
        [logging.WARNING] if warned else []
    )


async def test_progress_told_many_times_between_two_looks_is_one_write_and_none_without_news() -> None:
    harness = EngineHarness()
    told, end = asyncio.Event(), asyncio.Event()

    @harness.task
    async def job(ctx: TaskContext) -> None:
        for done in range(1, 101):
            ctx.progress(done, 100)
        told.set()
        await end.wait()

    running: asyncio.Task[Any] = asyncio.create_task(harness.process(delivery(job)))
    await told.wait()
    heartbeat = await beating(harness, InFlight())
    for _ in range(3):
        heartbeat._check()
    assert harness.results.calls == ["claim", "renew"]
    assert harness.record().progress == (100, 100, None)
    end.set()
    assert await running == Done()


class Running:
    """Attempts that wait in their function, each beyond a third of its lease, under a heartbeat."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.harness = EngineHarness(queues=[Queue("default", visibility_timeout=HOLD)])
        self.machine = Machine(monkeypatch)
        self.end = asyncio.Event()
        self.contexts: dict[str, TaskContext] = {}
        self.outcomes: list[asyncio.Task[Any]] = []

        @self.harness.task(name="job")
        async def job(ctx: TaskContext) -> None:
            self.contexts[ctx.id] = ctx
            await self.end.wait()

        self.job = job

    async def start(self, *ids: str, after: float = HOLD) -> Heartbeat:
        for id in ids:
            self.outcomes.append(asyncio.create_task(self.harness.process(delivery(self.job, id=id))))
        while len(self.contexts) < len(ids):  # noqa: ASYNC110  # tasks tell nobody that they have begun
            await asyncio.sleep(0)
        heartbeat = await beating(self.harness, InFlight())
        self.pass_time(after)
        return heartbeat

    def pass_time(self, seconds: float) -> None:
        self.machine.now += seconds
        self.harness.clock.travel(seconds)

    def lease(self, id: str) -> float:
        return self.harness.record(id).lease_until or 0.0

    async def finish(self) -> list[Any]:
        self.end.set()
        return await asyncio.gather(*self.outcomes)


async def test_an_attempt_that_cannot_be_renewed_keeps_no_other_from_its_renewal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("bad", "good")
    renew = type(running.harness.results).renew
    before = running.lease("bad")

    async def refuse(results: Any, fence: Any, **more: Any) -> Any:
        if fence.id == "bad":
            raise TypeError("an odd fault")
        return await renew(results, fence, **more)

    monkeypatch.setattr(type(running.harness.results), "renew", refuse)
    running.pass_time(HOLD)
    heartbeat._check()
    assert heartbeat.live(running.machine.now)
    assert running.lease("bad") == before
    assert running.lease("good") == running.harness.clock.time() + HOLD
    assert await running.finish() == [Done(), Done()]


@pytest.mark.parametrize(
    "refusal", [TypeError("no text"), AwsError("update_item", "ValidationException", "item size", status=400)]
)
async def test_progress_that_the_table_refuses_does_not_end_the_lease(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1")
    running.contexts["task-1"].progress(1, 10)
    running.harness.results.fail("renew", refusal)
    heartbeat._check()
    assert running.lease("task-1") == running.harness.clock.time() + HOLD
    assert heartbeat.live(running.machine.now)
    assert [record.action for record in caplog.records if record.levelno >= logging.WARNING] == ["progress_fault"]  # type: ignore[attr-defined]  # all of ours have one
    heartbeat._check()
    assert running.harness.results.calls.count("renew") == 2  # the refused progress is not tried again
    assert await running.finish() == [Done()]


async def test_progress_of_other_types_fails_neither_a_beat_nor_the_end_of_its_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1")
    running.contexts["task-1"]._execution.progress = Progress(1, 10, 5)  # type: ignore[arg-type]  # past the check of `progress`
    heartbeat._check()
    assert running.lease("task-1") == running.harness.clock.time() + HOLD
    assert await running.finish() == [Done()]
    assert running.harness.record().status is State.SUCCEEDED


async def test_a_queue_that_cannot_be_extended_keeps_no_lease_from_its_renewal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1")
    await running.harness.broker.send([Outgoing("default", "held", "a")])
    heartbeat._in_flight.add(await running.harness.broker.receive("default", max_messages=1, wait=0, visibility=HOLD))

    async def refuse(broker: FaultyBroker, batch: Sequence[Delivery], seconds: int) -> list[Answer]:
        raise ValueError("rubbish")

    monkeypatch.setattr(FaultyBroker, "extend", refuse)
    heartbeat._check()
    assert running.lease("task-1") == running.harness.clock.time() + HOLD
    assert await running.finish() == [Done()]


async def test_a_wall_clock_that_is_set_back_ends_neither_renewals_nor_the_sight_of_a_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1")
    stopped: list[str] = []
    monkeypatch.setattr(heartbeat, "_stop_attempt", lambda context, reason: stopped.append(reason))
    true_time = running.harness.clock.time()
    running.harness.clock._now -= 3_600
    for _ in range(3):
        heartbeat._check()
        # To a worker whose clock was not set the lease has not ended.
        assert running.lease("task-1") == true_time + HOLD
        running.pass_time(HOLD / 3)
        true_time += HOLD / 3
    await running.harness.results.cancel("task-1", task="job", queue="default", now=true_time, ttl=true_time + 9e6)
    heartbeat._check()
    assert stopped == ["cancelled"]
    assert await running.finish() == [Done()]


async def test_an_attempt_is_renewed_at_once_after_the_machine_has_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1")
    heartbeat._check()
    running.harness.clock.travel(HOLD)  # the monotonic clock stands still
    heartbeat._check()
    assert running.lease("task-1") == running.harness.clock.time() + HOLD
    assert await running.finish() == [Done()]


async def _nothing() -> None:
    return


@pytest.mark.parametrize("visibility_timeout", [6, 60, 600])
@pytest.mark.parametrize("fault", [ConnectionError("no answer"), EntryError("InternalError", "busy", transient=True)])
async def test_a_heartbeat_that_failed_is_repeated_long_before_the_next_one_would_be(
    fault: Exception | EntryError, visibility_timeout: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, machine, in_flight = EngineHarness(), Machine(monkeypatch), InFlight()
    await harness.broker.send([Outgoing("default", "held", "a")])
    in_flight.add(await harness.broker.receive("default", max_messages=1, wait=0, visibility=visibility_timeout))
    extended: list[float] = []

    async def fail(broker: FaultyBroker, batch: Sequence[Delivery], seconds: int) -> list[Answer]:
        extended.append(machine.now)
        if isinstance(fault, Exception):
            raise fault
        return [fault] * len(batch)

    monkeypatch.setattr(FaultyBroker, "extend", fail)
    heartbeat = await beating(harness, in_flight, visibility_timeout)
    machine.now = first = machine.now + visibility_timeout / 3
    heartbeat._check()
    machine.now = second = first + min(5.0, visibility_timeout / 12)
    heartbeat._check()
    assert extended == [first, second]


@pytest.mark.parametrize("clock", ["both", "wall", "monotonic"])
async def test_a_lease_is_renewed_when_a_third_of_it_has_passed_by_either_clock(
    clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two renewals may fail before it ends. The wall clock may be set back; the other one stops in a machine's sleep."""
    running = Running(monkeypatch)
    heartbeat = await running.start("task-1", after=0)
    claimed = running.lease("task-1")

    def pass_time(seconds: float) -> None:
        if clock != "monotonic":
            running.harness.clock.travel(seconds)
        if clock != "wall":
            running.machine.now += seconds

    pass_time(HOLD / 3 - 0.1)
    heartbeat._check()
    assert running.lease("task-1") == claimed
    pass_time(0.1)
    heartbeat._check()
    assert running.lease("task-1") == pytest.approx(claimed + HOLD / 3, rel=0, abs=0.01)
    assert await running.finish() == [Done()]
