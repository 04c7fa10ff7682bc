"""Annotations of types that JSON lacks: pydantic writes and reads their values.

pydantic's defaults do not restore every value (NaN becomes null, ``str | bytes`` turns bytes into str, a subclass
loses its fields), so every value is written, read back and compared when it is encoded.

This module imports pydantic: import it only for a function that needs it.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_origin

from pydantic import VERSION, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import from_json, to_json

from ..core.safe_text import class_name, text_of
from .plain import too_deep
from .sameness import difference
from .scalars import MAX_DEPTH, Inexact
from .signature import annotation_text

# Bytes are written as base64, which can hold any of them; a model or pydantic dataclass uses its own config.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

_VERSION = tuple(map(int, VERSION.split(".")[:2]))

# Fields are written by name, since a serialization alias may differ from the validation alias; both are read.
# Before 2.11 pydantic read only one of the two, by default the alias.
_READ: dict[str, Any] = {"by_alias": True, "by_name": True} if _VERSION >= (2, 11) else {}
_WRITE_ALIASES = not _READ


class RichCodec:
    """The codec of one annotation.

    Raises:
        Exception: pydantic has no schema for the annotation.
    """

    exact: type | None = None

    def __init__(self, annotation: Any) -> None:
        self._title = annotation_text(annotation)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on the user's classes, given when they were defined
            # In a list: pydantic refuses a config for a bare dataclass, but applies it to one in a list.
            self._adapter: TypeAdapter[list[Any]] = TypeAdapter(
                list[annotation],
                config=_CONFIG,
            )
            self._adapter.validate_json("[]")  # raises now if a name is not defined yet, not at the first value
        self._holds_models = holds_models(self._adapter.core_schema)

    def encode(self, value: Any) -> Any:
        """`value` as plain JSON, checked to come back the same."""
        try:
            text, why = self._checked(value)
            encoded = from_json(text, allow_inf_nan=False)[0]
        except Exception as error:  # pydantic's own errors, and those of hooks in the user's classes
            raise Inexact(value, f"it cannot be written as {self._title}: {_reason(error)}", _FIX) from error
        if why is not None:
            raise Inexact(value, f"it would not come back from {self._title} the same: {why}", _FIX)
        # Counting brackets is fast: no more brackets than allowed levels means no more levels either.
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(encoded) > MAX_DEPTH:
            raise too_deep(value)
        return encoded

    def _checked(self, value: Any) -> tuple[bytes, str | None]:
        """`value` as JSON, and its difference to the value that is read from it."""
        models = list(models_in(value)) if self._holds_models else []
        if any(map(fields_to_write, models)):
            value = copy.deepcopy(value)  # the caller's own models stay unchanged
            models = list(models_in(value))
            for model in models:
                model.model_fields_set.update(fields_to_write(model))
        text = self._write([value])
        try:
            arrived = self._read(text)[0]
            why = difference(value, arrived)
        except ValidationError:
            if not any(map(unset_fields, models)):
                raise
            why = "a field that is not set cannot be left out"
        if why is None and any(
            unset_fields(model) != unset_fields(other) for model, other in zip(models, models_in(arrived), strict=False)
        ):
            why = "other fields are set"
        if why is None or not any(map(unset_fields, models)):
            return text, why
        # The models have validators or serializers of their own: all fields are written, and arrive as set.
        value = copy.deepcopy(value)
        for model in models_in(value):
            model.model_fields_set.update(unset_fields(model))
        text = self._write([value])
        return text, difference(value, self._read(text)[0])

    def whole(self, value: Any) -> Any:
        """A JSON value including the fields that are not written because they were not set, for people and programs."""
        if not self._holds_models:
            return value
        try:
            text = self._adapter.dump_json(self._read(to_json([value])), by_alias=_WRITE_ALIASES, round_trip=True)
            return from_json(text)[0]
        except Exception:  # written by another version of the task: return the JSON as it is
            return value

    def decode(self, value: Any) -> Any:
        """The Python value of a parsed JSON value."""
        try:
            text = to_json([value])
            if b"Infinity" in text or b"NaN" in text:  # inside a string they are harmless
                from_json(text, allow_inf_nan=False)
            return self._read(text)[0]
        except Exception as error:  # pydantic's own errors, and those of hooks in the user's classes
            raise Inexact(value, f"it is not {self._title}: {_reason(error)}", _FIX) from error

    def _write(self, values: list[Any]) -> bytes:
        # Without warnings: reading it back finds the same faults.
        return self._adapter.dump_json(
            values, by_alias=_WRITE_ALIASES, round_trip=True, exclude_unset=True, warnings=False
        )

    def _read(self, text: bytes) -> list[Any]:
        try:
            return self._adapter.validate_json(text, strict=True, **_READ)
        except ValidationError:
            # A serializer of the user may write text that only lax mode reads (an int as digits in a str). Lax mode is
            # accepted if its value is written as the same text, so that it coerces nothing else.
            values = self._adapter.validate_json(text, strict=False, **_READ)
            if self._write(values) != text:
                raise
            return values


_FIX = "pass a value of exactly that type, or annotate with a type that holds this one"


def _reason(error: Exception) -> str:
    """The first line of an error, with the place inside the value."""
    if not isinstance(error, ValidationError):
        return text_of(error).partition("\n")[0] or class_name(type(error))
    try:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    except Exception:  # an exception of a validator that cannot be shown
        return "a validator rejects it"
    place = ".".join(map(str, first["loc"][1:]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _depth(value: Any) -> int:
    """Levels of lists and dicts. The parser limits them, so the recursion is bounded."""
    if type(value) is list:
        return 1 + max(map(_depth, value), default=0)
    if type(value) is dict:
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


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
    """All models in a value, including the value itself."""
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
    """The fields of a model that were not set."""
    return type(model).model_fields.keys() - model.model_fields_set


def fields_to_write(model: BaseModel) -> set[str]:
    """The fields of a model that were not set but have to be written.

    Fields that were set are written; the others are left out, so that they arrive as not set. But if a default may be
    another one in the reader's code, its field is written, and arrives as set: a default from a function, one that tells
    the members of a union apart, or one that was changed in place.
    """
    fields = type(model).model_fields
    return {name for name in unset_fields(model) if not _is_default(fields[name], model.__dict__.get(name))}


def _is_default(field: FieldInfo, value: Any) -> bool:
    """True if a field that is left out is read as `value`, by this code and by another version of it."""
    if get_origin(field.annotation) is Literal:
        return False
    if field.default_factory is not None and field.default_factory not in _CONSTANT_FACTORIES:
        return False
    return difference(value, field.get_default(call_default_factory=True)) is None
