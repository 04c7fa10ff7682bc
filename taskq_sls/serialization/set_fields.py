"""The fields of pydantic models that were set: the others are left out, so that they arrive as not set.

A field that was not set is written all the same, and arrives as set, if its default may be another one where it is
read: it comes from a function, tells the members of a union apart, or was changed in place.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .sameness import difference

_CONSTANT_FACTORIES = (list, dict, set, frozenset, tuple, deque, str, bytes, int, float, bool)
"""Default factories that return the same value everywhere."""


def holds_models(schema: Any) -> bool:
    """True if values of a pydantic core schema may hold models."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if part.get("type") == "model":
                return True
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
    return False


def models_in(value: Any) -> Iterator[BaseModel]:
    """All models inside a value, itself included."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, BaseModel):
            yield part
            # In the order of the fields, so that equal values have their models in equal order.
            waiting.extend(part.__dict__.get(name) for name in type(part).model_fields)
            waiting.extend((part.__pydantic_extra__ or {}).values())
        elif isinstance(part, Mapping):
            waiting.extend(part.keys())
            waiting.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset | deque):
            waiting.extend(part)
        elif dataclasses.is_dataclass(part) and not isinstance(part, type):
            waiting.extend(getattr(part, field.name, None) for field in dataclasses.fields(part))


def unset_fields(model: BaseModel) -> set[str]:
    """The fields of a model that nobody has set."""
    return type(model).model_fields.keys() - model.model_fields_set


def fields_to_write(model: BaseModel) -> set[str]:
    """The fields of a model that were not set and have to be written all the same."""
    fields = type(model).model_fields
    return {name for name in unset_fields(model) if not _is_default(fields[name], model.__dict__.get(name))}


def _is_default(field: FieldInfo, value: Any) -> bool:
    """True if a field that is left out is read as `value`, by this code and by another version of it."""
    if get_origin(field.annotation) is Literal:
        return False
    if field.default_factory is not None and field.default_factory not in _CONSTANT_FACTORIES:
        return False
    return difference(value, field.get_default(call_default_factory=True)) is None
