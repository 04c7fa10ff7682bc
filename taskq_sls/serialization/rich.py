"""Annotations whose values JSON lacks: written and read by pydantic, and compared before they are sent.

pydantic's defaults are no round trip (NaN becomes null, ``str | bytes`` turns bytes into str, a subclass
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
from .inexact import Inexact
from .plain import too_deep
from .sameness import difference
from .scalars import MAX_DEPTH
from .signature import annotation_text

# Types that can hold any bytes only as base64; a model or pydantic dataclass goes by its own config.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

_VERSION = tuple(map(int, VERSION.split(".")[:2]))

# Fields are written by name, since the alias to write may differ from the one to read; both are read.
# Before 2.11 pydantic read by one of them only, by default the alias.
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
            # In a list, since pydantic refuses a config beside a bare dataclass but hands it down to one in a list.
            self._adapter: TypeAdapter[list[Any]] = TypeAdapter(
                list[annotation],
                config=_CONFIG,
            )
            self._adapter.validate_json("[]")  # raises what pydantic would put off: names not defined so far
        self._holds_models = holds_models(self._adapter.core_schema)

    def encode(self, value: Any) -> Any:
        """`value` as plain JSON, after making sure that it comes back the same."""
        try:
            text, why = self._checked(value)
            encoded = from_json(text, allow_inf_nan=False)[0]
        except Exception as error:  # pydantic's own errors, and those of hooks in the user's classes
            raise Inexact(value, f"it cannot travel as {self._title}: {_reason(error)}", _FIX) from error
        if why is not None:
            raise Inexact(value, f"it would not come back from {self._title} the same: {why}", _FIX)
        # No more brackets than levels allowed means no more levels either.
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(encoded) > MAX_DEPTH:
            raise too_deep(value)
        return encoded

    def _checked(self, value: Any) -> tuple[bytes, str | None]:
        """`value` as JSON, and the difference to the value that is read from it."""
        models = list(models_in(value)) if self._holds_models else []
        if any(map(fields_to_write, models)):
            value = copy.deepcopy(value)  # of the caller's own models nothing is changed
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
        # Validators or serializers of the models' own: all fields are written, and arrive as set.
        value = copy.deepcopy(value)
        for model in models_in(value):
            model.model_fields_set.update(unset_fields(model))
        text = self._write([value])
        return text, difference(value, self._read(text)[0])

    def whole(self, value: Any) -> Any:
        """A JSON value with the fields that were left out because they were not set, for people and other programs."""
        if not self._holds_models:
            return value
        try:
            text = self._adapter.dump_json(self._read(to_json([value])), by_alias=_WRITE_ALIASES, round_trip=True)
            return from_json(text)[0]
        except Exception:  # written by another version of the task: the JSON as it is
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
        # Without warnings: what pydantic would warn of is found by reading it back.
        return self._adapter.dump_json(
            values, by_alias=_WRITE_ALIASES, round_trip=True, exclude_unset=True, warnings=False
        )

    def _read(self, text: bytes) -> list[Any]:
        try:
            return self._adapter.validate_json(text, strict=True, **_READ)
        except ValidationError:
            # The user's own serializer may write what strict mode does not read (an int as digits in a str).
            # Lax mode may read it, but not coerce what no serializer wrote.
            values = self._adapter.validate_json(text, strict=False, **_READ)
            if self._write(values) != text:
                raise
            return values


_FIX = "pass a value of exactly that type, or annotate with a type that holds this one"


def _reason(error: Exception) -> str:
    """The first line of what is wrong, with the place inside the value."""
    if not isinstance(error, ValidationError):
        return text_of(error).partition("\n")[0] or class_name(type(error))
    try:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    except Exception:  # an exception of a validator that cannot be shown
        return "a validator refuses it"
    place = ".".join(map(str, first["loc"][1:]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _depth(value: Any) -> int:
    """Levels of lists and dicts; the parser has bounded them."""
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
