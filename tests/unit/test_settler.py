"""Outcomes carried out in batches by the worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from taskq_sls.brokers.base import Answer, EntryError, Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.brokers.settling import visibility_seconds
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import DONE, LOST, DeadLetter, Delivery, Release, RetryIn
from taskq_sls.core.queues import Queue
from taskq_sls.core.schedule_spec import ScheduleSpec
from taskq_sls.core.times import MAX_VISIBILITY_STEP
from taskq_sls.errors import AwsError
from taskq_sls.scheduler.delays import delay_spec
from taskq_sls.scheduler.memory import MemorySchedules
from taskq_sls.worker.in_flight import InFlight
from taskq_sls.worker.settler import Batcher, Settler


class WatchedBroker(MemoryBroker):
    """The broker in memory, which counts calls and may fail them."""

    def __init__(self, *queues: Queue, dead_letter: bool = True) -> None:
        self.clock = ManualClock()
        super().__init__(self.clock, queues or [Queue("default")], dead_letter=dead_letter)
        self.calls: list[tuple[str, int]] = []
        self.faults: dict[str, list[Exception | EntryError]] = {}

    async def ack(self, deliveries: Sequence[Delivery]) -> list[Answer]:
        return await self._watched("ack", super().ack, deliveries)

    async def change_visibility(self, entries: Sequence[tuple[Delivery, int]]) -> list[Answer]:
        return await self._watched("change_visibility", super().change_visibility, entries)

    async def dead_letter(self, entries: Sequence[tuple[Delivery, DeadLetter]]) -> list[Answer]:
        return await self._watched("dead_letter", super().dead_letter, entries)

    async def _watched(self, name: str, call: Callable[..., Any], entries: Sequence[Any]) -> list[Answer]:
        self.calls.append((name, len(entries)))
        faults = self.faults.get(name, [])
        if faults:
            fault = faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return [fault] * len(entries)
        answers: list[Answer] = await call(entries)
        return answers


class SettlerHarness:
    def __init__(self, broker: WatchedBroker) -> None:
        self.broker = broker
        self.in_flight = InFlight()
        self.settler = Settler(broker, self.in_flight)

    async def receive(self, count: int, queue: str = "default", **more: Any) -> list[Delivery]:
        await self.broker.send([Outgoing(queue, f"body {number}", f"id-{number}", **more) for number in range(count)])
        found: list[Delivery] = []
        while len(found) < count:
            found += await self.broker.receive(queue, max_messages=10, wait=0, visibility=60)
        self.in_flight.add(found)
        return found

    def depth(self, queue: str = "default") -> int:
        return len(self.broker.messages(queue))


@pytest.fixture
def bench() -> SettlerHarness:
    return SettlerHarness(WatchedBroker())


@pytest.fixture(autouse=True)
def no_waiting_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None:
        return

    monkeypatch.setattr("taskq_sls.worker.settler.asyncio.sleep", at_once)


THROTTLED = AwsError("delete_message_batch", "ThrottlingException", "slow down", transient=True)
DENIED = EntryError("AccessDenied", "not allowed")


async def test_deletes_share_calls_of_ten(bench: SettlerHarness) -> None:
    for delivery in await bench.receive(25):
        await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()

    assert bench.broker.calls == [("ack", 10), ("ack", 10), ("ack", 5)]
    assert bench.depth() == 0
    assert len(bench.in_flight) == 0


async def test_a_message_is_held_until_it_is_deleted(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, DONE)

    assert len(bench.in_flight) == 1
    await bench.settler.drain()
    assert len(bench.in_flight) == 0


async def test_a_retry_hides_its_message_for_whole_seconds_rounded_up(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)
    now = bench.broker.clock.time()

    await bench.settler.settle(delivery, RetryIn(2.1, "failed"))
    await bench.settler.drain()

    assert bench.broker.next_visible_at("default") == now + 3
    assert len(bench.in_flight) == 0


async def test_what_is_given_back_is_visible_at_once(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, Release(0))
    await bench.settler.drain()

    assert (await bench.broker.depth("default")).visible == 1


async def test_a_retry_leaves_the_hold_table_before_its_message_is_hidden(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, RetryIn(5, "failed"))

    assert bench.in_flight.begin_heartbeat("default") == []
    assert bench.broker.calls == []
    await bench.settler.drain()


async def test_a_lost_message_is_let_go_without_a_call(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, LOST)
    await bench.settler.drain()

    assert bench.broker.calls == []
    assert len(bench.in_flight) == 0
    assert bench.depth() == 1


async def test_a_dead_letter_is_copied_before_it_is_deleted(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, DeadLetter("exhausted", recorded=True))
    await bench.settler.drain()

    assert bench.broker.calls == [("dead_letter", 1), ("ack", 1)]
    [copy] = bench.broker.messages("default-dlq")
    assert copy.attributes["taskq.reason"] == "exhausted"
    assert bench.depth() == 0


@pytest.mark.parametrize("fault", [THROTTLED, DENIED, RuntimeError("a fault of ours")])
async def test_a_message_whose_copy_cannot_be_sent_stays_and_is_held_no_longer(
    bench: SettlerHarness, fault: Exception | EntryError
) -> None:
    [delivery] = await bench.receive(1)
    bench.broker.faults["dead_letter"] = [fault]

    await bench.settler.settle(delivery, DeadLetter("exhausted", recorded=True))
    await bench.settler.drain()

    assert bench.depth() == 1
    assert len(bench.in_flight) == 0
    assert ("ack", 1) not in bench.broker.calls


@pytest.mark.parametrize(("recorded", "left"), [(True, 0), (False, 1)])
async def test_without_a_dead_letter_queue_only_a_recorded_failure_is_done(recorded: bool, left: int) -> None:
    bench = SettlerHarness(WatchedBroker(dead_letter=False))
    [delivery] = await bench.receive(1)

    await bench.settler.settle(delivery, DeadLetter("exhausted", recorded=recorded))
    await bench.settler.drain()

    assert bench.depth() == left
    assert len(bench.in_flight) == 0


@pytest.mark.parametrize("fault", [THROTTLED, EntryError("InternalError", "again", transient=True), RuntimeError("x")])
async def test_a_delete_that_fails_is_tried_again_while_its_message_is_held(
    bench: SettlerHarness, fault: Exception | EntryError
) -> None:
    [delivery] = await bench.receive(1)
    bench.broker.faults["ack"] = [fault, fault]

    await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()

    assert bench.broker.calls == [("ack", 1)] * 3
    assert bench.depth() == 0
    assert len(bench.in_flight) == 0


@pytest.mark.parametrize("fault", [THROTTLED, EntryError("InternalError", "again", transient=True), RuntimeError("x")])
async def test_deletes_that_fail_are_logged_once_and_their_end_too(
    bench: SettlerHarness, caplog: pytest.LogCaptureFixture, fault: Exception | EntryError
) -> None:
    caplog.set_level(logging.INFO)
    bench.broker.faults["ack"] = [fault] * 3

    for delivery in await bench.receive(12):
        await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()

    assert bench.depth() == 0
    assert [record.action for record in caplog.records] == ["ack_fault", "ack_fault_over"]  # type: ignore[attr-defined]  # our extra


async def test_a_delete_that_never_succeeds_is_given_up_and_its_message_let_go(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)
    bench.broker.faults["ack"] = [THROTTLED] * 100

    await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()

    assert bench.depth() == 1
    assert len(bench.in_flight) == 0


async def test_a_delete_that_is_refused_for_good_is_not_repeated(bench: SettlerHarness) -> None:
    [delivery] = await bench.receive(1)
    bench.broker.faults["ack"] = [DENIED]

    await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()

    assert bench.broker.calls == [("ack", 1)]
    assert len(bench.in_flight) == 0


@pytest.mark.parametrize("fault", [DENIED, AwsError("x", "AccessDenied", "not allowed"), RuntimeError("x")])
async def test_visibility_that_cannot_be_changed_is_logged_once_and_its_end_too(
    bench: SettlerHarness, caplog: pytest.LogCaptureFixture, fault: Exception | EntryError
) -> None:
    caplog.set_level(logging.INFO)
    deliveries = await bench.receive(12)
    bench.broker.faults["change_visibility"] = [fault, fault]

    for delivery in deliveries:
        await bench.settler.settle(delivery, RetryIn(1, "failed"))
    await bench.settler.drain()

    assert [record.action for record in caplog.records] == ["hide_fault"]  # type: ignore[attr-defined]  # our extra
    [again] = await bench.receive(1)
    await bench.settler.settle(again, RetryIn(1, "failed"))
    await bench.settler.drain()
    assert caplog.records[-1].action == "hide_fault_over"  # type: ignore[attr-defined]  # our extra


async def test_closing_gives_up_what_waits(bench: SettlerHarness) -> None:
    for delivery in await bench.receive(3):
        await bench.settler.settle(delivery, DONE)

    bench.settler.close()

    assert bench.settler.empty
    assert bench.broker.calls == []


async def test_a_batch_waits_for_others_only_so_long() -> None:
    handed: list[list[int]] = []
    lost: list[int] = []

    async def handle(items: list[int]) -> None:
        handed.append(items)

    batcher: Batcher[int] = Batcher(handle, delay=0.0, lost=lost.extend)
    batcher.add(1)
    batcher.add(2)
    assert not batcher.empty

    await batcher.drain()

    assert handed == [[1, 2]]
    assert lost == []


def test_a_retry_beyond_what_visibility_allows_hops() -> None:
    assert visibility_seconds(RetryIn(10**6, "failed")) == MAX_VISIBILITY_STEP
    assert visibility_seconds(RetryIn(-1, "failed")) == 0
    assert visibility_seconds(Release(0)) == 0


async def test_a_retry_beyond_the_twelve_hours_of_sqs_is_hidden_for_as_long_as_sqs_allows(
    bench: SettlerHarness,
) -> None:
    [delivery] = await bench.receive(1)
    beyond = EntryError("InvalidParameterValue", "beyond the limit", over_12_hours=True)
    bench.broker.faults["change_visibility"] = [beyond, beyond]

    await bench.settler.settle(delivery, RetryIn(40_000, "failed"))
    await bench.settler.drain()

    due = bench.broker.next_visible_at("default")
    assert due is not None
    assert due - bench.broker.clock.time() == 39_600 // 4


# -- retries that the queue cannot keep -------------------------------------------------------------------------


LATER = delay_spec(
    id="id-0", run=0, attempt=1, due=1_800_200_000, now=1_800_000_000, queue="default", group=None, body="{}"
)


class BrokenSchedules(MemorySchedules):
    async def create(self, spec: ScheduleSpec) -> bool:
        raise AwsError("create_schedule", "InternalServerException", "later", status=500, transient=True)


def with_schedules(schedules: MemorySchedules) -> SettlerHarness:
    bench = SettlerHarness(WatchedBroker())
    bench.settler = Settler(bench.broker, bench.in_flight, lambda: schedules)
    return bench


async def test_a_message_is_held_until_its_schedule_stands_and_then_deleted() -> None:
    schedules = MemorySchedules(ManualClock(), "shop")
    bench = with_schedules(schedules)
    [delivery] = await bench.receive(1)
    await bench.settler.settle(delivery, RetryIn(200_000, "failed", LATER))
    assert len(bench.in_flight) == 1
    await bench.settler.drain()
    assert bench.broker.calls == [("ack", 1)]
    assert await schedules.get(LATER.name) is not None


async def test_a_message_whose_schedule_cannot_be_made_is_hidden_and_stays() -> None:
    bench = with_schedules(BrokenSchedules(ManualClock(), "shop"))
    [delivery] = await bench.receive(1)
    await bench.settler.settle(delivery, RetryIn(200_000, "failed", LATER))
    await bench.settler.drain()
    assert bench.broker.calls == [("change_visibility", 1)]
    assert bench.broker.next_visible_at("default") == bench.broker.clock.time() + MAX_VISIBILITY_STEP
    assert len(bench.in_flight) == 0


async def test_a_batch_that_other_code_cancels_is_held_no_longer(bench: SettlerHarness) -> None:
    for delivery in await bench.receive(10):
        await bench.settler.settle(delivery, DONE)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await bench.settler.drain()
    assert bench.settler.empty
    assert len(bench.in_flight) == 0
    assert bench.depth() == 10


async def test_a_batch_that_fails_in_an_odd_way_is_held_no_longer(
    bench: SettlerHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_answers(broker: WatchedBroker, deliveries: Sequence[Delivery]) -> list[Answer]:
        return []

    monkeypatch.setattr(WatchedBroker, "ack", no_answers)
    for delivery in await bench.receive(10):
        await bench.settler.settle(delivery, DONE)
    await bench.settler.drain()
    assert len(bench.in_flight) == 0
    assert [record.getMessage() for record in caplog.records] == ["a batch of outcomes was not carried out"]


async def test_a_message_stays_in_flight_until_its_delete_has_succeeded(
    bench: SettlerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its visibility timeout could end before the delete is tried again, and another worker would run it."""
    [received] = await bench.receive(1)
    bench.broker.faults["ack"] = [THROTTLED, EntryError("ThrottlingException", "slow down", transient=True)]
    in_flight: list[int] = []
    delete = bench.broker.ack

    async def watched(deliveries: Sequence[Delivery]) -> list[Answer]:
        in_flight.append(len(bench.in_flight))
        answers = await delete(deliveries)
        in_flight.append(len(bench.in_flight))
        return answers

    monkeypatch.setattr(bench.broker, "ack", watched)
    await bench.settler.settle(received, DONE)
    await bench.settler.drain()
    # Before each of the three tries, and after the answers of the last two.
    assert in_flight == [1, 1, 1, 1, 1]
    assert len(bench.in_flight) == 0
    assert bench.depth() == 0
