"""What only the SQS broker does: faults of single entries and whole calls, names, URLs, order of calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import moto.sqs.models
import pytest
from moto import mock_aws

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.brokers.base import EntryError, Outgoing
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.clock import ManualClock
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.flow import drive
from taskq_sls.core.settings import Settings
from taskq_sls.errors import AwsError, ConfigError, MissingResource

Interference = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Meddler:
    """A client over moto on which a test can meddle with calls: answer instead, raise, or let pass (None)."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script: Iterator[Interference] = iter(())

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        self.calls.append((operation, params))
        interference = None if operation == "get_queue_url" else next(self.script, None)
        answer = interference(operation, params) if interference else None
        return answer if answer is not None else await self.client.call(operation, **params)

    def named(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]


def fail_entries(*ids: str, code: str = "InternalError", sender: bool = False, message: str = "m") -> Interference:
    """Some entries fail, the others are accepted (and lost: the call is not made)."""

    def answer(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        accepted = [{"Id": entry["Id"]} for entry in params["Entries"] if entry["Id"] not in ids]
        failed = [{"Id": id, "Code": code, "Message": message, "SenderFault": sender} for id in ids]
        return {"Successful": accepted, "Failed": failed}

    return answer


def fail_call(error: Exception) -> Interference:
    def answer(operation: str, params: dict[str, Any]) -> dict[str, Any]:
        raise error

    return answer


class SqsHarness:
    def __init__(self, settings: Settings | None = None) -> None:
        self.clock = ManualClock()
        port = BlockingAws(self.clock)
        self.sqs = port.client("sqs")
        self.meddler = Meddler(self.sqs)
        self.settings = settings or Settings("shop", "unused")
        self.broker = SqsBroker(self.meddler, port.flow, self.settings, self.clock, port.describe)

    def create(self, name: str) -> str:
        attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if name.endswith(".fifo") else {}
        return str(drive(self.sqs.call("create_queue", QueueName=name, Attributes=attributes))["QueueUrl"])

    def delete(self, name: str) -> None:
        url = drive(self.sqs.call("get_queue_url", QueueName=name))["QueueUrl"]
        drive(self.sqs.call("delete_queue", QueueUrl=url))

    def send(self, *bodies: str, queue: str = "default", **options: Any) -> list[EntryError | None]:
        return drive(self.broker.send([Outgoing(queue, body, body, **options) for body in bodies]))

    def receive(self, queue: str = "default") -> list[Delivery]:
        return drive(self.broker.receive(queue, max_messages=10, wait=0, visibility=60))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[SqsHarness]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        bench = SqsHarness()
        monkeypatch.setattr(moto.sqs.models, "unix_time", lambda: bench.clock.time())
        monkeypatch.setattr(moto.sqs.models, "unix_time_millis", lambda: bench.clock.time() * 1000)
        bench.create("shop-default")
        yield bench


class TestFailedEntries:
    def test_an_entry_that_failed_for_the_service_s_fault_is_sent_again_alone(self, bench: SqsHarness) -> None:
        bench.meddler.script = iter([fail_entries("1")])
        assert bench.send("a", "b", "c") == [None, None, None]
        first, second = bench.meddler.named("send_message_batch")
        assert [entry["MessageBody"] for entry in first["Entries"]] == ["a", "b", "c"]
        assert [entry["MessageBody"] for entry in second["Entries"]] == ["b"]

    def test_it_waits_longer_before_each_try(self, bench: SqsHarness) -> None:
        started = bench.clock.time()
        bench.meddler.script = itertools.repeat(fail_entries("0"))
        bench.send("a")
        assert 0.7 <= bench.clock.time() - started <= 1.4

    def test_after_four_tries_the_entry_is_reported(self, bench: SqsHarness) -> None:
        bench.meddler.script = itertools.repeat(fail_entries("1", message="try later"))
        answers = bench.send("a", "b")
        assert answers == [None, EntryError("InternalError", "try later", transient=True, ambiguous=True)]
        assert len(bench.meddler.named("send_message_batch")) == 4

    def test_an_entry_that_failed_for_our_fault_is_reported_at_once(self, bench: SqsHarness) -> None:
        bench.meddler.script = iter([fail_entries("0", code="AWS.SimpleQueueService.Strange", sender=True)])
        assert bench.send("a", "b") == [EntryError("Strange", "m"), None]
        assert len(bench.meddler.named("send_message_batch")) == 1

    def test_throttled_entries_are_tried_again_whoever_is_blamed(self, bench: SqsHarness) -> None:
        bench.meddler.script = iter([fail_entries("0", code="RequestThrottled", sender=True)])
        assert bench.send("a") == [None]

    def test_an_entry_that_the_answer_does_not_name_was_not_accepted(self, bench: SqsHarness) -> None:
        bench.meddler.script = iter([lambda operation, params: {}])
        assert bench.send("a", "b") == [None, None]
        assert len(bench.meddler.named("send_message_batch")) == 2

    def test_deletes_and_visibility_changes_are_tried_again_too(self, bench: SqsHarness) -> None:
        bench.send("a", "b")
        held = bench.receive()
        bench.meddler.script = iter([fail_entries("0")])
        assert drive(bench.broker.change_visibility([(delivery, 5) for delivery in held])) == [None, None]
        bench.meddler.script = iter([fail_entries("1")])
        assert drive(bench.broker.ack(held)) == [None, None]
        assert [len(params["Entries"]) for params in bench.meddler.named("delete_message_batch")] == [2, 1]

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("ReceiptHandleIsInvalid", "no"),
            ("MessageNotInflight", "no"),
            ("InvalidParameterValue", "Value x for parameter ReceiptHandle is invalid. Reason: it has expired."),
        ],
    )
    def test_a_receipt_that_is_no_longer_valid_is_gone(self, bench: SqsHarness, code: str, message: str) -> None:
        bench.send("a")
        held = bench.receive()
        bench.meddler.script = iter([fail_entries("0", code=code, message=message)])
        assert drive(bench.broker.change_visibility([(held[0], 5)])) == [
            EntryError(code, message, receipt_expired=True)
        ]

    def test_a_delete_refused_as_expired_counts_as_settled(self, bench: SqsHarness) -> None:
        bench.send("a")
        held = bench.receive()
        message = "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
        bench.meddler.script = iter([fail_entries("0", code="InvalidParameterValue", sender=True, message=message)])
        assert drive(bench.broker.ack(held)) == [None]


class TestFailedCalls:
    def test_a_transient_fault_of_the_whole_call_is_tried_again(self, bench: SqsHarness) -> None:
        fault = AwsError("send_message_batch", "ReadTimeoutError", "silence", transient=True, ambiguous=True)
        bench.meddler.script = iter([fail_call(fault)] * 3)
        assert bench.send("a") == [None]
        assert [delivery.body for delivery in bench.receive()] == ["a"]

    def test_one_that_lasts_is_reported_for_each_entry_of_that_batch_only(self, bench: SqsHarness) -> None:
        fault = AwsError("send_message_batch", "ServiceUnavailable", "no", status=503, transient=True)

        def refuse_the_first_batch(operation: str, params: dict[str, Any]) -> dict[str, Any] | None:
            if params["Entries"][0]["MessageBody"] == "00":
                raise fault
            return None

        bench.meddler.script = itertools.repeat(refuse_the_first_batch)
        answers = bench.send(*(f"{number:02}" for number in range(15)))
        assert answers == [EntryError("ServiceUnavailable", "no", transient=True)] * 10 + [None] * 5

    def test_what_an_earlier_try_may_have_sent_stays_ambiguous_whatever_the_last_one_says(
        self, bench: SqsHarness
    ) -> None:
        lost = AwsError("send_message_batch", "ReadTimeoutError", "silence", transient=True, ambiguous=True)
        denied = AwsError("send_message_batch", "AccessDenied", "no", status=403)
        bench.meddler.script = iter([fail_call(lost), fail_call(denied)])
        assert bench.send("a") == [EntryError("AccessDenied", "no", ambiguous=True)]

    def test_an_answer_that_never_names_the_entry_is_ambiguous(self, bench: SqsHarness) -> None:
        bench.meddler.script = itertools.repeat(lambda operation, params: {})
        (answer,) = bench.send("a")
        assert answer is not None
        assert (answer.code, answer.ambiguous) == ("NoAnswer", True)

    def test_a_throttled_send_is_certain(self, bench: SqsHarness) -> None:
        fault = AwsError("send_message_batch", "RequestThrottled", "slow down", transient=True)
        bench.meddler.script = itertools.repeat(fail_call(fault))
        (answer,) = bench.send("a")
        assert answer is not None
        assert not answer.ambiguous

    def test_one_that_is_not_transient_is_not_tried_again(self, bench: SqsHarness) -> None:
        fault = AwsError("send_message_batch", "AccessDenied", "no", status=403)
        bench.meddler.script = itertools.repeat(fail_call(fault))
        assert bench.send("a", "b") == [EntryError("AccessDenied", "no")] * 2
        assert len(bench.meddler.named("send_message_batch")) == 1

    def test_missing_credentials_raise(self, bench: SqsHarness) -> None:
        bench.meddler.script = itertools.repeat(fail_call(ConfigError("give credentials")))
        with pytest.raises(ConfigError, match="give credentials"):
            bench.send("a")

    def test_what_was_accepted_is_not_lost_behind_an_error(self, bench: SqsHarness) -> None:
        bench.create("shop-doomed")
        bench.send("x", queue="doomed")
        bench.delete("shop-doomed")
        answers = drive(bench.broker.send([Outgoing("default", "a", "a"), Outgoing("doomed", "b", "b")]))
        assert answers[0] is None
        assert answers[1] is not None
        assert answers[1].code == "MissingResource"


class TestQueues:
    def test_each_queue_is_found_once(self, bench: SqsHarness) -> None:
        for _ in range(3):
            bench.send("a")
            bench.receive()
        assert bench.meddler.named("get_queue_url") == [{"QueueName": "shop-default"}]

    def test_a_missing_queue_names_endpoint_region_and_fix(self, bench: SqsHarness) -> None:
        with pytest.raises(MissingResource) as caught:
            bench.send("a", queue="slow")
        for part in ("'slow'", "'shop-slow'", "eu-west-1", "amazonaws.com", "taskq provision", "TASKQ_QUEUE_URLS"):
            assert part in str(caught.value)

    def test_a_queue_that_was_deleted_is_missing_and_found_again_when_it_returns(self, bench: SqsHarness) -> None:
        bench.send("a")
        [held] = bench.receive()
        bench.delete("shop-default")
        for operation in (
            bench.broker.receive("default", max_messages=1, wait=0, visibility=1),
            bench.broker.send([Outgoing("default", "a", "a")]),
            bench.broker.depth("default"),
            bench.broker.ack([held]),
        ):
            with pytest.raises(MissingResource, match="'default'"):
                drive(operation)
        bench.create("shop-default")
        asked = len(bench.meddler.named("get_queue_url"))
        assert bench.send("a") == [None]
        assert len(bench.meddler.named("get_queue_url")) == asked + 1

    def test_urls_from_the_settings_are_not_asked_for(self, bench: SqsHarness) -> None:
        url = bench.create("somewhere-else")
        other = SqsHarness(Settings("shop", "unused", queue_urls={"default": url}))
        assert other.send("a") == [None]
        assert other.meddler.named("get_queue_url") == []
        assert other.meddler.named("send_message_batch")[0]["QueueUrl"] == url

    def test_a_url_from_the_settings_is_not_forgotten(self, bench: SqsHarness) -> None:
        url = bench.create("somewhere-else")
        other = SqsHarness(Settings("shop", "unused", queue_urls={"default": url}))
        bench.delete("somewhere-else")
        with pytest.raises(MissingResource, match=url):
            other.send("a")
        bench.create("somewhere-else")
        assert other.send("a") == [None]
        assert other.meddler.named("get_queue_url") == []

    def test_a_physical_name_of_this_app_is_understood(self, bench: SqsHarness) -> None:
        assert bench.send("a", queue="shop-default") == [None]
        assert [delivery.body for delivery in bench.receive()] == ["a"]

    def test_a_queue_of_somebody_else_is_not_taken_for_ours(self, bench: SqsHarness) -> None:
        bench.create("slow")
        with pytest.raises(MissingResource):
            bench.send("a", queue="slow")

    def test_a_refusal_to_look_is_not_an_absence(self, bench: SqsHarness) -> None:
        async def refuse(operation: str, /, **params: Any) -> dict[str, Any]:
            raise AwsError(operation, "AccessDenied", "no", status=403)

        bench.meddler.call = refuse  # type: ignore[method-assign]  # for this test only
        with pytest.raises(AwsError, match="AccessDenied"):
            drive(bench.broker.has_dead_letter_queue("default"))


class TestDeadLetterQueues:
    def test_an_absence_is_believed_for_a_minute(self, bench: SqsHarness) -> None:
        assert not drive(bench.broker.has_dead_letter_queue("default"))
        bench.create("shop-default-dlq")
        bench.clock.travel(59)
        assert not drive(bench.broker.has_dead_letter_queue("default"))
        bench.clock.travel(1)
        assert drive(bench.broker.has_dead_letter_queue("default"))

    def test_one_that_was_deleted_meanwhile_is_answered_by_entry(self, bench: SqsHarness) -> None:
        bench.create("shop-default-dlq")
        assert drive(bench.broker.has_dead_letter_queue("default"))
        bench.delete("shop-default-dlq")
        bench.send("a")
        [held] = bench.receive()
        [answer] = drive(bench.broker.dead_letter([(held, DeadLetter("reason"))]))
        assert answer is not None
        assert answer.code == "NoDeadLetterQueue"

    def test_missing_credentials_are_not_a_missing_queue(self, bench: SqsHarness) -> None:
        bench.create("shop-default-dlq")
        bench.send("a")
        [held] = bench.receive()
        bench.meddler.script = itertools.repeat(fail_call(ConfigError("give credentials")))
        with pytest.raises(ConfigError, match="give credentials"):
            drive(bench.broker.dead_letter([(held, DeadLetter("reason"))]))


class TestCalls:
    def test_ids_are_positions_in_the_batch(self, bench: SqsHarness) -> None:
        bench.send(*(f"{number:02}" for number in range(12)))
        batches = sorted(bench.meddler.named("send_message_batch"), key=lambda batch: -len(batch["Entries"]))
        assert [entry["Id"] for entry in batches[0]["Entries"]] == [str(number) for number in range(10)]
        assert [entry["Id"] for entry in batches[1]["Entries"]] == ["0", "1"]

    def test_fifo_batches_wait_for_each_other(self, bench: SqsHarness) -> None:
        bench.create("shop-ledger.fifo")
        fault = AwsError("send_message_batch", "ServiceUnavailable", "no", status=503, transient=True)
        bench.meddler.script = iter([fail_call(fault)])
        assert bench.send(*(f"{n:02}" for n in range(25)), queue="ledger.fifo", group="g") == [None] * 25
        batches = [batch["Entries"][0]["MessageBody"] for batch in bench.meddler.named("send_message_batch")]
        assert batches == ["00", "00", "10", "20"]

    def test_standard_queues_get_no_deduplication_id_and_fifo_queues_no_delay(self, bench: SqsHarness) -> None:
        bench.create("shop-ledger.fifo")
        bench.send("a", delay=5, group="g", dedup="d")
        bench.send("a", queue="ledger.fifo", delay=5, group="g", dedup="d")
        standard, fifo = (batch["Entries"][0] for batch in bench.meddler.named("send_message_batch"))
        assert standard == {"Id": "0", "MessageBody": "a", "DelaySeconds": 5, "MessageGroupId": "g"}
        assert fifo == {"Id": "0", "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "d"}
