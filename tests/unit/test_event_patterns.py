"""EventBridge patterns: which events they match, and which mistakes raise at the declaration."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.events.models import EventPattern

from taskq_sls import ConfigError
from taskq_sls.client.event_patterns import check_pattern, matches

Fields = dict[str, Any]


def fits(pattern: Fields, event: Fields) -> bool:
    return matches(check_pattern("here", pattern), event)


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (["a", "b"], "b"),
        ([""], ""),
        ([None], None),
        ([True], True),
        ([300], 300),
        ([300], 3.0e2),
        ([1.5], 1.5),
        ([{"prefix": "images/"}], "images/a.png"),
        ([{"suffix": ".png"}], "images/a.png"),
        ([{"anything-but": "init"}], "run"),
        ([{"anything-but": ["a", "b"]}], "c"),
        ([{"anything-but": [1, 2]}], 3),
        ([{"anything-but": 1}], True),
        ([{"anything-but": "a"}], None),
        ([{"anything-but": {"prefix": "init"}}], "run"),
        ([{"anything-but": {"suffix": ".png"}}], "a.jpg"),
        ([{"exists": True}], None),
        ([{"numeric": ["=", 5]}], 5),
        ([{"numeric": ["<", 5]}], 4.9),
        ([{"numeric": ["<=", 5]}], 5),
        ([{"numeric": [">", 5]}], 5.1),
        ([{"numeric": [">=", 0, "<", 5]}], 0),
        (["x", {"prefix": "b"}], "bcd"),
        (["b"], ["a", "b"]),
        (["b"], ["a", ["b"]]),
        ([{"anything-but": "a"}], ["a", "b"]),
    ],
)
def test_a_field_matches(wanted: list[Any], value: object) -> None:
    assert fits({"detail": {"field": wanted}}, {"detail": {"field": value, "other": 1}})


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (["a"], "A"),
        (["1"], 1),
        ([1], True),
        ([True], 1),
        ([0], False),
        ([None], ""),
        ([{"prefix": "images/"}], "my/images/"),
        ([{"prefix": "5"}], 5),
        ([{"suffix": ".png"}], ".png.jpg"),
        ([{"anything-but": "init"}], "init"),
        ([{"anything-but": ["a", "b"]}], "b"),
        ([{"anything-but": "a"}], ["a"]),
        ([{"anything-but": {"prefix": "init"}}], "initial"),
        ([{"anything-but": {"suffix": ".png"}}], "a.png"),
        ([{"exists": False}], "there"),
        ([{"exists": True}], {"an": "object"}),
        ([{"exists": True}], []),
        ([{"numeric": ["=", 5]}], "5"),
        ([{"numeric": ["=", 1]}], True),
        ([{"numeric": [">", 0, "<=", 5]}], 0),
        ([{"numeric": [">", 0, "<=", 5]}], 5.1),
        ([{"numeric": [">", 0]}], 5.1e9),
        (["a"], {"a": "a"}),
        (["a"], []),
    ],
)
def test_a_field_does_not_match(wanted: list[Any], value: object) -> None:
    assert not fits({"detail": {"field": wanted}}, {"detail": {"field": value}})


@pytest.mark.parametrize("wanted", [["a"], [None], [{"anything-but": "a"}], [{"exists": True}], [{"prefix": "a"}]])
def test_only_exists_false_matches_a_field_that_is_not_there(wanted: list[Any]) -> None:
    events: list[dict[str, Any]] = [{"detail": {}}, {}, {"detail": "text"}, {"detail": None}]
    for event in events:
        assert not fits({"detail": {"field": wanted}}, event)
        assert fits({"detail": {"field": [{"exists": False}]}}, event)
        assert fits({"detail": {"field": ["a", {"exists": False}]}}, event)


def test_an_object_is_no_leaf_and_so_does_not_exist() -> None:
    assert fits({"detail": {"state": [{"exists": False}]}}, {"detail": {"state": {"inner": 1}}})


def test_all_fields_must_match() -> None:
    pattern = {"source": ["shop"], "detail": {"kind": ["book"], "price": [{"numeric": ["<", 10]}]}}

    assert fits(pattern, {"source": "shop", "detail": {"kind": "book", "price": 9}})
    assert not fits(pattern, {"source": "shop", "detail": {"kind": "book", "price": 10}})
    assert not fits(pattern, {"source": "shops", "detail": {"kind": "book", "price": 9}})


def test_fields_of_objects_in_a_list_must_match_in_the_same_object() -> None:
    event = {"people": [[{"first": "Anna", "last": "Smith"}], {"first": "Peter", "last": "Jones"}]}

    assert fits({"people": {"first": ["Anna"], "last": ["Smith"]}}, event)
    assert not fits({"people": {"first": ["Anna"], "last": ["Jones"]}}, event)


def test_what_stands_inside_one_object_of_a_list_does_not_count_for_another() -> None:
    anna = {"name": "Anna", "pets": [{"kind": "dog"}]}
    peter = {"name": "Peter", "pets": [{"kind": "cat"}]}

    assert fits({"people": {"name": ["Anna"], "pets": {"kind": ["dog"]}}}, {"people": [anna, peter]})
    assert not fits({"people": {"name": ["Anna"], "pets": {"kind": ["cat"]}}}, {"people": [anna, peter]})


def test_a_field_does_not_exist_where_no_object_of_a_list_has_it() -> None:
    pattern = {"lines": {"discount": [{"exists": False}]}}

    assert fits(pattern, {"lines": [{"sku": 1}, {"sku": 2}]})
    assert not fits(pattern, {"lines": [{"sku": 1}, {"sku": 2, "discount": 5}]})


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ({}, r"here: \{\} must be an object with at least one field"),
        ({"detail": {}}, r"here\.detail: \{\} must be an object"),
        ({"detail": "a"}, r"here\.detail: 'a' must be a list .*\['a'\]"),
        ({"detail": []}, r"here\.detail: \[\] must be a list of at least one"),
        ({"a.b": ["c"]}, r"field 'a\.b' must be the name of one field"),
        ({1: ["c"]}, "field 1 must be the name"),
        ({"$or": [{"a": ["b"]}, {"c": ["d"]}]}, r"declare several routes instead of '\$or'"),
        ({"a": [["b"]]}, r"here\.a: \['b'\] must be text"),
        ({"a": [float("nan")]}, "nan must be text, a number"),
        ({"a": [{}]}, "must name one operator: prefix, suffix, anything-but, exists, numeric"),
        ({"a": [{"prefix": "b", "suffix": "c"}]}, "must name one operator"),
        ({"a": [{"wildcard": "*"}]}, "operator 'wildcard' is not supported; use prefix, suffix"),
        ({"a": [{"equals-ignore-case": "b"}]}, "'equals-ignore-case' is not supported"),
        ({"a": [{"cidr": "10.0.0.0/8"}]}, "'cidr' is not supported"),
        ({"a": [{"prefix": ""}]}, r"here\.a: prefix: '' must be text that is not empty"),
        ({"a": [{"suffix": {"equals-ignore-case": "b"}}]}, "suffix: .* must be text"),
        ({"a": [{"exists": "yes"}]}, "exists: 'yes' must be True or False"),
        ({"a": [{"anything-but": []}]}, r"anything-but: \[\] must be text or a number"),
        ({"a": [{"anything-but": None}]}, "anything-but: None must be"),
        ({"a": [{"anything-but": [True]}]}, "anything-but: .* must be"),
        ({"a": [{"anything-but": ["b", 1]}]}, "only text or only numbers"),
        ({"a": [{"anything-but": {"wildcard": "*"}}]}, "must be {'prefix': text} or {'suffix': text}"),
        ({"a": [{"anything-but": {"prefix": ""}}]}, "anything-but: prefix: '' must be text"),
        ({"a": [{"numeric": 5}]}, "numeric: 5 must be one comparison or a range"),
        ({"a": [{"numeric": []}]}, "must be one comparison"),
        ({"a": [{"numeric": ["=="]}]}, "must be one comparison"),
        ({"a": [{"numeric": ["!=", 5]}]}, "must be one comparison"),
        ({"a": [{"numeric": ["<", 5, ">", 0]}]}, "must be one comparison or a range"),
        ({"a": [{"numeric": ["=", 5, "<", 6]}]}, "must be one comparison or a range"),
        ({"a": [{"numeric": [">", 5, "<", 5]}]}, "no number is > 5 and < 5"),
        ({"a": [{"numeric": ["=", "5"]}]}, "'5' must be a number from -5e9 to 5e9"),
        ({"a": [{"numeric": ["=", 6e9]}]}, "6000000000.0 must be a number from -5e9 to 5e9"),
        ({"a": ["x" * 4096]}, "the pattern has 4106 characters of JSON and EventBridge allows 4096"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_where_it_is_declared(pattern: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_pattern("here", pattern)


def test_a_checked_pattern_is_a_copy_and_tuples_become_lists() -> None:
    given = {"a": ("b", {"anything-but": ("c",)}), "d": {"e": ["f"]}}
    checked = check_pattern("here", given)
    before = copy.deepcopy(checked)
    given["d"]["e"].append("g")  # type: ignore[index]  # a dict of lists, as written two lines above

    assert checked == before == {"a": ["b", {"anything-but": ["c"]}], "d": {"e": ["f"]}}


# -- against an independent implementation ----------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b"])
TEXTS = st.sampled_from(["", "x", "xy", "yx", "y"])
NUMBERS = st.sampled_from([0, 1, 2.5, 300, -4])
SCALARS = TEXTS | NUMBERS
AFFIXES = st.sampled_from(["x", "y", "xy"])
OPERATORS = st.one_of(
    st.fixed_dictionaries({"prefix": AFFIXES}),
    st.fixed_dictionaries({"suffix": AFFIXES}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"anything-but": TEXTS | NUMBERS | st.lists(TEXTS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"anything-but": st.fixed_dictionaries({"prefix": AFFIXES})}),
    st.fixed_dictionaries({"numeric": st.tuples(st.sampled_from(["=", "<", "<=", ">", ">="]), NUMBERS).map(list)}),
    st.just({"numeric": [">", 0, "<=", 300]}),
)
LEAVES = st.lists(SCALARS | OPERATORS, min_size=1, max_size=2)
PATTERNS = st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES, min_size=1), min_size=1)
# No lists of objects, empty lists or objects where a leaf may be wanted: there moto differs from AWS's own matcher.
VALUES = SCALARS | st.lists(SCALARS, min_size=1, max_size=2)
EVENTS = st.dictionaries(NAMES, VALUES | st.dictionaries(NAMES, VALUES, min_size=1))


@settings(max_examples=400, deadline=None)
@given(PATTERNS, EVENTS)
def test_what_matches_is_what_moto_s_eventbridge_matches(pattern: Fields, detail: Fields) -> None:
    pattern, event = {"detail": pattern}, {"detail": detail}

    moto = EventPattern.load(json.dumps(pattern)).matches_event(event)
    assert matches(check_pattern("here", pattern), event) == moto
