"""Polls of a queue: one when it is idle, as many as the free slots justify while it has a backlog."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import ManualClock, SystemClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.queues import Queue
from taskq_sls.errors import AwsError, ConfigError
from taskq_sls.results.memory import MemoryResults
from taskq_sls.worker.poller import ClaimOutage, Poller
from taskq_sls.worker.slots import Slots
from tests.support.faulty_backends import FaultyResults, denied


class SlowBroker(MemoryBroker):
    """A queue with a backlog, behind a network: polls stay open until the test lets them end."""

    def __init__(self, backlog: int) -> None:
        super().__init__(ManualClock(), [Queue("default")])
        self.backlog = backlog
        self.gate = asyncio.Event()
        self.open = 0
        self.most = 0
        self.waits: list[int] = []
        self.fail = 0
        self.fault: Exception = AwsError("receive_message", "InternalError", "later", status=500, transient=True)

    async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
        self.waits.append(wait)
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.gate.wait()
            if self.fail:
                self.fail -= 1
                raise self.fault
            if not self.backlog and wait:
                await asyncio.Event().wait()
        finally:
            self.open -= 1
        count = min(max_messages, self.backlog)
        self.backlog -= count
        return [Delivery("default", "{}", str(number), str(number), 1, 0.0) for number in range(count)]


def no_outage() -> ClaimOutage:
    return ClaimOutage("default", set(), MemoryResults(), SystemClock())


class PollerHarness:
    def __init__(self, backlog: int, slots: int, outage: ClaimOutage | None = None) -> None:
        outage = outage or no_outage()
        self.broker = SlowBroker(backlog)
        self.slots = Slots(slots, {"default": 1})
        self.got: list[Delivery] = []
        self.poller = Poller(self.broker, "default", 60, 20, self.slots, self.got.extend, outage)
        self.task = asyncio.create_task(self.poller.run())

    async def turns(self, count: int = 20) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def first(self) -> None:
        """Until the first poll has brought its messages."""
        while not self.got:  # noqa: ASYNC110  # what is waited for tells nobody
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.poller.stop()
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture(autouse=True)
def no_gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.worker.slots.GATHER_SECONDS", 0.0)


async def test_an_idle_queue_has_one_poll_open() -> None:
    bench = PollerHarness(backlog=0, slots=100)
    bench.broker.gate.set()
    await bench.turns()
    assert (bench.broker.open, bench.broker.most) == (1, 1)
    await bench.end()


async def test_a_queue_with_a_backlog_has_as_many_as_the_free_slots_justify() -> None:
    bench = PollerHarness(backlog=1000, slots=45)
    bench.broker.gate.set()
    await bench.first()
    bench.broker.gate.clear()
    await bench.turns()
    assert bench.broker.open >= 3
    assert len(bench.got) + 10 * (bench.broker.open - 1) < 45  # what is asked for can all start
    bench.broker.gate.set()
    await bench.turns(100)
    assert len(bench.got) == 45
    assert bench.slots.free == 0
    await bench.end()


async def test_when_the_backlog_is_gone_one_poll_is_left_and_every_slot_free_but_its_own() -> None:
    bench = PollerHarness(backlog=57, slots=100)
    bench.broker.gate.set()
    await bench.turns(100)
    assert len(bench.got) == 57
    bench.slots.release("default", 57)
    await bench.turns(100)
    assert bench.broker.open == 1
    assert bench.slots.free == 90
    await bench.end()


async def test_further_polls_do_not_wait_for_messages() -> None:
    bench = PollerHarness(backlog=57, slots=100)
    bench.broker.gate.set()
    await bench.turns(100)
    assert set(bench.broker.waits) == {0, 20}
    await bench.end()


async def test_a_further_poll_that_fails_gives_its_slots_back_and_ends_nothing() -> None:
    bench = PollerHarness(backlog=1000, slots=30)
    bench.broker.gate.set()
    await bench.turns(3)
    bench.broker.fail = 1
    await bench.turns(100)
    assert len(bench.got) == 30
    assert not bench.task.done()
    await bench.end()


RUBBISH = json.JSONDecodeError("Expecting value", "credentials of a process", 0)


@pytest.mark.parametrize("fault", [RUBBISH, ConfigError("sign in again"), KeyError("odd")])
async def test_after_the_first_good_poll_every_exception_is_a_passing_fault(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq_sls.core.backoff.random.uniform", lambda low, high: 0.0)
    bench = PollerHarness(backlog=5, slots=100)
    bench.broker.fault = fault
    bench.broker.gate.set()
    await bench.first()
    bench.broker.gate.clear()
    await bench.turns()
    bench.broker.fail, bench.broker.backlog = 3, 5
    bench.broker.gate.set()
    while len(bench.got) < 10:  # noqa: ASYNC110  # what is waited for tells nobody
        await asyncio.sleep(0)
    assert not bench.task.done()
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "queue default cannot be polled" in told.getMessage()
    await bench.end()


async def test_the_first_poll_raises_what_no_repeat_mends() -> None:
    bench = PollerHarness(backlog=5, slots=100)
    bench.broker.fail, bench.broker.fault = 1, RUBBISH
    bench.broker.gate.set()
    with pytest.raises(json.JSONDecodeError):
        await bench.task


async def test_a_queue_whose_claims_fail_is_polled_again_when_the_table_takes_a_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FIRST_PROBE_PAUSE_SECONDS", "MAX_PROBE_PAUSE_SECONDS"):
        monkeypatch.setattr(f"taskq_sls.worker.poller.{name}", 0.001)
    results, failing = FaultyResults(), {"default", "other"}
    results.fail("renew", denied(), times=5)
    bench = PollerHarness(5, 100, ClaimOutage("default", failing, results, ManualClock()))
    bench.broker.gate.set()
    async with asyncio.timeout(60):
        while results.calls.count("renew") < 5:  # what is waited for tells nobody
            assert bench.broker.waits == []
            assert bench.poller.outage.active or not results.calls
            await asyncio.sleep(0)
        await bench.first()
    assert failing == {"other"}
    assert not bench.poller.outage.active
    assert results.calls == ["renew"] * 6
    await bench.end()


async def test_a_stop_ends_the_wait_for_the_table() -> None:
    bench = PollerHarness(5, 100, ClaimOutage("default", {"default"}, FaultyResults(), ManualClock()))
    await bench.turns()
    assert bench.poller.outage.active
    bench.poller.stop()
    await asyncio.wait_for(bench.task, 60)
    assert bench.broker.waits == []


async def test_what_further_polls_bring_during_a_stop_is_delivered_before_the_fetcher_ends() -> None:
    bench = PollerHarness(backlog=1000, slots=40)
    bench.broker.gate.set()
    await bench.first()
    bench.broker.gate.clear()
    await bench.turns()
    assert bench.broker.open > 1
    bench.poller.stop()
    bench.slots.close()
    bench.broker.gate.set()
    await asyncio.wait_for(bench.task, 60)
    assert bench.broker.open == 0
    assert len(bench.got) == 40


async def test_what_a_poll_has_brought_starts_before_the_next_poll_is_made() -> None:
    # Making a request computes for a millisecond, and the tasks would wait for it.
    order: list[str] = []

    class Broker(SlowBroker):
        async def receive(self, queue: str, *, max_messages: int, wait: int, visibility: int) -> list[Delivery]:
            order.append("poll")
            return await super().receive(queue, max_messages=max_messages, wait=wait, visibility=visibility)

    async def task() -> None:
        order.append("task")

    broker = Broker(1)
    broker.gate.set()
    slots = Slots(100, {"default": 1})
    started: list[asyncio.Task[None]] = []

    def deliver(deliveries: list[Delivery]) -> None:
        started.append(asyncio.create_task(task()))

    poller = Poller(broker, "default", 60, 20, slots, deliver, no_outage())
    running = asyncio.create_task(poller.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert order == ["poll", "task", "poll"]
    poller.stop()
    running.cancel()
    await asyncio.wait([running])
