"""Packing, dead-letter attributes and normalising: the pure parts of a broker."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq_sls.brokers.base import MAX_BATCH, MAX_BODY_BYTES, EntryError, Outgoing
from taskq_sls.brokers.dead_letters import (
    ATTRIBUTES,
    FIRST_SENT_AT,
    MAX_ATTRIBUTE_BYTES,
    REASON,
    TRACEBACK,
    DeadLetterCopy,
    clean_text,
    dead_letter_attributes,
    dead_letter_copy,
)
from taskq_sls.brokers.received import delivery_from_lambda_record, delivery_from_receive
from taskq_sls.brokers.sqs_limits import illegal, message_bytes, pack, utf8_bytes, validate
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.message import ErrorInfo, Message, deduplication_id

DELIVERY = Delivery("default", "body", "receipt", "id", 3, 1_700_000_000.25)


def copy_of(delivery: Delivery, decision: DeadLetter, now: float) -> DeadLetterCopy:
    copy = dead_letter_copy(delivery, decision, now)
    assert isinstance(copy, DeadLetterCopy)
    return copy


class TestPacking:
    @given(st.lists(st.integers(1, MAX_BODY_BYTES)))
    def test_batches_fit_and_keep_the_order(self, sizes: list[int]) -> None:
        runs = list(pack(sizes))
        assert [index for run in runs for index in run] == list(range(len(sizes)))
        for run in runs:
            assert 1 <= len(run) <= MAX_BATCH
            assert sum(sizes[index] for index in run) <= MAX_BODY_BYTES

    @given(st.lists(st.integers(1, MAX_BODY_BYTES), min_size=2))
    def test_a_batch_ends_only_when_it_is_full(self, sizes: list[int]) -> None:
        runs = list(pack(sizes))
        for run, following in itertools.pairwise(runs):
            full = sum(sizes[index] for index in run) + sizes[following[0]] > MAX_BODY_BYTES
            assert full or len(run) == MAX_BATCH

    @given(st.text(alphabet=st.characters(codec="utf-8")))
    def test_sizes_are_bytes_of_utf8(self, text: str) -> None:
        assert utf8_bytes(text) == len(text.encode())

    def test_attributes_count_with_name_and_type(self) -> None:
        assert message_bytes("äb", {"näme": "wert"}) == 3 + 5 + len("String") + 4

    @given(st.text(min_size=1))
    def test_what_is_refused_is_exactly_what_sqs_does_not_allow(self, body: str) -> None:
        def allowed(point: int) -> bool:
            return (
                point in (0x9, 0xA, 0xD)
                or 0x20 <= point <= 0xD7FF
                or 0xE000 <= point <= 0xFFFD
                or 0x10000 <= point <= 0x10FFFF
            )

        legal = all(allowed(ord(character)) for character in body)
        assert (validate(Outgoing("q", body, "id"), fifo=False) is None) == legal


class TestDeadLetterText:
    @given(st.text(), st.booleans())
    def test_cleaned_text_is_legal_and_short(self, text: str, keep_end: bool) -> None:
        for value in (text, text * 2_000 if len(text) < 50 else text):
            cleaned = clean_text(value, keep_end=keep_end)
            assert illegal().search(cleaned) is None
            assert utf8_bytes(cleaned) <= MAX_ATTRIBUTE_BYTES

    def test_of_a_traceback_the_end_is_kept_and_of_a_message_the_beginning(self) -> None:
        long = "first" + "ä" * 20_000 + "last"
        error = ErrorInfo("T", long, long)
        attributes = dead_letter_attributes(DELIVERY, DeadLetter("r", error), task="t", now=0.0, room=MAX_BODY_BYTES)
        assert attributes["taskq.error_message"].startswith("first")
        assert attributes[TRACEBACK].endswith("last")
        assert utf8_bytes(attributes[TRACEBACK]) in (MAX_ATTRIBUTE_BYTES - 1, MAX_ATTRIBUTE_BYTES)

    def test_there_are_never_more_attributes_than_sqs_allows(self) -> None:
        assert len(ATTRIBUTES) == 10
        attributes = dead_letter_attributes(
            DELIVERY, DeadLetter("r", ErrorInfo("T", "m", "t"), 2), task="t", now=0.0, room=MAX_BODY_BYTES
        )
        assert set(attributes) == set(ATTRIBUTES)

    @given(st.integers(0, 600))
    def test_they_never_take_more_than_their_room_and_the_reason_goes_last(self, room: int) -> None:
        error = ErrorInfo("T", "m" * 100, "t" * 100)
        attributes = dead_letter_attributes(DELIVERY, DeadLetter("reason", error), task="t", now=0.0, room=room)
        assert message_bytes("", attributes) <= room
        assert list(attributes) == list(ATTRIBUTES[: len(attributes)])

    def test_a_copy_that_fails_again_keeps_the_time_of_its_first_life(self) -> None:
        delivery = DELIVERY._replace(attributes={FIRST_SENT_AT: "5.000"})
        attributes = dead_letter_attributes(delivery, DeadLetter("r"), task="t", now=9.0, room=MAX_BODY_BYTES)
        assert attributes[FIRST_SENT_AT] == "5.000"

    def test_the_deduplication_id_names_the_run_of_the_copy(self) -> None:
        delivery = DELIVERY._replace(body=Message("id-1", "t", run=1, attempt=3).encode(), group="g")
        copy = copy_of(delivery, DeadLetter("r"), 0.0)
        assert (copy.dedup, copy.group) == (deduplication_id("id-1", "t", 2, 0), "g")

    @pytest.mark.parametrize("body", ["not json", '{"v": 1, "task": "t", "schedule": {"name": "d-nightly"}}'])
    def test_without_an_id_the_deduplication_id_comes_from_the_message(self, body: str) -> None:
        copies = [copy_of(DELIVERY._replace(body=body, message_id=id), DeadLetter("r"), 0.0) for id in ("1", "1", "2")]
        assert copies[0].dedup == copies[1].dedup != copies[2].dedup

    @pytest.mark.parametrize("body", ["", "half a pair: \ud800", "nul \0"])
    def test_a_body_that_no_queue_takes_is_answered_by_itself(self, body: str) -> None:
        assert isinstance(dead_letter_copy(DELIVERY._replace(body=body), DeadLetter("r"), 0.0), EntryError)

    def test_the_size_counts_body_and_attributes(self) -> None:
        copy = copy_of(DELIVERY, DeadLetter("r"), 0.0)
        assert copy.size == message_bytes(copy.body, copy.attributes)
        assert copy.attributes[REASON] == "r"


class TestNormalise:
    RECORD = {
        "messageId": "id",
        "receiptHandle": "receipt",
        "body": "body",
        "attributes": {
            "ApproximateReceiveCount": "4",
            "SentTimestamp": "1700000000123",
            "MessageGroupId": "g",
            "AWSTraceHeader": "Root=1",
        },
        "messageAttributes": {
            "taskq.reason": {"stringValue": "why", "dataType": "String"},
            "raw": {"binaryValue": "AA==", "dataType": "Binary"},
        },
    }
    ENTRY = {
        "MessageId": "id",
        "ReceiptHandle": "receipt",
        "Body": "body",
        "Attributes": RECORD["attributes"],
        "MessageAttributes": {
            "taskq.reason": {"StringValue": "why", "DataType": "String"},
            "raw": {"BinaryValue": b"\0", "DataType": "Binary"},
        },
    }
    EXPECTED = Delivery(
        "q", "body", "receipt", "id", 4, 1_700_000_000.123, "g", {"taskq.reason": "why", "AWSTraceHeader": "Root=1"}
    )

    def test_records_and_entries_become_the_same_delivery(self) -> None:
        assert delivery_from_lambda_record(self.RECORD, "q") == self.EXPECTED
        assert delivery_from_receive(self.ENTRY, "q") == self.EXPECTED

    @pytest.mark.parametrize("attributes", [None, [], "x", {"a": None}, {"a": "x"}, {"a": {"stringValue": None}}])
    def test_attributes_that_sqs_would_not_send_are_left_out(self, attributes: object) -> None:
        record = {**self.RECORD, "messageAttributes": attributes}
        assert delivery_from_lambda_record(record, "q").attributes == {"AWSTraceHeader": "Root=1"}

    @pytest.mark.parametrize(
        "attributes",
        [None, "x", [], {}, {"ApproximateReceiveCount": "?", "SentTimestamp": "?"}, {"SentTimestamp": "9" * 400}],
    )
    def test_missing_and_unreadable_attributes_have_safe_values(self, attributes: object) -> None:
        expected = Delivery("q", "b", "r", "i", 1, 0.0)
        record = {"body": "b", "receiptHandle": "r", "messageId": "i", "attributes": attributes}
        entry = {"Body": "b", "ReceiptHandle": "r", "MessageId": "i", "Attributes": attributes}
        assert delivery_from_lambda_record(record, "q") == expected
        assert delivery_from_receive(entry, "q") == expected
        assert delivery_from_lambda_record({}, "q") == Delivery("q", "", "", "", 1, 0.0)
