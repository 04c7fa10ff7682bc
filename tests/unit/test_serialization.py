"""Arguments and results by annotation: they arrive exactly, or they are refused by name."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import subprocess
import sys
import textwrap
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, NoReturn, NotRequired, Optional
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from taskq_sls.core.message import Message, decode
from taskq_sls.errors import ArgumentsError, ConfigError
from taskq_sls.serialization import JsonSignature, Signature, compile_signature
from taskq_sls.serialization.sameness import difference

if TYPE_CHECKING:
    from elsewhere import Missing  # type: ignore[import-not-found]  # it does not exist


class Colour(Enum):
    RED = "red"
    TWO = 2


class Size(IntEnum):
    SMALL = 1


class Mode(StrEnum):
    FAST = "fast"


class Access(Flag):
    READ = 1
    WRITE = 2


class Name(str):
    pass


class Point(NamedTuple):
    x: int
    when: datetime | None = None


class Options(TypedDict):
    width: int
    raw: NotRequired[bytes]


@dataclasses.dataclass
class Order:
    id: UUID
    total: Decimal
    raw: bytes = b""
    lines: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    weight: float = 0.0

    @functools.cached_property
    def size(self) -> int:
        return len(self.lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    y: Any = None


class Base(pydantic.BaseModel):
    x: int


class Derived(Base):
    y: int = 0


class Model(pydantic.BaseModel):
    id: int
    at: datetime
    tags: set[str] = set()
    given_name: str = pydantic.Field("", alias="givenName")
    nothing: Any = None
    hidden: int = pydantic.Field(0, exclude=True)
    _secret: int = pydantic.PrivateAttr(0)

    @pydantic.computed_field
    def double(self) -> int:
        return self.id * 2


class TwoNames(pydantic.BaseModel):
    given: str = pydantic.Field("", validation_alias="Given", serialization_alias="GIVEN")


class Open(pydantic.BaseModel, extra="allow"):
    x: int = 0


class Timestamped(pydantic.BaseModel):
    at: datetime

    @pydantic.field_serializer("at")
    def seconds(self, at: datetime) -> float:
        return at.timestamp()


UserId = NewType("UserId", int)


def signature_of(annotation: Any) -> Signature:
    def task(value): ...  # type: ignore[no-untyped-def]  # annotated in the next line

    task.__annotations__ = {"value": annotation, "return": annotation}
    return compile_signature(task, skip_first=False)


def arrive(signature: Signature, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call as the task receives it, through the text of a real message body."""
    body = Message("a", "t", *signature.encode(args, kwargs)).encode()
    message = decode(body)
    return signature.decode(message.args, message.kwargs)


def arrived(annotation: Any, value: Any) -> Any:
    """`value` as argument and as result, which must agree."""
    signature = signature_of(annotation)
    (got,), _ = arrive(signature, value)
    assert same(got, signature.decode_result(signature.encode_result(value)))
    return got


def same(value: Any, other: Any) -> bool:
    """Equality that tells types, signs, scales and offsets apart, written independently of the library's."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        keys = {key: key for key in other}
        return len(value) == len(other) and all(
            key in keys and same(key, keys[key]) and same(value[key], other[key]) for key in value
        )
    if isinstance(value, (set, frozenset)):
        return same(dict.fromkeys(value), dict.fromkeys(other))
    if isinstance(value, (list, tuple, deque)):
        return len(value) == len(other) and all(map(same, value, other))
    if dataclasses.is_dataclass(value):
        return all(same(getattr(value, field.name), getattr(other, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, pydantic.BaseModel):
        return same(value.__dict__, other.__dict__)
    if isinstance(value, datetime | time):
        return value == other and value.utcoffset() == other.utcoffset()
    return value == other and (repr(value) == repr(other) or isinstance(value, Base))


# Values that are restored. ---------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=15)
GREATEST, LEAST = 10**4300 - 1, 1 - 10**4299  # 4300 characters
SMALL_INTEGERS = st.integers(-(10**20), 10**20)
INTEGERS = SMALL_INTEGERS | st.sampled_from([0, 2**63, -(2**63) - 1, 2**64, 10**100, LEAST, GREATEST])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [-0.0, 5e-324, 1.7976931348623157e308, 1e22, 1e16]
)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
MOMENTS = st.datetimes(timezones=st.none() | OFFSETS)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
ORDERS = st.builds(
    Order,
    id=st.uuids(),
    total=DECIMALS,
    raw=st.binary(),
    lines=st.lists(st.tuples(TEXT, INTEGERS), max_size=2),
    weight=FLOATS,
)

PLAIN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXT),
    (int, INTEGERS),
    (float, FLOATS),
    (bool, st.booleans()),
    (None, st.none()),
    (Any, JSON),
    (object, JSON),
    (list, st.lists(JSON, max_size=3)),
    (dict, st.dictionaries(TEXT, JSON, max_size=3)),
    (list[int], st.lists(INTEGERS)),
    (list[str | None], st.lists(st.none() | TEXT)),
    (dict[str, float], st.dictionaries(TEXT, FLOATS)),
    (dict[str, list[bool]], st.dictionaries(TEXT, st.lists(st.booleans()))),
    (Optional[int], st.none() | INTEGERS),  # noqa: UP045  # the test is about the old spelling
    (
        int | float | str | bool | list[int] | dict[str, Any],
        st.booleans() | INTEGERS | FLOATS | TEXT | st.lists(INTEGERS),
    ),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (UserId, INTEGERS),
]
RICH: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (datetime, MOMENTS),
    (date, st.dates()),
    (time, st.times(timezones=st.none() | OFFSETS)),
    (timedelta, st.timedeltas()),
    (Decimal, DECIMALS),
    (UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (Size, st.sampled_from(Size)),
    (Mode, st.sampled_from(Mode)),
    (Access, st.sampled_from([Access.READ, Access.READ | Access.WRITE])),
    (bytes, st.binary()),
    (set[int], st.sets(SMALL_INTEGERS)),
    (frozenset[bytes], st.frozensets(st.binary())),
    (tuple[int, str], st.tuples(SMALL_INTEGERS, TEXT)),
    (tuple[datetime, ...], st.lists(MOMENTS).map(tuple)),
    (Order, ORDERS),
    (list[Order] | None, st.lists(ORDERS, max_size=2)),
    (Slotted, st.builds(Slotted, SMALL_INTEGERS, JSON)),
    (Model, st.builds(Model, id=SMALL_INTEGERS, at=MOMENTS, tags=st.sets(TEXT), givenName=TEXT, nothing=JSON)),
    (Open, st.builds(Open, x=SMALL_INTEGERS, y=JSON)),
    (Options, st.fixed_dictionaries({"width": SMALL_INTEGERS}, optional={"raw": st.binary()})),
    (Point, st.builds(Point, SMALL_INTEGERS, st.none() | MOMENTS)),
    (dict[int, UUID], st.dictionaries(SMALL_INTEGERS, st.uuids())),
    (dict[date, set[str]], st.dictionaries(st.dates(), st.sets(TEXT))),
    (int | Decimal | None, st.none() | SMALL_INTEGERS | DECIMALS),
    (Annotated[int, pydantic.Field(ge=0)], st.integers(0, 10**20)),
    (list[Annotated[Order, "documented"]], st.lists(ORDERS, max_size=2)),
    (Sequence[int], st.lists(SMALL_INTEGERS)),
    (Mapping[str, bytes], st.dictionaries(TEXT, st.binary())),
    (deque[int], st.lists(SMALL_INTEGERS).map(deque)),
    (OrderedDict[str, int], st.dictionaries(TEXT, SMALL_INTEGERS).map(OrderedDict)),
    (Counter[str], st.dictionaries(TEXT, st.integers(1, 9)).map(Counter)),
    (float | tuple[float, ...], FLOATS | st.lists(FLOATS).map(tuple)),
]


def ids(value: Any) -> str | None:
    return None if isinstance(value, st.SearchStrategy) else str(value)


class TestWhatTravels:
    @pytest.mark.parametrize(("annotation", "values"), [*PLAIN, *RICH], ids=ids)
    def test_it_arrives_exactly(self, annotation: Any, values: st.SearchStrategy[Any]) -> None:
        signature = signature_of(annotation)

        @settings(max_examples=20, deadline=None)
        @given(values)
        def check(value: Any) -> None:
            (got,), _ = arrive(signature, value)
            assert same(got, value)
            assert same(signature.decode_result(signature.encode_result(value)), value)

        check()

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (Path, Path("a/b")),
            (PurePosixPath, PurePosixPath("/a")),
            (re.Pattern[str], re.compile("a+")),
            (IPv4Address, IPv4Address("10.0.0.1")),
            (complex, 1 + 2j),
            (ZoneInfo, ZoneInfo("Europe/Berlin")),
            (defaultdict[str, list[int]], defaultdict(list, {"a": [1]})),
            (list[bytes], [b"\xff\x00"]),
            (Base | Derived, Derived(x=1, y=2)),
            (dict[int | str, int], {"1": 2}),
            (tuple[str, ...], ("NaN", "Infinity")),
            (Timestamped, Timestamped(at=datetime(2026, 1, 1, tzinfo=UTC))),
            (Annotated[int, pydantic.PlainSerializer(str)], 10**30),
        ],
        ids=ids,
    )
    def test_so_do_other_types_that_pydantic_knows(self, annotation: Any, value: Any) -> None:
        assert same(arrived(annotation, value), value)

    def test_an_int_for_a_float_stays_the_int_it_was(self) -> None:
        assert same(arrived(float, 2**53 + 1), 2**53 + 1)
        assert same(arrived(list[float], [1, 2.5]), [1, 2.5])

    def test_an_int_for_a_float_inside_a_dataclass_becomes_that_float(self) -> None:
        order = Order(UUID(int=1), Decimal(1), weight=3)
        assert same(arrived(Order, order).weight, 3.0)

    def test_an_aware_datetime_arrives_with_its_offset(self) -> None:
        got = arrived(datetime, datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")))
        assert got == datetime(2026, 7, 1, 10, tzinfo=UTC)
        assert got.utcoffset() == timedelta(hours=2)

    def test_a_naive_datetime_does_not_keep_its_fold(self) -> None:
        assert arrived(datetime, datetime(2026, 10, 25, 2, 30, fold=1)) == datetime(2026, 10, 25, 2, 30)

    @pytest.mark.parametrize("fold", [0, 1])
    def test_both_hours_of_the_autumn_change_arrive(self, fold: int) -> None:
        moment = datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
        assert arrived(datetime, moment).timestamp() == moment.timestamp()

    @pytest.mark.skipif(pydantic.VERSION.startswith(("2.9.", "2.10.")), reason="reads by alias or by name, never both")
    def test_a_model_may_be_read_and_written_under_different_aliases(self) -> None:
        assert same(arrived(TwoNames, TwoNames(Given="x")), TwoNames(Given="x"))  # type: ignore[call-arg]  # by alias, or an extra field
        ((got,), _) = signature_of(TwoNames).decode([{"Given": "y"}], {})
        assert got == TwoNames(Given="y")  # type: ignore[call-arg]  # by alias, or an extra field

    def test_a_cached_property_is_no_part_of_a_value(self) -> None:
        order = Order(UUID(int=1), Decimal(1), lines=[("a", 1)])
        assert order.size == 1
        assert same(arrived(Order, order), order)

    def test_nesting_up_to_the_limit_can_be_read_back(self) -> None:
        assert arrived(Any, nested(100)) == nested(100)
        assert arrived(list[Any] | None, nested(100)) == nested(100)
        assert arrived(tuple[Any, int], (nested(99), 1)) == (nested(99), 1)

    def test_a_long_list_with_one_odd_element_is_looked_at_closely(self) -> None:
        assert same(arrived(Any, [1, "ä", None, 2.5, True, {"a": [1]}]), [1, "ä", None, 2.5, True, {"a": [1]}])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# Values that raise. ----------------------------------------------------------------------------------------------

NAN, INFINITY = float("nan"), float("inf")
LOOP: list[Any] = []
LOOP.append(LOOP)
EXCLUDED = Model(id=1, at=datetime(2026, 1, 1), hidden=5)  # type: ignore[call-arg]  # by alias, or an extra field
SECRETIVE = Model(id=1, at=datetime(2026, 1, 1))  # type: ignore[call-arg]  # by alias, or an extra field
SECRETIVE._secret = 5
ALTERED = Base(x=1)
ALTERED.x = "1"  # type: ignore[assignment]  # as a careless caller does
EXTENDED = Order(UUID(int=1), Decimal(1))
EXTENDED.note = "lost"  # type: ignore[attr-defined]  # as a careless caller does

REFUSED: list[tuple[Any, Any, str]] = [
    # the wrong type
    (int, "5", "it is str, not int"),
    (int, True, "bool"),
    (int, 1.0, "it is float, not int"),
    (int, None, "NoneType"),
    (int, Size.SMALL, "annotate with Size"),
    (str, Name("a"), "annotate with Name"),
    (str, Mode.FAST, "annotate with Mode"),
    (str, b"a", "it is bytes, not str"),
    (float, "1.5", "not float"),
    (float, True, "bool"),
    (bool, 1, "not bool"),
    (None, 0, "not None"),
    (list[int], (1, 2), "not list"),
    (list[int], [1, True], r"'value'\[1\] got True"),
    (list[int], [1, 10**4300], r"\[1\]"),
    (list[int], [1, -(10**4299)], r"\[1\]"),
    (list[str], ["a", Name("b")], r"\[1\] got 'b'"),
    (list[float], [1.5, NAN], r"\[1\] got nan"),
    (dict[str, list[int]], {"a": [1], "b": [1, "2"]}, r"'value'\['b'\]\[1\] got '2'"),
    (dict[str, int], {"a": 1, 2: 3}, "dict key of type int"),
    (dict[str, int], OrderedDict(a=1), "OrderedDict"),
    (int | None, "5", r"it is str, not int \| None"),
    (list[int] | None, [1, "2"], r"\[1\] got '2'"),
    (Literal["a", 1], True, "not one of"),
    (Literal["a", 1], "b", "not one of"),
    (Literal["a"], Mode.FAST, "not one of"),
    (Literal["a"], ["a"], "not one of"),
    (UserId, "5", "not int"),
    (datetime, "2026-01-01T00:00:00", "becomes datetime"),
    (datetime, date(2026, 1, 1), "cannot be written"),
    (date, datetime(2026, 1, 1), "cannot be written"),
    (Decimal, 1.5, "becomes"),
    (Decimal, 1, "becomes"),
    (UUID, "00000000-0000-0000-0000-000000000001", "becomes UUID"),
    (Colour, "red", "becomes"),
    (bytes, "text", "cannot be written|becomes"),
    (set[int], [1], "becomes"),
    (set[int], frozenset([1]), "becomes"),
    (set[int], {True}, "True|bool"),
    (tuple[int, str], [1, "a"], "becomes"),
    (tuple[int, str], (1, "a", 2), "cannot be written"),
    (tuple[int, ...], ("1",), "cannot be written|becomes"),
    (Base, {"x": 1}, "becomes"),
    (Order, {"id": UUID(int=1), "total": Decimal(1)}, "becomes|cannot be written"),
    (Order, Base(x=1), "cannot be written"),
    (Path, "a/b", "becomes"),
    (Sequence[int], (1, 2), "becomes"),
    (Iterable[int], [1, 2], "becomes"),
    (Callable[[], None], print, "cannot be written"),
    (dict[tuple[int, int], int], {(1, 2): 3}, "cannot be written"),
    # no such thing in JSON
    (float, NAN, "finite"),
    (float, INFINITY, "finite"),
    (float, -INFINITY, "finite"),
    (Any, NAN, "finite"),
    (Any, {"a": [INFINITY]}, r"'value'\['a'\]\[0\] got inf"),
    (float | None, NAN, "finite"),
    (tuple[float, ...], (1.0, NAN), "cannot be written"),
    (tuple[float | None, ...], (NAN,), "becomes None"),
    (Decimal, Decimal("NaN"), "cannot be written"),
    (Slotted, Slotted(1, NAN), "becomes None"),
    (str, "\ud800", "surrogate"),
    (Any, {"\udfff": 1}, "surrogate"),
    (list[str], ["a", "\ud800"], "surrogate"),
    (tuple[str, ...], ("\ud800",), "cannot be written"),
    (int, 10**4300, "4300 characters"),
    (int, -(10**4299), "4300 characters"),
    (float, 10**4300, "4300 characters"),
    (tuple[int, ...], (10**4300,), "cannot be written"),
    (Any, nested(101), "100 levels"),
    (Any, LOOP, "100 levels"),
    (list[Any], nested(101), "100 levels"),
    (dict[str, Any], {"a": nested(100)}, "100 levels"),
    (tuple[Any, int], (nested(100), 1), "100 levels"),
    (tuple[Any, int], (nested(198), 1), "100 levels|cannot be written"),
    (tuple[Any, int], (LOOP, 1), "cannot be written"),
    # would come back as something else
    (Any, Name("a"), "annotate with its type"),
    (Any, Size.SMALL, "annotate with its type"),
    (Any, (1, 2), "annotate with its type"),
    (Any, {1: 2}, "dict key"),
    (Any, {Name("a"): 2}, "dict key"),
    (Any, datetime(2026, 1, 1), "annotate with its type"),
    (Any, b"a", "annotate with its type"),
    (Any, object(), "annotate with its type"),
    (str | bytes, b"a", "becomes 'YQ=='"),
    (datetime | str, "2026-01-01T00:00:00", "becomes datetime"),
    (str | UUID, "00000000-0000-0000-0000-000000000001", "becomes UUID"),
    (int | Decimal, Size.SMALL, "becomes 1"),
    (Base, Derived(x=1, y=5), "Derived"),
    (list[Base], [Derived(x=1, y=5)], "Derived"),
    (Model, EXCLUDED, "'hidden'"),
    (Model, SECRETIVE, "'_secret'"),
    (Model, Model(id=1, at=datetime(2026, 1, 1), nothing=(1,)), "'nothing'"),  # type: ignore[call-arg]  # by alias, or an extra field
    (Base, ALTERED, "x: Input should be a valid integer"),
    (Open, Open(x=1, y=UUID(int=1)), "'y'"),  # type: ignore[call-arg]  # by alias, or an extra field
    (Order, EXTENDED, "'note' is lost"),
    (Order, Order(UUID(int=1), 1.0), "'total'"),  # type: ignore[arg-type]  # the test is about the mistake
    (Slotted, Slotted(1, {1: 2}), "'y'"),
    (Options, {"width": 1, "height": 2}, "'height' is lost"),
    (pydantic.SecretStr, pydantic.SecretStr("hush"), "becomes"),
    (re.Pattern[str], re.compile("a", re.IGNORECASE), "becomes"),
    (deque[int], deque([1], maxlen=3), "becomes"),
    (dict[Any, int], {1: 2}, "dict key"),
    (dict[int | str, int], {1: 2}, "1 is lost"),
]

REFUSED_IDS = [f"{type(value).__name__} for {annotation}" for annotation, value, _ in REFUSED]


class TestWhatIsRefused:
    @pytest.mark.parametrize(("annotation", "value", "why"), REFUSED, ids=REFUSED_IDS)
    def test_it_is_refused_with_task_parameter_and_reason(self, annotation: Any, value: Any, why: str) -> None:
        signature = signature_of(annotation)
        with pytest.raises(ArgumentsError, match=why) as caught:
            signature.encode((value,), {})
        text = str(caught.value)
        assert text.startswith("signature_of.<locals>.task: the parameter 'value'")
        assert " got " in text
        assert ": it " in text or "JSON has" in text
        assert "; " in text
        assert len(text) < 600
        with pytest.raises(ArgumentsError, match="task: the result"):
            signature.encode_result(value)

    def test_keywords_and_variadic_arguments_are_named_too(self) -> None:
        def task(a: int, *more: int, key: int = 0, **others: int) -> None: ...

        signature = compile_signature(task, skip_first=False)
        for args, kwargs, name in [
            (("x",), {}, "'a'"),
            ((1, 2, "x"), {}, r"'more\[1\]'"),
            ((1,), {"key": "x"}, "'key'"),
            ((1,), {"b": 1, "c": "x"}, "'c'"),
            ((), {"a": "x"}, "'a'"),
        ]:
            with pytest.raises(ArgumentsError, match=f"the parameter {name} got 'x'"):
                signature.encode(args, kwargs)  # type: ignore[arg-type]  # wrong on purpose
            with pytest.raises(ArgumentsError, match=f"the parameter {name} got 'x'"):
                signature.decode(list(args), kwargs)  # type: ignore[arg-type]  # wrong on purpose

    def test_the_name_of_an_argument_must_travel_as_well(self) -> None:
        with pytest.raises(ArgumentsError, match="surrogate"):
            JsonSignature("t").encode((), {"\ud800": 1})

    def test_a_repr_that_fails_does_not_hide_the_refusal(self) -> None:
        class Broken:
            def __repr__(self) -> str:
                raise RuntimeError("no repr")

        with pytest.raises(ArgumentsError, match="'value' got <"):
            signature_of(Any).encode((Broken(),), {})

    def test_what_a_hook_of_the_user_raises_is_a_refusal(self) -> None:
        class Hostile(pydantic.BaseModel):
            x: int

            @pydantic.field_serializer("x")
            def fail(self, x: int) -> int:
                raise KeyError("inside")

        with pytest.raises(ArgumentsError, match="inside"):
            signature_of(Hostile).encode((Hostile(x=1),), {})

    def test_no_default_is_annotated_none_by_surprise(self) -> None:
        def task() -> None: ...

        signature = compile_signature(task, skip_first=False)
        assert signature.decode_result(signature.encode_result(None)) is None
        with pytest.raises(ArgumentsError, match="the result got 0"):
            signature.encode_result(0)


ODD_SCALARS = (
    SCALARS
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | DECIMALS
    | MOMENTS
    | st.dates()
    | st.uuids()
    | st.sampled_from(
        [*Colour, *Size, *Mode, Name("a"), object(), Base(x=1), Derived(x=1), "2026-01-01", "1", "\ud800", int]
    )
)
ODD = st.recursive(
    ODD_SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXT | SMALL_INTEGERS | st.none() | st.booleans(), inner, max_size=3)
        | st.sets(SMALL_INTEGERS | TEXT | st.booleans(), max_size=3)
        | st.builds(Slotted, inner, inner)
    ),
    max_leaves=5,
)
BROAD = [
    Any,
    str,
    int,
    float,
    bool | float,
    list[Any],
    dict[str, Any],
    list[float] | dict[str, float],
    str | bytes,
    datetime | str,
    date | datetime | None,
    UUID | str | int,
    Decimal | float | int,
    Colour | Size | Mode | str,
    tuple[Any, ...],
    set[Any] | frozenset[str],
    list[Slotted | Base | None],
    dict[int | str, Any],
    dict[Any, Any] | set[int],
    Slotted,
    Base,
    Base | Derived,
    Sequence[Any] | Mapping[Any, Any],
]
COMPILED = [signature_of(annotation) for annotation in BROAD]


def same_but_for_floats(value: Any, other: Any) -> bool:
    """`same`, but an int may have become that float."""
    if type(value) is float and type(other) is int:
        return value == other
    if type(value) is type(other) and isinstance(value, (list, tuple)):
        return len(value) == len(other) and all(map(same_but_for_floats, value, other))
    return same(value, other)


class TestAnythingAtAll:
    @settings(max_examples=500, deadline=None)
    @given(st.sampled_from(COMPILED), ODD)
    def test_it_is_refused_by_name_or_arrives_exactly(self, signature: Signature, value: Any) -> None:
        try:
            args, kwargs = signature.encode((value,), {})
        except ArgumentsError as error:
            named = str(error)
        else:
            named = ""
        if named:
            assert "the parameter 'value'" in named
            return
        message = decode(Message("a", "t", args, kwargs).encode())
        (got,), _ = signature.decode(message.args, message.kwargs)
        assert same_but_for_floats(got, value)

    @settings(max_examples=200, deadline=None)
    @given(
        st.sampled_from([*COMPILED, signature_of(Order), signature_of(Model), JsonSignature()]),
        st.lists(JSON, max_size=2),
        st.dictionaries(TEXT | st.just("value"), JSON, max_size=2),
    )
    def test_whatever_a_body_holds_is_decoded_or_refused(
        self, signature: Signature, args: list[Any], kwargs: dict[str, Any]
    ) -> None:
        try:
            signature.decode(args, kwargs)
        except ArgumentsError:
            return


class TestDecoding:
    """Bodies need not come from this library."""

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (int, "5"),
            (int, 5.0),
            (bool, 1),
            (float, INFINITY),
            (float, NAN),
            (Any, INFINITY),
            (list[Any], [{"a": -INFINITY}]),
            (str | None, 5),
            (datetime, 5),
            (datetime, "soon"),
            (date, "2026-01-01T10:00:00"),
            (tuple[int, ...], ["5"]),
            (set[int], {"a": 1}),
            (bytes, "not base64!"),
            (Colour, "blue"),
            (Base, {"x": "1"}),
            (Base, {}),
            (Base, None),
            (tuple[Any, ...], [INFINITY]),
        ],
        ids=ids,
    )
    def test_a_value_that_does_not_fit_is_refused_by_parameter(self, annotation: Any, value: Any) -> None:
        signature = signature_of(annotation)
        with pytest.raises(ArgumentsError, match="the parameter 'value'"):
            signature.decode([value], {})
        with pytest.raises(ArgumentsError, match="the parameter 'value'"):
            signature.decode([], {"value": value})

    def test_a_number_too_large_for_a_float_is_refused(self) -> None:
        for annotation in (float, Any, tuple[float, ...] | float):
            with pytest.raises(ArgumentsError, match="'value'"):
                signature_of(annotation).decode([math.inf], {})

    def test_fields_that_a_model_does_not_know_are_left_to_the_model(self) -> None:
        ((got,), _) = signature_of(Base).decode([{"x": 1, "new": 2}], {})
        assert got == Base(x=1)

    @pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "\ud800"])
    def test_a_result_that_is_not_json_is_refused(self, text: str) -> None:
        with pytest.raises(ArgumentsError, match="the result"):
            signature_of(Any).decode_result(text)

    @pytest.mark.parametrize(
        ("annotation", "text"), [(int, '"5"'), (None, "0"), (float, "1e400"), (datetime, "5"), (Any, "[1e999]")]
    )
    def test_a_result_that_does_not_fit_is_refused(self, annotation: Any, text: str) -> None:
        with pytest.raises(ArgumentsError, match=r"the result(\[0\])? got"):
            signature_of(annotation).decode_result(text)


class TestArity:
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((1, 2), {}),
            ((1, 2, 3), {}),
            ((1,), {"b": 2}),
            ((1,), {"b": 2, "c": 3}),
            ((1, 2), {"d": 4}),
            ((1, 2, 3, 4, 5), {"d": 4, "e": 5}),
            ((1, 2), {"a": 9}),
        ],
    )
    def test_a_call_arrives_as_it_was_made(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        def task(a: int, /, b: int, c: int = 7, *more: int, d: int = 8, **others: int) -> None: ...

        assert arrive(compile_signature(task, skip_first=False), *args, **kwargs) == (args, kwargs)

    def test_defaults_are_left_to_the_function(self) -> None:
        def task(a: int, b: Path = Path("x"), *, c: datetime | None = None) -> None: ...

        signature = compile_signature(task, skip_first=False)
        assert signature.encode((1,), {}) == ([1], {})
        assert signature.decode([1], {}) == ((1,), {})

    @pytest.mark.parametrize(
        ("args", "kwargs", "why"),
        [
            ((), {}, "missing a required argument: 'a'"),
            ((1,), {}, "missing a required argument: 'b'"),
            ((1,), {"c": 3}, "missing a required argument: 'b'"),
            ((1, 2), {}, "argument: 'd'"),  # newer Pythons say "keyword-only argument"
            ((1, 2, 3), {}, "argument: 'd'"),
            ((1, 2, 3, 4), {"d": 1}, "too many positional arguments"),
            ((1, 2), {"d": 1, "z": 2}, "unexpected keyword argument 'z'"),
            ((1, 2), {"d": 1, "b": 2}, "multiple values for argument 'b'"),
            ((), {"a": 1, "b": 2, "d": 3}, "'a'"),
        ],
    )
    def test_a_call_that_does_not_fit_is_refused_with_the_signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
    ) -> None:
        def task(a: int, /, b: int, c: int = 7, *, d: int) -> None: ...

        signature = compile_signature(task, skip_first=False)
        for call in (lambda: signature.encode(args, kwargs), lambda: signature.decode(list(args), kwargs)):
            with pytest.raises(ArgumentsError, match=re.escape(why)) as caught:
                call()
            assert "task(a: int, /, b: int, c: int = 7, *, d: int) -> None" in str(caught.value)

    def test_it_is_a_type_error_as_in_a_direct_call(self) -> None:
        with pytest.raises(TypeError):
            signature_of(int).encode((), {})

    def test_a_function_without_parameters_takes_none(self) -> None:
        def task() -> None: ...

        signature = compile_signature(task, skip_first=False)
        assert signature.decode(*signature.encode((), {})) == ((), {})
        with pytest.raises(ArgumentsError, match="too many"):
            signature.encode((1,), {})

    def test_a_task_without_its_code_takes_any_plain_json(self) -> None:
        signature = JsonSignature("shop:f")
        assert arrive(signature, 1, [None], a={"b": 2.5}) == ((1, [None]), {"a": {"b": 2.5}})
        assert signature.decode_result(signature.encode_result([1])) == [1]
        with pytest.raises(ArgumentsError, match=r"shop:f: the parameter 'args\[1\]' got \(1,\)"):
            signature.encode((0, (1,)), {})
        with pytest.raises(ArgumentsError, match="shop:f: the parameter 'when'"):
            signature.encode((), {"when": date(2026, 1, 1)})


class TestCompiling:
    def test_the_context_is_left_out_whatever_its_annotation(self) -> None:
        def task(ctx: Missing, a: int) -> None: ...

        signature = compile_signature(task, skip_first=True)
        assert signature.encode((1,), {}) == ([1], {})
        assert str(signature).endswith("task(a: int) -> None")

    def test_a_name_that_exists_only_for_type_checkers_is_refused(self) -> None:
        def task(a: list[Missing]) -> None: ...

        with pytest.raises(ConfigError, match=r"task: the parameter 'a'.*'Missing'.*not only under TYPE_CHECKING"):
            compile_signature(task, skip_first=False)

        def report() -> Missing: ...

        with pytest.raises(ConfigError, match=r"report: the result.*'Missing'"):
            compile_signature(report, skip_first=False)

    def test_local_names_can_be_given(self) -> None:
        class Local(Enum):
            A = 1

        def task(a: Local) -> None: ...

        with pytest.raises(ConfigError, match="'Local'"):
            compile_signature(task, skip_first=False)
        assert arrive(compile_signature(task, skip_first=False, localns=locals()), Local.A) == ((Local.A,), {})

    @pytest.mark.parametrize(
        "annotation", [5, print, "1 +", "datetime.nothing", range, type(sys), bytearray, types.SimpleNamespace], ids=str
    )
    def test_an_annotation_whose_values_cannot_travel_is_refused(self, annotation: Any) -> None:
        with pytest.raises(ConfigError, match=r"task: the parameter 'value'.*(annotate with|use an expression)"):
            signature_of(annotation)

    def test_a_model_that_is_never_finished_is_refused(self) -> None:
        class Unfinished(pydantic.BaseModel):
            x: Missing

        with pytest.raises(ConfigError, match="the parameter 'value'"):
            signature_of(Unfinished)

    def test_a_function_written_in_c_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="written in Python"):
            compile_signature(dict.update, skip_first=False)

    def test_a_function_that_never_returns_needs_no_result(self) -> None:
        def task() -> NoReturn:
            raise SystemExit

        compile_signature(task, skip_first=False)

    def test_a_wrapped_function_is_seen_through(self) -> None:
        def task(when: datetime) -> None: ...

        another_module: dict[str, Any] = {}
        exec("def wrapper(*args, **kwargs): ...", another_module)
        wrapper = functools.wraps(task)(another_module["wrapper"])
        moment = datetime(2026, 1, 1)
        assert arrive(compile_signature(wrapper, skip_first=False), moment) == ((moment,), {})

    def test_coroutine_functions_have_the_result_they_return(self) -> None:
        async def task() -> date:
            return date(2026, 1, 1)

        signature = compile_signature(task, skip_first=False)
        assert signature.encode_result(date(2026, 1, 1)) == '"2026-01-01"'

    def test_no_annotation_means_plain_json(self) -> None:
        def task(a, *b, **c): ...  # type: ignore[no-untyped-def]  # the test is about it

        signature = compile_signature(task, skip_first=False)
        assert arrive(signature, [1], "x", y=None) == (([1], "x"), {"y": None})
        with pytest.raises(ArgumentsError, match="annotate with its type"):
            signature.encode((date(2026, 1, 1),), {})
        with pytest.raises(ArgumentsError, match="the result"):
            signature.encode_result(b"")

    def test_plain_and_rich_parameters_mix(self) -> None:
        def task(a: int, when: datetime, *rest: Decimal, raw: bytes = b"", **more: UUID) -> None: ...

        args = (1, datetime(2026, 1, 1), Decimal("1.00"))
        kwargs = {"raw": b"\xff", "x": UUID(int=5)}
        assert arrive(compile_signature(task, skip_first=False), *args, **kwargs) == (args, kwargs)

    def test_what_is_written_is_readable_json(self) -> None:
        def task(when: datetime, raw: bytes, size: Size, tags: set[str]) -> None: ...

        encoded, _ = compile_signature(task, skip_first=False).encode(
            (datetime(2026, 1, 1), b"\xff", Size.SMALL, {"a"}), {}
        )
        assert from_json(to_json(encoded)) == ["2026-01-01T00:00:00", "_w==", 1, ["a"]]


class TestSameness:
    """Values that pydantic restores today are compared too."""

    @pytest.mark.parametrize(
        ("sent", "arrived"),
        [
            (0.0, -0.0),
            (1.0, 1),
            (NAN, NAN),
            (2**53 + 1, float(2**53)),
            (True, 1),
            ([1], (1,)),
            ([1, 2], [1]),
            ({1: 2}, {True: 2}),
            ({1: 2}, {1: 2, 3: 4}),
            ({1, 2}, {1, 3}),
            (Decimal("1.0"), Decimal("1.00")),
            (datetime(2026, 1, 1), datetime(2026, 1, 2)),
            (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
            (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 1, 1, tzinfo=UTC)),
            (datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(2026, 1, 1, tzinfo=UTC)),
            (time(1, tzinfo=UTC), time(1)),
            (defaultdict(list), defaultdict(set)),
            (Slotted(1), Slotted(2)),
            (Open(x=1, y=2), Open(x=1)),  # type: ignore[call-arg]  # by alias, or an extra field
            (Open(x=1), Open(x=1, y=2)),  # type: ignore[call-arg]  # by alias, or an extra field
            (Colour.RED, Colour.TWO),
        ],
        ids=repr,
    )
    def test_a_difference_is_told(self, sent: Any, arrived: Any) -> None:
        assert difference(sent, arrived)
        assert difference([{"a": sent}], [{"a": arrived}])


def run(code: str) -> str:
    """The output of a fresh interpreter for `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestColdStart:
    def test_plain_functions_do_not_import_pydantic(self) -> None:
        assert (
            run("""
                import sys
                from typing import Any, Literal, Optional
                from taskq_sls.serialization import JsonSignature, compile_signature

                def task(a: int, b: Optional[list[str]], *c: dict[str, float], d: Any = 1, e: Literal["x"] = "x", f=None) -> None: ...

                signature = compile_signature(task, skip_first=False)
                encoded = signature.encode((1, None, {"a": 1.5}), {"d": [True]})
                assert signature.decode(*encoded) == ((1, None, {"a": 1.5}), {"d": [True]})
                JsonSignature("t").encode((1,), {})
                print("pydantic" in sys.modules, "pydantic_core" in sys.modules)
            """)
            == "False True"
        )

    def test_rich_functions_do(self) -> None:
        assert (
            run("""
                import sys
                from datetime import date
                from taskq_sls.serialization import compile_signature

                def task(a: int, day: date) -> None: ...

                signature = compile_signature(task, skip_first=False)
                encoded = signature.encode((1, date(2026, 1, 2)), {})
                assert signature.decode(*encoded) == ((1, date(2026, 1, 2)), {})
                print("pydantic" in sys.modules)
            """)
            == "True"
        )


def test_extreme_numbers_arrive() -> None:
    assert math.copysign(1, arrived(float, -0.0)) == -1
    assert arrived(float, 5e-324) == 5e-324
    assert arrived(int, 10**4300 - 1) == 10**4300 - 1
