"""The scalars of JSON, and what every plain annotation has in common."""

from __future__ import annotations

import math
import types
from collections.abc import Collection
from typing import Any

from .inexact import Inexact

MAX_DEPTH = 100
"""Levels of lists and dicts in one value. pydantic_core's JSON parser stops at 201, the envelope included."""

MAX_NUMBER_LENGTH = 4_300
"""Characters of an ``int`` in JSON, the sign included: the most that every pydantic_core since 2.9 reads."""

_GREATEST = 10**MAX_NUMBER_LENGTH - 1
_LEAST = 1 - 10 ** (MAX_NUMBER_LENGTH - 1)


class Plain:
    """One annotation.

    Attributes:
        exact: the type whose values all fit when they come from parsed JSON; None if there is no such type.
        title: the annotation as people write it.
    """

    exact: type | None = None
    title: str

    def encode(self, value: Any) -> Any:
        """`value`, checked: as it may be written into a body."""
        self.check(value, MAX_DEPTH)
        return value

    def decode(self, value: Any) -> Any:
        """`value`, checked: as it was read from a body."""
        self.check(value, MAX_DEPTH)
        return value

    def check(self, value: Any, room: int) -> None:
        """Raise :class:`Inexact` unless `value` fits; `room` is how many more levels of nesting it may have."""
        raise NotImplementedError

    def all_fit(self, values: Collection[Any]) -> bool:
        """Whether all `values` fit, seen at the speed of C; False only means that each must be looked at."""
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
                    "it holds half of a surrogate pair, which UTF-8 cannot carry",
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
        if not _LEAST <= value <= _GREATEST:
            raise Inexact(
                value, f"it takes more than {MAX_NUMBER_LENGTH} characters, the most that is read", "pass a str"
            )

    def all_fit(self, values: Collection[Any]) -> bool:
        return not values or (set(map(type, values)) == {int} and min(values) >= _LEAST and max(values) <= _GREATEST)


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
