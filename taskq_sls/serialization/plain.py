"""Annotations of JSON types: their values are checked, never converted.

``str``, ``int``, ``float``, ``bool``, ``None``, lists of those, dicts with ``str`` keys, unions and literals of them, and
``Any``. A value passes only if it comes back from the message body equal and of the same type. An ``int`` for a
``float`` is accepted, as Python's typing does, and arrives as the same ``int``.

Nothing here imports pydantic: a function with only such annotations has a shorter cold start.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

from .scalars import MAX_DEPTH, NONE, SCALARS, TEXT, Inexact, Plain


def plain_codec(annotation: Any) -> Plain | None:
    """The codec of an annotation, or None if its values are not plain JSON."""
    if annotation is Any or annotation is object or annotation is inspect.Parameter.empty:
        return JSON
    if annotation is None:
        return NONE
    if isinstance(annotation, typing.NewType):
        return plain_codec(annotation.__supertype__)
    generic = annotation if annotation is list or annotation is dict else typing.get_origin(annotation)
    for known, compile_arguments in _GENERIC:  # not a dict: a class may have a metaclass without a hash
        if generic is known:
            return compile_arguments(typing.get_args(annotation))
    return SCALARS.get(annotation) if isinstance(annotation, type) else None


def _literal(choices: tuple[Any, ...]) -> Plain | None:
    exact = all(type(choice) in (str, int, bool, types.NoneType) for choice in choices)
    return Choice(choices) if exact else None


def _list(arguments: tuple[Any, ...]) -> Plain | None:
    item = plain_codec(arguments[0]) if arguments else JSON
    return item and ListOf(item)


def _dict(arguments: tuple[Any, ...]) -> Plain | None:
    key, value = arguments or (str, Any)
    item = plain_codec(value) if key in (str, Any, object) else None
    return item and DictOf(item)


def _union(arguments: tuple[Any, ...]) -> Plain | None:
    members = [plain_codec(argument) for argument in arguments]
    known = [member for member in members if member is not None]
    return OneOf(known) if len(known) == len(members) else None


_GENERIC: tuple[tuple[Any, Callable[[tuple[Any, ...]], Plain | None]], ...] = (
    (typing.Union, _union),
    (types.UnionType, _union),
    (typing.Literal, _literal),
    (list, _list),
    (dict, _dict),
)


class ListOf(Plain):
    """``list[item]``."""

    def __init__(self, item: Plain) -> None:
        self.title = f"list[{item.title}]"
        self._item = item

    def check(self, value: Any, room: int) -> None:
        if type(value) is not list:
            raise self.wrong_type(value)
        if not room:
            raise too_deep(value)
        if self._item.all_fit(value):
            return
        for index, element in enumerate(value):
            try:
                self._item.check(element, room - 1)
            except Inexact as error:
                raise error.inside(index) from None


class DictOf(Plain):
    """``dict[str, item]``."""

    def __init__(self, item: Plain) -> None:
        self.title = f"dict[str, {item.title}]"
        self._item = item

    def check(self, value: Any, room: int) -> None:
        if type(value) is not dict:
            raise self.wrong_type(value)
        if not room:
            raise too_deep(value)
        if not TEXT.all_fit(value):
            for key in value:
                check_key(key)
        if self._item.all_fit(value.values()):
            return
        for key, element in value.items():
            try:
                self._item.check(element, room - 1)
            except Inexact as error:
                raise error.inside(key) from None


class OneOf(Plain):
    """A union: accepts the values that one of its members accepts."""

    def __init__(self, members: list[Plain]) -> None:
        self.title = " | ".join(member.title for member in members)
        self._members = members

    def check(self, value: Any, room: int) -> None:
        errors: list[Inexact] = []
        for member in self._members:
            try:
                return member.check(value, room)
            except Inexact as error:
                errors.append(error)
        # A member that accepts the type gives the better reason.
        for member, best in zip(self._members, errors, strict=True):
            if best.why != member.wrong_type(value).why:
                raise best
        raise self.wrong_type(value)


class Choice(Plain):
    """``Literal`` of str, int, bool and None; compared by type too, since ``True == 1``."""

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.title = f"Literal[{', '.join(map(repr, choices))}]"
        self._choices = {(type(choice), choice) for choice in choices}
        self._types = {type(choice) for choice in choices}

    def check(self, value: Any, room: int) -> None:
        if type(value) not in self._types or (type(value), value) not in self._choices:
            raise Inexact(value, f"it is not one of {self.title}", "pass one of these")


class _Json(Plain):
    """``Any``: all values that JSON has."""

    title = "plain JSON"

    def check(self, value: Any, room: int) -> None:
        codec = _JSON_TYPES.get(type(value))
        if codec is None:
            kind = type(value).__qualname__
            raise Inexact(
                value,
                f"it is {kind}, which is not plain JSON (str, int, float, bool, None, list, dict with str keys)",
                f"annotate with its type ({kind})",
            )
        codec.check(value, room)

    def all_fit(self, values: Collection[Any]) -> bool:
        kinds = set(map(type, values))
        if len(kinds) != 1:
            return not kinds
        codec = SCALARS.get(kinds.pop())
        return codec is not None and codec.all_fit(values)


def check_key(key: object) -> None:
    """Raise :class:`Inexact` unless `key` can be the name of a JSON field."""
    if type(key) is not str:
        raise Inexact(
            key,
            f"it is a dict key of type {type(key).__qualname__}, and JSON has only str keys",
            "use str keys, or annotate with dict[key type, value type]",
        )
    TEXT.check(key, 0)


def too_deep(value: object) -> Inexact:
    """The error of a value with more levels than :data:`MAX_DEPTH`."""
    return Inexact(value, f"it is nested deeper than {MAX_DEPTH} levels", "pass a flatter value, or JSON text as str")


JSON = _Json()
_JSON_TYPES: dict[type, Plain] = {**SCALARS, list: ListOf(JSON), dict: DictOf(JSON)}
