"""Compares a value with its copy that went through JSON: equal, and of the same types at every level."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from .scalars import shortened


def difference(sent: Any, arrived: Any) -> str | None:
    """The first difference between two values, in words; None if they are the same.

    An ``int`` may have become the same number as a ``float``, since it is accepted for ``float``. Aware datetimes are
    the same if instant and offset are the same; naive ones if they show the same time, with any fold.
    """
    kind = type(sent)
    if kind is not type(arrived):
        if kind is int and type(arrived) is float and sent == arrived:
            return None
        return f"{shortened(sent)} ({kind.__qualname__}) becomes {shortened(arrived)} ({type(arrived).__qualname__})"
    for base, compare in _BY_TYPE:
        if issubclass(kind, base):
            return compare(sent, arrived)
    if dataclasses.is_dataclass(kind):
        return _attributes(_fields(sent), _fields(arrived))
    return _changed(sent, arrived, sent == arrived)


def _changed(sent: Any, arrived: Any, same: bool) -> str | None:
    return None if same else f"{shortened(sent)} becomes {shortened(arrived)}"


def _float(sent: float, arrived: float) -> str | None:
    return _changed(sent, arrived, sent == arrived and math.copysign(1, sent) == math.copysign(1, arrived))


def _decimal(sent: Decimal, arrived: Decimal) -> str | None:
    return _changed(sent, arrived, sent.as_tuple() == arrived.as_tuple())  # keeps 1.0 and 1.00 apart


def _moment(sent: datetime | time, arrived: datetime | time) -> str | None:
    # The fold of a naive one is ignored, as by ==: else datetime.now() would be refused for one hour a year.
    # Local time and offset are compared: while a local hour repeats, == is always False between zones.
    same = sent.replace(tzinfo=None, fold=0) == arrived.replace(tzinfo=None, fold=0)
    same = same and (sent.tzinfo is None) is (arrived.tzinfo is None) and sent.utcoffset() == arrived.utcoffset()
    return _changed(sent, arrived, same)


def _sequence(sent: Iterable[Any], arrived: Iterable[Any]) -> str | None:
    before, after = list(sent), list(arrived)
    if len(before) != len(after):
        return f"{len(before)} elements become {len(after)}"
    for index, (element, other) in enumerate(zip(before, after, strict=True)):
        if (found := difference(element, other)) is not None:
            return f"at [{index}], {found}"
    return None


def _deque(sent: deque[Any], arrived: deque[Any]) -> str | None:
    return _changed(sent.maxlen, arrived.maxlen, sent.maxlen == arrived.maxlen) or _sequence(sent, arrived)


def _set(sent: Iterable[Any], arrived: Iterable[Any]) -> str | None:
    return _keys({element: element for element in sent}, {element: element for element in arrived})


def _keys(sent: dict[Any, Any], arrived: dict[Any, Any]) -> str | None:
    twins = {key: key for key in arrived}  # 1 finds True here, so that difference() can tell them apart
    for key in sent:
        if key not in twins:
            return f"{shortened(key)} is lost"
        if (found := difference(key, twins.pop(key))) is not None:
            return found
    return f"{shortened(next(iter(twins)))} is added" if twins else None


def _mapping(sent: dict[Any, Any], arrived: dict[Any, Any]) -> str | None:
    if (found := _keys(sent, arrived)) is not None:
        return found
    for key, value in sent.items():
        if (found := difference(value, arrived[key])) is not None:
            return f"at [{shortened(key)}], {found}"
    return None


def _defaultdict(sent: defaultdict[Any, Any], arrived: defaultdict[Any, Any]) -> str | None:
    before, after = sent.default_factory, arrived.default_factory
    return _changed(before, after, before is after) or _mapping(sent, arrived)


def _model(sent: BaseModel, arrived: BaseModel) -> str | None:
    return (
        _attributes(_stored(sent), _stored(arrived))
        or _attributes(sent.__pydantic_extra__ or {}, arrived.__pydantic_extra__ or {})
        or _attributes(sent.__pydantic_private__ or {}, arrived.__pydantic_private__ or {})
    )


def _attributes(sent: dict[str, Any], arrived: dict[str, Any]) -> str | None:
    for name in {**sent, **arrived}:
        if name not in arrived:
            return f"the attribute {name!r} is lost"
        if name not in sent:
            return f"the attribute {name!r} is added"
        if (found := difference(sent[name], arrived[name])) is not None:
            return f"in {name!r}, {found}"
    return None


def _fields(instance: Any) -> dict[str, Any]:
    """The attributes of a dataclass instance, with or without ``__slots__``."""
    names = [field.name for field in dataclasses.fields(instance)]
    return {**{name: getattr(instance, name) for name in names if hasattr(instance, name)}, **_stored(instance)}


def _stored(instance: Any) -> dict[str, Any]:
    """The instance's own attributes, without cached properties."""
    kind = type(instance)
    return {
        name: value
        for name, value in getattr(instance, "__dict__", {}).items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }


_BY_TYPE: list[tuple[type | tuple[type, ...], Callable[[Any, Any], str | None]]] = [
    (float, _float),
    (Decimal, _decimal),
    ((datetime, time), _moment),
    ((list, tuple), _sequence),
    (deque, _deque),
    ((set, frozenset), _set),
    (defaultdict, _defaultdict),
    (dict, _mapping),
    (BaseModel, _model),
]
