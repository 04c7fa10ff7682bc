"""What every broker does, in memory and on SQS (moto) through each port."""

from __future__ import annotations

import asyncio

import pytest

from taskq_sls.brokers import dead_letters
from taskq_sls.brokers.base import MAX_BODY_BYTES, MAX_VISIBILITY, EntryError, Outgoing, QueueDepth
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.message import ErrorInfo, Message, decode
from taskq_sls.errors import MissingResource, PayloadTooLarge
from tests.support.broker_fixtures import BrokerBench


def bodies(deliveries: list[Delivery]) -> list[str]:
    return [delivery.body for delivery in deliveries]


def failure(answer: EntryError | None) -> EntryError:
    assert answer is not None
    return answer


class TestSending:
    async def test_a_message_arrives_as_it_was_sent(self, broker_bench: BrokerBench) -> None:
        sent_at = broker_bench.clock.time()
        await broker_bench.send("default", "höllo \U0001f980 \t\r\n end")
        [delivery] = await broker_bench.receive("default")
        assert delivery.body == "höllo \U0001f980 \t\r\n end"
        assert delivery.queue == "default"
        assert delivery.receive_count == 1
        assert delivery.sent_at == pytest.approx(sent_at, abs=0.001)
        assert delivery.message_id
        assert delivery.receipt

    async def test_a_queue_is_named_by_its_arn_too_and_attributes_arrive(self, broker_bench: BrokerBench) -> None:
        arn = await broker_bench.broker.queue_arn("default")
        message = Outgoing(arn, "one", "1", attributes={"ERROR_CODE": "Gone", "TARGET_ARN": arn})
        assert await broker_bench.broker.send([message]) == [None]
        [delivery] = await broker_bench.receive("default")
        assert delivery.attributes == {"ERROR_CODE": "Gone", "TARGET_ARN": arn}
        with pytest.raises(MissingResource, match="nowhere"):
            await broker_bench.broker.send([Outgoing(f"{arn.rpartition(':')[0]}:nowhere", "two", "2")])

    async def test_more_than_ten_messages_go_in_several_batches(self, broker_bench: BrokerBench) -> None:
        sent = [f"message {number}" for number in range(37)]
        await broker_bench.send("default", *sent)
        assert sorted(bodies(await broker_bench.drain("default"))) == sorted(sent)

    async def test_messages_go_to_the_queue_they_name(self, broker_bench: BrokerBench) -> None:
        answers = await broker_bench.broker.send(
            [
                Outgoing("default", "one", "1"),
                Outgoing("alone", "two", "2"),
                Outgoing("ledger.fifo", "three", "3", group="g", dedup="3"),
                Outgoing("default", "four", "4"),
            ]
        )
        assert answers == [None] * 4
        assert sorted(bodies(await broker_bench.drain("default"))) == ["four", "one"]
        assert bodies(await broker_bench.drain("alone")) == ["two"]
        assert bodies(await broker_bench.drain("ledger.fifo")) == ["three"]

    async def test_large_messages_are_packed_by_bytes(self, broker_bench: BrokerBench) -> None:
        # Three of these are over one batch's bytes, yet far below its characters.
        sent = [f"{number}" + "ä" * 200_000 for number in range(5)]
        await broker_bench.send("default", *sent)
        assert sorted(bodies(await broker_bench.drain("default"))) == sent

    async def test_a_body_of_exactly_the_limit_is_accepted(self, broker_bench: BrokerBench) -> None:
        body = "ä" * (MAX_BODY_BYTES // 2)
        await broker_bench.send("default", body)
        assert bodies(await broker_bench.drain("default")) == [body]

    async def test_a_body_above_the_limit_in_bytes_sends_nothing(self, broker_bench: BrokerBench) -> None:
        large = "ä" * (MAX_BODY_BYTES // 2) + "!"
        with pytest.raises(PayloadTooLarge, match=r"task big: .* 1,048,577 bytes .* 1,048,576"):
            await broker_bench.broker.send([Outgoing("default", "small", "small"), Outgoing("default", large, "big")])
        assert await broker_bench.receive("default") == []

    async def test_an_illegal_character_is_refused_alone(self, broker_bench: BrokerBench) -> None:
        characters = ["\x00", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"]
        messages = [Outgoing("default", f"x{character}", "bad") for character in characters]
        answers = await broker_bench.broker.send(
            [Outgoing("default", "first", "1"), *messages, Outgoing("default", "last", "2")]
        )
        assert answers[0] is answers[-1] is None
        for character, answer in zip(characters, answers[1:-1], strict=True):
            assert failure(answer).code == "InvalidMessageContents"
            assert f"U+{ord(character):04X} at 1" in failure(answer).message
            assert not failure(answer).transient
        assert sorted(bodies(await broker_bench.drain("default"))) == ["first", "last"]

    @pytest.mark.parametrize(
        ("entry", "code"),
        [
            (Outgoing("default", "", "x"), "MissingParameter"),
            (Outgoing("default", "x", "x", delay=901), "InvalidParameterValue"),
            (Outgoing("default", "x", "x", delay=-1), "InvalidParameterValue"),
            (Outgoing("default", "x", "x", group="two words"), "InvalidParameterValue"),
            (Outgoing("ledger.fifo", "x", "x", dedup="x"), "MissingParameter"),
            (Outgoing("ledger.fifo", "x", "x", group="g" * 129, dedup="x"), "InvalidParameterValue"),
            (Outgoing("ledger.fifo", "x", "x", group="g", dedup="ä"), "InvalidParameterValue"),
        ],
    )
    async def test_a_bad_entry_does_not_spoil_its_batch(
        self, broker_bench: BrokerBench, entry: Outgoing, code: str
    ) -> None:
        good = Outgoing(entry.queue, "good", "good", group="g", dedup="good")
        answers = await broker_bench.broker.send([entry, good])
        assert failure(answers[0]).code == code
        assert answers[1] is None
        assert bodies(await broker_bench.drain(entry.queue)) == ["good"]

    async def test_sending_nothing_is_nothing(self, broker_bench: BrokerBench) -> None:
        assert await broker_bench.broker.send([]) == []

    async def test_a_missing_queue_is_named_before_anything_is_sent(self, broker_bench: BrokerBench) -> None:
        with pytest.raises(MissingResource, match="nowhere"):
            await broker_bench.broker.send([Outgoing("default", "x", "x"), Outgoing("nowhere", "y", "y")])
        assert await broker_bench.receive("default") == []

    async def test_a_delayed_message_comes_when_its_delay_is_over(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "later", delay=900)
        broker_bench.travel(899)
        assert await broker_bench.receive("default") == []
        broker_bench.travel(2)
        assert bodies(await broker_bench.receive("default")) == ["later"]

    async def test_a_group_on_a_standard_queue_is_carried_and_locks_nothing(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "one", "two", group="tenant-7")
        [first] = await broker_bench.receive("default", max_messages=1)
        [second] = await broker_bench.receive("default", max_messages=1)
        assert {first.body, second.body} == {"one", "two"}
        assert first.group == second.group == "tenant-7"

    async def test_concurrent_sends_all_arrive(self, broker_bench: BrokerBench) -> None:
        await asyncio.gather(*(broker_bench.send("default", f"message {number}") for number in range(20)))
        assert len(await broker_bench.drain("default")) == 20


class TestHolding:
    async def test_a_received_message_is_hidden_for_its_visibility(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        await broker_bench.receive("default", visibility=60)
        broker_bench.travel(59)
        assert await broker_bench.receive("default") == []
        broker_bench.travel(2)
        [again] = await broker_bench.receive("default")
        assert again.receive_count == 2

    async def test_receive_takes_no_more_than_it_was_asked_to(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "1", "2", "3")
        assert len(await broker_bench.receive("default", max_messages=2)) == 2

    async def test_extending_counts_from_now(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        held = await broker_bench.receive("default", visibility=60)
        broker_bench.travel(50)
        assert await broker_bench.broker.extend(held, 60) == [None]
        broker_bench.travel(59)
        assert await broker_bench.receive("default") == []
        broker_bench.travel(2)
        assert bodies(await broker_bench.receive("default")) == ["x"]

    async def test_hiding_for_zero_seconds_gives_the_message_back(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        [held] = await broker_bench.receive("default")
        assert await broker_bench.broker.change_visibility([(held, 0)]) == [None]
        broker_bench.travel(0.01)
        assert bodies(await broker_bench.receive("default")) == ["x"]

    async def test_each_message_is_hidden_for_its_own_time(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", *(str(number) for number in range(12)))
        held = await broker_bench.receive("default") + await broker_bench.receive("default")
        entries = [(delivery, 10 * (1 + int(delivery.body))) for delivery in held]
        assert await broker_bench.broker.change_visibility(entries) == [None] * 12
        broker_bench.travel(31)
        assert sorted(bodies(await broker_bench.receive("default"))) == ["0", "1", "2"]

    async def test_hiding_beyond_what_sqs_allows_says_so_and_leaves_the_others_hidden(
        self, broker_bench: BrokerBench
    ) -> None:
        await broker_bench.send("default", "long", "short")
        held = {delivery.body: delivery for delivery in await broker_bench.receive("default")}
        broker_bench.travel(10)
        answers = await broker_bench.broker.change_visibility([(held["long"], MAX_VISIBILITY), (held["short"], 100)])
        assert failure(answers[0]).over_12_hours
        assert not failure(answers[0]).receipt_expired
        assert not failure(answers[0]).transient
        assert answers[1] is None
        [answer] = await broker_bench.broker.change_visibility([(held["long"], MAX_VISIBILITY + 1)])
        assert failure(answer).over_12_hours
        broker_bench.travel(60)
        assert bodies(await broker_bench.receive("default")) == ["long"]

    async def test_a_deleted_message_cannot_be_hidden(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x", "y")
        first, second = await broker_bench.receive("default")
        await broker_bench.broker.ack([first])
        answers = await broker_bench.broker.change_visibility([(first, 10), (second, 10)])
        assert failure(answers[0]).receipt_expired
        assert not failure(answers[0]).transient
        assert answers[1] is None

    async def test_depth_counts_visible_held_and_delayed(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "1", "2", "3")
        await broker_bench.send("default", "later", delay=60)
        await broker_bench.receive("default", max_messages=1)
        assert await broker_bench.broker.depth("default") == QueueDepth(visible=2, in_flight=1, delayed=1)


class TestDeleting:
    async def test_a_deleted_message_does_not_come_back(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", *(str(number) for number in range(25)))
        assert len(await broker_bench.drain("default")) == 25
        broker_bench.travel(100)
        assert await broker_bench.receive("default") == []

    async def test_a_receipt_that_was_never_given_out_is_refused_alone(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        [held] = await broker_bench.receive("default")
        answers = await broker_bench.broker.ack([held._replace(receipt="bogus"), held])
        assert failure(answers[0]).code == "ReceiptHandleIsInvalid"
        assert failure(answers[0]).receipt_expired
        assert answers[1] is None

    async def test_deleting_twice_is_accepted(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        held = await broker_bench.receive("default")
        assert await broker_bench.broker.ack(held) == [None]
        assert await broker_bench.broker.ack(held) == [None]

    async def test_deliveries_of_several_queues_are_deleted_in_one_call(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x")
        await broker_bench.send("alone", "y")
        held = await broker_bench.receive("default") + await broker_bench.receive("alone")
        assert await broker_bench.broker.ack(held) == [None, None]
        broker_bench.travel(100)
        assert await broker_bench.receive("default") == await broker_bench.receive("alone") == []


class TestFifo:
    async def test_a_group_comes_in_the_order_in_which_it_was_sent(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send_grouped("ledger.fifo", *((f"g{n % 2}", f"{n:02}") for n in range(24)))
        received = await broker_bench.drain("ledger.fifo")
        for group in ("g0", "g1"):
            mine = [delivery.body for delivery in received if delivery.group == group]
            assert mine == sorted(mine)
            assert len(mine) == 12

    async def test_nothing_more_of_a_group_comes_while_one_of_it_is_held(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send_grouped("ledger.fifo", ("a", "a1"), ("a", "a2"), ("b", "b1"))
        [first] = await broker_bench.receive("ledger.fifo", max_messages=1)
        assert first.body == "a1"
        assert first.group == "a"
        assert bodies(await broker_bench.receive("ledger.fifo")) == ["b1"]
        await broker_bench.broker.ack([first])
        assert bodies(await broker_bench.receive("ledger.fifo")) == ["a2"]

    async def test_a_hidden_head_keeps_its_group_back(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send_grouped("ledger.fifo", ("a", "a1"), ("a", "a2"))
        [first] = await broker_bench.receive("ledger.fifo", max_messages=1)
        assert await broker_bench.broker.change_visibility([(first, 300)]) == [None]
        broker_bench.travel(299)
        assert await broker_bench.receive("ledger.fifo") == []
        broker_bench.travel(2)
        assert bodies(await broker_bench.receive("ledger.fifo")) == ["a1", "a2"]

    async def test_a_repeated_deduplication_id_is_accepted_and_dropped(self, broker_bench: BrokerBench) -> None:
        for _ in range(2):
            await broker_bench.send_grouped("ledger.fifo", ("a", "once"))
        assert bodies(await broker_bench.drain("ledger.fifo")) == ["once"]

    async def test_after_the_window_a_deduplication_id_is_new(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send_grouped("ledger.fifo", ("a", "again"))
        broker_bench.travel(301)
        await broker_bench.send_grouped("ledger.fifo", ("a", "again"))
        assert bodies(await broker_bench.drain("ledger.fifo")) == ["again", "again"]

    async def test_a_message_without_deduplication_id_is_deduplicated_by_its_body(
        self, broker_bench: BrokerBench
    ) -> None:
        await broker_bench.send("ledger.fifo", "same", "same", "other", group="g")
        assert bodies(await broker_bench.drain("ledger.fifo")) == ["same", "other"]

    async def test_a_delay_is_not_sent_to_a_fifo_queue(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("ledger.fifo", "now", delay=60, group="g", dedup="1")
        assert bodies(await broker_bench.receive("ledger.fifo")) == ["now"]


class TestDeadLetters:
    MESSAGE = Message("0197-id", "shop:pay", args=["ä"], enqueued_at=5.0, attempt=4, run=2, labels={"a": "b"})
    REASON = DeadLetter("exhausted", ErrorInfo("builtins.ValueError", "no funds\x00", "Traceback …"), attempts=5)

    @pytest.mark.parametrize("queue", ["default", "ledger.fifo"])
    async def test_a_copy_starts_a_new_run_and_tells_why(self, broker_bench: BrokerBench, queue: str) -> None:
        await broker_bench.send(queue, self.MESSAGE.encode(), group="g")
        held = await broker_bench.receive(queue)
        broker_bench.travel(30)
        assert await broker_bench.broker.dead_letter([(held[0], self.REASON)]) == [None]
        [copy] = await broker_bench.receive(dead_letters_of(queue))
        assert decode(copy.body) == self.MESSAGE._replace(run=3, attempt=0)
        now = broker_bench.clock.time()
        assert copy.attributes == {
            "taskq.reason": "exhausted",
            "taskq.error_type": "builtins.ValueError",
            "taskq.error_message": "no funds\ufffd",
            "taskq.traceback": "Traceback …",
            "taskq.attempts": "5",
            "taskq.first_sent_at": f"{now - 30:.3f}",
            "taskq.dead_lettered_at": f"{now:.3f}",
            "taskq.receive_count": "1",
            "taskq.queue": queue,
            "taskq.task": "shop:pay",
        }
        assert copy.group == "g"

    async def test_the_original_stays_until_it_is_deleted(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", self.MESSAGE.encode())
        [held] = await broker_bench.receive("default", visibility=60)
        await broker_bench.broker.dead_letter([(held, self.REASON)])
        broker_bench.travel(61)
        assert bodies(await broker_bench.receive("default")) == [held.body]

    async def test_more_than_ten_copies_each_get_an_answer(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", *(f"message {number}" for number in range(12)))
        held = await broker_bench.receive("default") + await broker_bench.receive("default")
        large = DeadLetter("x", ErrorInfo("T", "m" * 16_000, "t" * 16_000))
        assert await broker_bench.broker.dead_letter([(delivery, large) for delivery in held]) == [None] * 12
        assert sorted(bodies(await broker_bench.drain("default-dlq"))) == sorted(bodies(held))

    @pytest.mark.parametrize("queue", ["default", "ledger.fifo"])
    async def test_what_is_no_envelope_is_copied_as_it_is(self, broker_bench: BrokerBench, queue: str) -> None:
        await broker_bench.send(queue, "not json", group="g")
        [held] = await broker_bench.receive(queue)
        assert await broker_bench.broker.dead_letter([(held, DeadLetter("undecodable"))]) == [None]
        [copy] = await broker_bench.receive(dead_letters_of(queue))
        assert copy.body == "not json"
        assert copy.attributes[dead_letters.REASON] == "undecodable"
        assert dead_letters.TASK not in copy.attributes
        assert dead_letters.TRACEBACK not in copy.attributes

    async def test_a_fifo_copy_that_is_sent_twice_arrives_once(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("ledger.fifo", self.MESSAGE.encode(), group="g")
        [held] = await broker_bench.receive("ledger.fifo")
        for attempts in (5, 6):
            again = self.REASON._replace(attempts=attempts)
            assert await broker_bench.broker.dead_letter([(held, again)]) == [None]
        assert len(await broker_bench.receive("ledger-dlq.fifo")) == 1

    async def test_the_traceback_is_left_out_when_there_is_no_room(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("default", "x" * (MAX_BODY_BYTES - 300))
        [held] = await broker_bench.receive("default")
        assert await broker_bench.broker.dead_letter([(held, self.REASON)]) == [None]
        [copy] = await broker_bench.receive("default-dlq")
        assert copy.attributes[dead_letters.REASON] == "exhausted"
        assert dead_letters.TRACEBACK not in copy.attributes

    async def test_a_body_that_no_longer_fits_is_answered(self, broker_bench: BrokerBench) -> None:
        body = Message("id", "t", args=["x"]).encode()
        body = body.replace('"x"', f'"{"x" * (MAX_BODY_BYTES - len(body) + 1)}"')
        await broker_bench.send("default", body)
        [held] = await broker_bench.receive("default")
        [answer] = await broker_bench.broker.dead_letter([(held, self.REASON)])
        assert failure(answer).code == "PayloadTooLarge"

    async def test_without_a_dead_letter_queue_the_answer_says_so(self, broker_bench: BrokerBench) -> None:
        await broker_bench.send("alone", "x")
        await broker_bench.send("default", "y")
        [alone] = await broker_bench.receive("alone")
        [other] = await broker_bench.receive("default")
        answers = await broker_bench.broker.dead_letter([(alone, self.REASON), (other, self.REASON)])
        assert failure(answers[0]).code == "NoDeadLetterQueue"
        assert answers[1] is None

    async def test_it_knows_which_queues_have_one(self, broker_bench: BrokerBench) -> None:
        found = {
            queue: await broker_bench.broker.has_dead_letter_queue(queue)
            for queue in ("default", "ledger.fifo", "alone", "alone.fifo")
        }
        assert found == {"default": True, "ledger.fifo": True, "alone": False, "alone.fifo": False}

    async def test_it_knows_the_arns_that_schedules_aim_at(self, broker_bench: BrokerBench) -> None:
        for queue in ("default", "ledger.fifo"):
            arn = await broker_bench.broker.queue_arn(queue)
            assert arn.startswith("arn:aws:sqs:")
            assert arn.endswith(queue)
        with pytest.raises(MissingResource, match="nowhere"):
            await broker_bench.broker.queue_arn("nowhere")

    @pytest.mark.parametrize("queue", ["default", "ledger.fifo"])
    async def test_a_message_received_too_often_moves_there_by_itself(
        self, broker_bench: BrokerBench, queue: str
    ) -> None:
        await broker_bench.send(queue, "poison", group="g")
        for count in (1, 2, 3):
            [held] = await broker_bench.receive(queue, visibility=10)
            assert held.receive_count == count
            broker_bench.travel(11)
        assert await broker_bench.receive(queue) == []
        assert bodies(await broker_bench.receive(dead_letters_of(queue))) == ["poison"]


class TestMissingQueues:
    async def test_every_operation_names_the_missing_queue(self, broker_bench: BrokerBench) -> None:
        delivery = Delivery("nowhere", "x", "receipt", "id", 1, 0.0)
        broker = broker_bench.broker
        for operation in (
            broker.receive("nowhere", max_messages=1, wait=0, visibility=1),
            broker.ack([delivery]),
            broker.change_visibility([(delivery, 1)]),
            broker.depth("nowhere"),
        ):
            with pytest.raises(MissingResource, match="nowhere"):
                await operation


def dead_letters_of(queue: str) -> str:
    return {"default": "default-dlq", "ledger.fifo": "ledger-dlq.fifo"}[queue]
