"""The envelope: what is written is read back, and nothing that arrives can surprise."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq_sls.core.envelope import MAX_RUN
from taskq_sls.core.message import VERSION, Message, check_id, dead_letter_body, decode, new_body, new_id
from taskq_sls.errors import ArgumentsError, ConfigError, UndecodableMessage

NOW = 1_795_331_159.075
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.just(0.0) | st.floats(1e-6, 4e9)
COUNTS = st.integers(0, 1_000_000)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
UNKNOWN = st.dictionaries(TEXT.filter(lambda name: name != "v" and name not in Message._fields), VALUES, max_size=3)
MESSAGES = st.builds(
    Message,
    id=st.from_regex(r"[A-Za-z0-9_.:@/+=-]{1,100}", fullmatch=True),
    task=TEXT.filter(bool),
    args=st.lists(VALUES, max_size=4),
    kwargs=st.dictionaries(TEXT, VALUES, max_size=4),
    enqueued_at=TIMES,
    attempt=COUNTS,
    not_before=st.none() | TIMES,
    expires_at=st.none() | TIMES,
    run=st.integers(0, MAX_RUN - 1),
    schedule=st.none() | st.fixed_dictionaries({"name": TEXT, "at": TEXT}),
    trace=st.dictionaries(TEXT, TEXT, max_size=2),
    parent=st.none() | TEXT.filter(bool),
    depth=COUNTS,
    labels=st.dictionaries(TEXT.filter(bool), TEXT, max_size=2),
    unique_key=st.none() | TEXT.filter(bool),
    payload=st.none() | TEXT.filter(bool),
    unknown=UNKNOWN,
)
REFUSED_BY_SQS = re.compile(r"[^\x09\x0a\x0d\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def body(**fields: Any) -> str:
    return json.dumps({"v": 1, "id": "a", "task": "t", **fields})


class TestRoundTrip:
    @settings(max_examples=40)
    @given(MESSAGES)
    def test_every_field_is_read_back_as_it_was_written(self, message: Message) -> None:
        assert repr(decode(message.encode())) == repr(message)

    @settings(max_examples=40)
    @given(MESSAGES)
    def test_the_body_holds_only_characters_that_sqs_accepts(self, message: Message) -> None:
        assert not REFUSED_BY_SQS.search(message.encode())

    @pytest.mark.parametrize(
        "character", ["\x00", "\x1f", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff", "\\\ufffe", "\U0001f600"]
    )
    def test_characters_that_json_or_sqs_treat_specially_arrive(self, character: str) -> None:
        message = Message("a", "t", [character], {character: character})
        text = message.encode()
        assert not REFUSED_BY_SQS.search(text)
        assert decode(text) == message

    def test_a_small_call_takes_about_200_bytes_with_its_trace(self) -> None:
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        message = Message(new_id(NOW), "shop.tasks:add", [1, 2], enqueued_at=NOW, trace=trace)
        assert len(message.encode().encode()) <= 200

    def test_empty_fields_are_left_out(self) -> None:
        assert Message("a", "t").encode() == '{"v":1,"id":"a","task":"t"}'

    def test_the_firing_of_a_schedule_has_no_id_yet(self) -> None:
        firing = Message("", "t", schedule={"name": "nightly", "at": "2026-01-01T00:00:00Z"})
        assert '"id"' not in firing.encode()
        assert decode(firing.encode()) == firing

    def test_a_time_of_zero_is_not_an_absent_time(self) -> None:
        message = Message("a", "t", not_before=0.0, expires_at=0.0)
        assert decode(message.encode()) == message

    def test_the_body_is_readable_text(self) -> None:
        assert "Grüße" in Message("a", "t", ["Grüße"]).encode()


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), [{"deep": float("nan")}]])
    def test_numbers_that_json_lacks_are_refused(self, value: object) -> None:
        with pytest.raises(ArgumentsError, match="NaN or infinite"):
            Message("a", "shop:f", [value]).encode()

    def test_text_that_only_looks_like_such_a_number_is_written(self) -> None:
        message = Message("a", "t", ["NaN", "Infinity"])
        assert decode(message.encode()) == message

    @pytest.mark.parametrize(
        ("labels", "why"), [({"": "x"}, "empty name"), ({"a": 5}, "text"), ({"a": "\ud800"}, "surrogate")]
    )
    def test_labels_that_cannot_be_recorded_are_refused(self, labels: Any, why: str) -> None:
        with pytest.raises(ArgumentsError, match=why):
            Message("a", "shop:f", labels=labels).encode()

    def test_larger_labels_than_the_limit_are_passed_on_but_not_sent_anew(self) -> None:
        message = Message("a", "shop:f", labels={"a": "x" * 80_000})
        assert decode(message.encode()) == message
        assert decode(dead_letter_body(message.encode())) == message._replace(run=1)
        with pytest.raises(ArgumentsError, match=r"80,001 bytes.*4,096"):
            new_body(message)

    def test_half_of_a_surrogate_pair_is_refused(self) -> None:
        with pytest.raises(ArgumentsError, match="task shop:f"):
            Message("a", "shop:f", ["\ud800"]).encode()


class TestVersions:
    def test_the_version_is_written(self) -> None:
        assert json.loads(Message("a", "t").encode())["v"] == VERSION == 1

    @pytest.mark.parametrize("old", [{}, {"v": 0}, {"v": 1}])
    def test_older_versions_are_read(self, old: dict[str, int]) -> None:
        assert decode(json.dumps({**old, "id": "a", "task": "t", "args": [1]})) == Message("a", "t", [1])

    @pytest.mark.parametrize("version", [2, 99, 10**30])
    def test_a_newer_version_is_reported_as_unknown(self, version: int) -> None:
        with pytest.raises(UndecodableMessage, match="newer") as caught:
            decode(body(v=version))
        assert caught.value.reason == "unknown_version"

    def test_a_newer_version_is_not_looked_into(self) -> None:
        with pytest.raises(UndecodableMessage) as caught:
            decode('{"v": 2, "id": 5, "task": []}')
        assert caught.value.reason == "unknown_version"

    @pytest.mark.parametrize("version", ["1", 1.0, True, None, -1, [1]])
    def test_a_version_that_is_no_number_is_undecodable(self, version: object) -> None:
        with pytest.raises(UndecodableMessage, match="version") as caught:
            decode(body(v=version))
        assert caught.value.reason == "undecodable"

    def test_unknown_fields_are_kept_and_passed_on(self) -> None:
        message = decode(body(priority=7, hint=None))
        assert message.unknown == {"priority": 7, "hint": None}
        assert json.loads(message._replace(attempt=3).encode()) == json.loads(body(priority=7, hint=None, attempt=3))


JUNK_FIELDS = st.dictionaries(st.sampled_from([*Message._fields, "v", "x"]), VALUES)


class TestJunk:
    @given(st.text() | VALUES.map(json.dumps) | JUNK_FIELDS.map(json.dumps))
    @settings(max_examples=150)
    def test_it_is_never_more_than_undecodable(self, junk: str) -> None:
        try:
            message = decode(junk)
        except UndecodableMessage:
            return
        assert decode(message.encode()) == message

    @given(JUNK_FIELDS)
    @settings(max_examples=100)
    def test_a_field_is_either_of_its_type_or_refused(self, fields: dict[str, Any]) -> None:
        try:
            message = decode(body(**{**fields, "v": 1}))
        except UndecodableMessage:
            return
        assert type(message.args) is list
        assert type(message.kwargs) is dict
        assert {type(text) for text in [*message.trace.values(), *message.labels.values()]} <= {str}
        assert all(type(count) is int for count in (message.attempt, message.run, message.depth))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "null",
            "[]",
            '"text"',
            "{",
            '{"v":1}',
            "{} x",
            "\ud800",
            '"\\ud800"',
            '{"id":"a"}',
            '{"task":"t"}',
            "[" * 300 + "]" * 300,
        ],
    )
    def test_what_is_no_envelope_is_named_so(self, text: str) -> None:
        with pytest.raises(UndecodableMessage) as caught:
            decode(text)
        assert caught.value.reason == "undecodable"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("id", None),
            ("id", ""),
            ("id", "a b"),
            ("id", "a" * 101),
            ("task", ""),
            ("task", None),
            ("args", {}),
            ("kwargs", []),
            ("attempt", -1),
            ("attempt", True),
            ("attempt", 1.5),
            ("attempt", 10**30),
            ("run", "1"),
            ("enqueued_at", "yesterday"),
            ("enqueued_at", -1.0),
            ("not_before", 10**400),
            ("labels", {"a": 1}),
            ("trace", {"a": None}),
            ("run", MAX_RUN + 1),
            ("enqueued_at", 1e-200),
            ("not_before", 5e-324),
            ("task", "t" * 201),
            ("parent", "p" * 450_000),
            ("unique_key", "k" * 201),
            ("payload", "s" * 1_025),
        ],
    )
    def test_the_message_names_the_field(self, field: str, value: object) -> None:
        with pytest.raises(UndecodableMessage, match=field):
            decode(body(**{field: value}))

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
    def test_numbers_that_json_lacks_are_undecodable(self, number: str) -> None:
        with pytest.raises(UndecodableMessage):
            decode('{"v":1,"id":"a","task":"t","args":[' + number + "]}")

    def test_an_infinite_time_is_undecodable(self) -> None:
        with pytest.raises(UndecodableMessage, match="expires_at"):
            decode('{"v":1,"id":"a","task":"t","expires_at":1e400}')

    @pytest.mark.parametrize(
        "args",
        ["[1e400]", "[-1E+400]", '[{"deep": [0.1e0400 ]}]', f"[{'9' * 400}.0]", f"[1, {'9' * 215}e97]"],
    )
    @pytest.mark.parametrize("more", ["", ',"labels":{"a":"b"}'])
    def test_a_number_too_large_for_a_float_is_undecodable(self, args: str, more: str) -> None:
        with pytest.raises(UndecodableMessage, match="too large"):
            decode('{"v":1,"id":"a","task":"t","args":' + args + more + "}")

    @pytest.mark.parametrize("args", ["[1e308]", '["1e400"]', '["9e999, "]', f"[{'9' * 400}]", f"[{'9' * 200}.5e99]"])
    def test_other_large_numbers_and_text_are_read(self, args: str) -> None:
        message = decode('{"v":1,"id":"a","task":"t","args":' + args + "}")
        assert decode(message.encode()) == message

    def test_a_label_without_a_name_is_undecodable(self) -> None:
        with pytest.raises(UndecodableMessage, match="empty name"):
            decode(body(labels={"": "x"}))

    def test_labels_of_versions_without_a_limit_are_read(self) -> None:
        assert decode(body(labels={"a": "x" * 80_000})).labels == {"a": "x" * 80_000}


class TestDeadLetterBody:
    @settings(max_examples=40)
    @given(MESSAGES)
    def test_only_run_and_attempt_change(self, message: Message) -> None:
        copy = decode(dead_letter_body(message.encode()))
        assert copy == message._replace(run=message.run + 1, attempt=0)

    @pytest.mark.parametrize("junk", ["", "no json", '{"v": 2, "id": "a", "task": "t"}', '{"v": 1}'])
    def test_what_is_no_envelope_is_copied_as_it_is(self, junk: str) -> None:
        assert dead_letter_body(junk) == junk

    def test_the_run_of_a_copy_never_passes_the_limit(self) -> None:
        assert decode(dead_letter_body(Message("a", "t", run=MAX_RUN).encode())).run == MAX_RUN

    def test_a_number_that_cannot_be_written_again_is_copied_as_it_is(self) -> None:
        text = '{"v":1,"id":"a","task":"t","args":[1e400]}'
        assert dead_letter_body(text) == text


class TestIds:
    @given(st.lists(st.integers(0, 2**47), min_size=2, max_size=5, unique=True))
    def test_they_sort_by_time(self, milliseconds: list[int]) -> None:
        ids = {moment: new_id(moment / 1000 + 0.0001) for moment in milliseconds}
        assert [ids[moment] for moment in sorted(ids)] == sorted(ids.values())

    def test_they_are_version_7_and_carry_the_time(self) -> None:
        id = uuid.UUID(new_id(NOW))
        assert id.version == 7
        assert id.variant == uuid.RFC_4122
        assert id.int >> 80 == int(NOW * 1000)

    def test_they_differ_within_a_millisecond(self) -> None:
        assert len({new_id(NOW) for _ in range(1000)}) == 1000

    def test_they_are_valid_ids(self) -> None:
        assert check_id(id := new_id(NOW)) == id

    @pytest.mark.parametrize("id", ["order-4711-thumbnail", "a", "A_.:@/+=-9", "x" * 100])
    def test_a_callers_own_id_is_kept(self, id: str) -> None:
        assert check_id(id) == id

    @pytest.mark.parametrize("id", ["", "a b", "ä", "x" * 101, "a\n", 5, None, b"a"])
    def test_one_that_could_not_travel_is_refused_with_the_rule(self, id: Any) -> None:
        with pytest.raises(ConfigError, match="1 to 100 characters"):
            check_id(id)
