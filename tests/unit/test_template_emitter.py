"""The YAML writer: what it writes is read as what it was given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq_sls.deploy.template.emitter import Commented, Tag, Text, dump
from tests.support.template import parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "yes",
        "No",
        "null",
        "~",
        "1",
        "1.5",
        "0x1f",
        "1e3",
        "2010-09-09",
        "a: b",
        "a:",
        "- a",
        "# a",
        "a #b",
        "*",
        "&a",
        "!a",
    ]
)

KEYS = TEXTS.filter(lambda text: text != "<<" and text != "")

VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_every_value_is_read_back_as_it_was(document: dict[str, Any]) -> None:
    assert parse(dump(document)) == document


@given(VALUES)
def test_tags_keep_their_values(value: Any) -> None:
    if value == {} or value == []:
        return
    found = parse(dump({"key": Tag("If", ["Condition", value, Tag("Ref", "Other")])}))
    assert found == {"key": {"Fn::If": ["Condition", value, {"Ref": "Other"}]}}


def test_comments_and_headings_stand_above_what_they_are_about() -> None:
    document = {
        "first": Commented("why", 1, title="Heading"),
        "list": [Commented("of an entry", "a"), {"key": Commented("of a key", 2), "other": 3}],
    }

    lines = [line.rstrip("-").rstrip() for line in dump(document).splitlines()]
    assert lines == [
        "",
        "# Heading",
        "# why",
        "first: 1",
        "list:",
        "  # of an entry",
        "  - a",
        "  # of a key",
        "  - key: 2",
        "    other: 3",
    ]
    assert parse(dump(document)) == {"first": 1, "list": ["a", {"key": 2, "other": 3}]}


def test_a_reason_is_given_once() -> None:
    assert dump({"a": Commented("why", 1), "b": Commented("why", 1)}) == "# why\na: 1\nb: 1\n"


def test_a_long_reason_is_wrapped() -> None:
    lines = dump({"a": {"b": Commented("word " * 60, 1)}}).splitlines()
    assert all(line.startswith("  # word") and len(line) <= 118 for line in lines[1:-1])
    assert len(lines) > 4


def test_text_of_several_lines_is_written_as_it_stands_or_folded() -> None:
    assert dump({"a": Tag("Sub", Text("x\n y\n"))}) == "a: !Sub |\n  x\n   y\n"
    assert parse(dump({"a": Text("x,\ny", folded=True)})) == {"a": "x, y"}


@pytest.mark.parametrize("value", [None, b"x", {1}])
def test_what_no_template_holds_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a template holds no"):
        dump({"a": value})
