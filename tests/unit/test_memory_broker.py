"""What moto does not do as SQS does, and the helpers for tests: the in-memory broker alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from taskq_sls.brokers.base import Outgoing
from taskq_sls.brokers.memory import MemoryBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.flow import drive
from taskq_sls.core.queues import Queue
from taskq_sls.errors import ConfigError

DAY = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(clock: ManualClock) -> MemoryBroker:
    return MemoryBroker(clock, ["default", Queue("ledger.fifo", max_receive_count=2)])


def send(broker: MemoryBroker, queue: str, *bodies: str, **options: Any) -> None:
    assert drive(broker.send([Outgoing(queue, body, body, **options) for body in bodies])) == [None] * len(bodies)


def receive(broker: MemoryBroker, queue: str, *, visibility: int = 60, limit: int = 10) -> list[Delivery]:
    return drive(broker.receive(queue, max_messages=limit, wait=20, visibility=visibility))


class TestStaleReceipts:
    def test_an_old_receipt_deletes_nothing(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        [old] = receive(broker, "default")
        clock.travel(60)
        [new] = receive(broker, "default")
        assert drive(broker.ack([old])) == [None]
        assert len(broker.messages("default")) == 1
        assert drive(broker.ack([new])) == [None]
        assert broker.messages("default") == []

    def test_an_old_receipt_hides_nothing(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        [old] = receive(broker, "default")
        clock.travel(60)
        receive(broker, "default", visibility=10)
        [answer] = drive(broker.change_visibility([(old, 1_000)]))
        assert answer is not None
        assert answer.receipt_expired
        clock.travel(10)
        assert len(receive(broker, "default")) == 1

    def test_a_hold_that_has_ended_cannot_be_extended(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        held = receive(broker, "default")
        clock.travel(60)
        [answer] = drive(broker.extend(held, 60))
        assert answer is not None
        assert answer.receipt_expired

    def test_the_latest_receipt_deletes_even_after_its_hold(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        held = receive(broker, "default")
        clock.travel(61)
        assert drive(broker.ack(held)) == [None]
        assert broker.messages("default") == []

    def test_on_fifo_a_delete_after_the_hold_is_settled_and_deletes_nothing(
        self, broker: MemoryBroker, clock: ManualClock
    ) -> None:
        send(broker, "ledger.fifo", "x", group="g")
        held = receive(broker, "ledger.fifo")
        clock.travel(61)
        assert drive(broker.ack(held)) == [None]
        assert len(broker.messages("ledger.fifo")) == 1


class TestTime:
    def test_twelve_hours_count_from_the_receive(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        clock.travel(DAY)
        held = receive(broker, "default", visibility=100)
        assert drive(broker.extend(held, 43_200)) == [None]
        clock.travel(1)
        [answer] = drive(broker.extend(held, 43_200))
        assert answer is not None
        assert answer.over_12_hours

    def test_messages_are_dropped_after_fourteen_days(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "x")
        clock.travel(14 * DAY - 1)
        assert len(receive(broker, "default", visibility=0)) == 1
        clock.travel(1)
        assert receive(broker, "default") == []

    def test_a_deduplication_id_is_remembered_after_the_delete(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "ledger.fifo", "x", group="g", dedup="d")
        drive(broker.ack(receive(broker, "ledger.fifo")))
        clock.travel(299)
        send(broker, "ledger.fifo", "x", group="g", dedup="d")
        assert broker.messages("ledger.fifo") == []
        clock.travel(1)
        send(broker, "ledger.fifo", "x", group="g", dedup="d")
        assert len(broker.messages("ledger.fifo")) == 1

    def test_one_deduplication_id_is_not_forgotten_for_another(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "ledger.fifo", "early", group="g", dedup="early")
        clock.travel(200)
        send(broker, "ledger.fifo", "late", group="g", dedup="late")
        clock.travel(100)
        send(broker, "ledger.fifo", "early", "late", group="g")
        send(broker, "ledger.fifo", "late again", group="g", dedup="late")
        assert [message.body for message in broker.messages("ledger.fifo")] == ["early", "late", "early", "late"]

    def test_a_redriven_message_keeps_its_time_on_standard_only(self, clock: ManualClock) -> None:
        broker = MemoryBroker(clock, [Queue("a", max_receive_count=1), Queue("b.fifo", max_receive_count=1)])
        sent_at = clock.time()
        for queue in ("a", "b.fifo"):
            send(broker, queue, "x", group="g")
            receive(broker, queue)
        clock.travel(100)
        for queue, dead, expected in (("a", "a-dlq", sent_at), ("b.fifo", "b-dlq.fifo", sent_at + 100)):
            assert receive(broker, queue) == []
            assert [delivery.sent_at for delivery in receive(broker, dead)] == [expected]

    def test_a_whole_group_is_redelivered_in_order(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "ledger.fifo", "1", "2", "3", group="g")
        receive(broker, "ledger.fifo")
        clock.travel(60)
        assert [delivery.body for delivery in receive(broker, "ledger.fifo")] == ["1", "2", "3"]


class TestNextVisible:
    def test_an_empty_queue_has_no_next(self, broker: MemoryBroker) -> None:
        assert broker.next_visible_at("default") is None

    def test_it_is_when_a_receive_would_answer(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "default", "later", delay=30)
        send(broker, "default", "held")
        assert broker.next_visible_at("default") == clock.time()
        receive(broker, "default", visibility=100)
        assert broker.next_visible_at("default") == clock.time() + 30

    def test_a_locked_group_is_next_when_its_lock_ends(self, broker: MemoryBroker, clock: ManualClock) -> None:
        send(broker, "ledger.fifo", "1", "2", group="g")
        receive(broker, "ledger.fifo", limit=1, visibility=50)
        assert broker.next_visible_at("ledger.fifo") == clock.time() + 50


class TestBroker:
    def test_without_dead_letter_queues_messages_stay(self, clock: ManualClock) -> None:
        broker = MemoryBroker(clock, [Queue("a", max_receive_count=1)], dead_letter=False)
        send(broker, "a", "x")
        for count in (1, 2, 3):
            [held] = receive(broker, "a", visibility=0)
            assert held.receive_count == count

    def test_queue_names_are_checked(self, clock: ManualClock) -> None:
        with pytest.raises(ConfigError, match="two words"):
            MemoryBroker(clock, ["two words"])

    def test_threads_receive_each_message_once(self, broker: MemoryBroker) -> None:
        send(broker, "default", *(str(number) for number in range(200)))
        received: list[Delivery] = []

        def work() -> None:
            while deliveries := receive(broker, "default", limit=3):
                received.extend(deliveries)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(received) == len({delivery.message_id for delivery in received}) == 200
