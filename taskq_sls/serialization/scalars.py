"""The base of all plain codecs, the codecs of JSON's scalars, and the error of a value that does not fit."""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Collection
from typing import Any

from ..core.safe_text import qualname

MAX_DEPTH = 100
"""Levels of lists and dicts in one value. pydantic_core's JSON parser stops at 201, the envelope included."""

MAX_NUMBER_LENGTH = 4_300
"""Characters of an ``int`` in JSON, the sign included: the most that every pydantic_core since 2.9 reads."""

_MAX_INT = 10**MAX_NUMBER_LENGTH - 1
_MIN_INT = 1 - 10 ** (MAX_NUMBER_LENGTH - 1)


class Plain:
    """The codec of one plain annotation.

    Attributes:
        exact: the type whose values, if parsed from JSON, all fit; None if there is none.
        title: the annotation as source text.
    """

    exact: type | None = None
    title: str

    def encode(self, value: Any) -> Any:
        """`value` itself, checked before it is written into a body."""
        self.check(value, MAX_DEPTH)
        return value

    def decode(self, value: Any) -> Any:
        """`value` itself, checked after it was read from a body."""
        self.check(value, MAX_DEPTH)
        return value

    def check(self, value: Any, room: int) -> None:
        """Raise :class:`Inexact` unless `value` fits; `room` is the number of nested levels it may have."""
        raise NotImplementedError

    def all_fit(self, values: Collection[Any]) -> bool:
        """True if a fast check shows that all `values` fit. After False, each must be checked."""
        return False

    def wrong_type(self, value: Any) -> Inexact:
        kind = type(value)
        if self.exact is not None and isinstance(value, self.exact):
            return Inexact(
                value,
                f"it is {kind.__qualname__}, which would come back as a bare {self.title}",
                f"annotate with {kind.__qualname__}, or pass {self.title}(...)",
            )
        return Inexact(
            value, f"it is {kind.__qualname__}, not {self.title}", "pass a value of that type, or change the annotation"
        )


class _Text(Plain):
    exact = str
    title = "str"

    def check(self, value: Any, room: int) -> None:
        if type(value) is not str:
            raise self.wrong_type(value)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Inexact(
                    value,
                    "it has half of a surrogate pair, which UTF-8 cannot encode",
                    "clean the text, or pass bytes",
                ) from None

    def all_fit(self, values: Collection[Any]) -> bool:
        return set(map(type, values)) <= {str} and all(map(str.isascii, values))


class _Integer(Plain):
    exact = int
    title = "int"

    def check(self, value: Any, room: int) -> None:
        if type(value) is not int:
            raise self.wrong_type(value)
        if not _MIN_INT <= value <= _MAX_INT:
            raise Inexact(
                value, f"it takes more than {MAX_NUMBER_LENGTH} characters, the most that is supported", "pass a str"
            )

    def all_fit(self, values: Collection[Any]) -> bool:
        return not values or (set(map(type, values)) == {int} and min(values) >= _MIN_INT and max(values) <= _MAX_INT)


class _Float(Plain):
    title = "float"

    def check(self, value: Any, room: int) -> None:
        if type(value) is int:
            INTEGER.check(value, room)
        elif type(value) is not float:
            raise self.wrong_type(value)
        elif not math.isfinite(value):
            raise Inexact(value, "JSON has no such number", "pass a finite number, or None")

    def all_fit(self, values: Collection[Any]) -> bool:
        return set(map(type, values)) <= {float} and all(map(math.isfinite, values))

    def wrong_type(self, value: Any) -> Inexact:
        if isinstance(value, float):
            return Inexact(
                value, f"it is {type(value).__qualname__}, which would come back as float", "pass float(...)"
            )
        return super().wrong_type(value)


class _Boolean(Plain):
    exact = bool
    title = "bool"

    def check(self, value: Any, room: int) -> None:
        if type(value) is not bool:
            raise self.wrong_type(value)


class _Nothing(Plain):
    exact = types.NoneType
    title = "None"

    def check(self, value: Any, room: int) -> None:
        if value is not None:
            raise self.wrong_type(value)


TEXT = _Text()
INTEGER = _Integer()
NONE = _Nothing()

SCALARS: dict[type, Plain] = {
    str: TEXT,
    int: INTEGER,
    float: _Float(),
    bool: _Boolean(),
    types.NoneType: NONE,
}


class Inexact(Exception):
    """A value does not fit its annotation, or would not come back from JSON as the same value.

    Attributes:
        value: the offending value; inside a container, the element.
        why: the reason, in words.
        fix: how to mend it.
        path: its place inside the value that was passed, such as ``[3]['name']``.
    """

    def __init__(self, value: object, why: str, fix: str) -> None:
        super().__init__(why)
        self.value = value
        self.why = why
        self.fix = fix
        self.path = ""

    def inside(self, step: object) -> Inexact:
        """The same error, for the container that has the value at `step`."""
        self.path = f"[{shortened(step)}]{self.path}"
        return self

    def explain(self, subject: str) -> str:
        """One sentence for people; `subject` names the parameter or the result."""
        return f"{subject}{self.path} got {shortened(self.value)}: {self.why}; {self.fix}"

    def explain_without_value(self, subject: str) -> str:
        """The same without the value, and without the texts of pydantic and of hooks of its class, which may quote it."""
        return f"{subject} got a {qualname(type(self.value))} that does not fit it, and is not shown; {self.fix}"


class _ShortRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80


_SHORT = _ShortRepr()


def shortened(value: object) -> str:
    """The repr of `value`, at most about a line long; never raises."""
    try:
        return str.__str__(_SHORT.repr(value))
    except BaseException:  # a repr of the caller's own, or an int with more digits than Python prints
        return f"<{qualname(type(value))}>"
