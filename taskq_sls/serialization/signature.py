"""The parameters and the result of one task, compiled."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from ..core.redaction import Names, is_redacted, may_quote, redact_arguments
from ..core.safe_text import qualname
from ..errors import ArgumentsError
from .plain import JSON, check_key
from .scalars import Inexact

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Codec(Protocol):
    """Encodes and decodes the values of one annotation."""

    exact: type | None
    """The type whose values, parsed from JSON, need no decoding; None if there is none."""

    def encode(self, value: Any) -> Any:
        """The JSON value; raises :class:`Inexact`."""

    def decode(self, value: Any) -> Any:
        """The Python value; raises :class:`Inexact`."""


class Signature:
    """Encodes the calls of one task and their results to JSON values, and decodes them.

    `encode` accepts only values that `decode` returns equal and of the same types, at every level. Three exceptions: an
    ``int`` for a ``float`` stays an ``int``, but becomes a ``float`` inside types that are not plain JSON; an aware
    datetime arrives with an offset instead of its ``ZoneInfo``, at the same instant; and a naive one loses its ``fold``.
    Fields of models that were not set arrive as not set; `rich.fields_to_write` has the exceptions.
    """

    def __init__(self, name: str, signature: inspect.Signature, codecs: Mapping[str, Codec], result: Codec) -> None:
        """Made by :func:`compile_signature`; `codecs` has an entry for each parameter of `signature`."""
        self._name = name
        self._signature = signature
        self._result = result
        parameters = signature.parameters.values()
        positional = [parameter for parameter in parameters if parameter.kind in _BY_POSITION]
        self._order = [parameter.name for parameter in positional]
        self._positional = [codecs[parameter.name] for parameter in positional]
        self._named = {parameter.name: codecs[parameter.name] for parameter in parameters if parameter.kind in _BY_NAME}
        self._rest = _variadic_name(signature, inspect.Parameter.VAR_POSITIONAL)
        self._rest_codec = codecs.get(self._rest, JSON)
        self._named_rest_codec = codecs.get(_variadic_name(signature, inspect.Parameter.VAR_KEYWORD), JSON)
        required = {parameter.name for parameter in parameters if _is_required(parameter)}
        # Indexed by the number of positional arguments: the names that must follow them, and the names that may.
        counts = range(len(positional) + 1)
        self._missing = [frozenset(required.difference(self._order[:count])) for count in counts]
        self._nameable = [frozenset(self._named.keys() - set(self._order[:count])) for count in counts]
        # The types of all arguments if each is passed by position and none needs decoding.
        self._exact = None if self._missing[-1] else [codec.exact for codec in self._positional]

        self.redact: Names = frozenset()
        """Parameters with values that error messages must not show."""

    @property
    def parameters(self) -> Sequence[inspect.Parameter]:
        """The parameters of a message, with their annotations evaluated."""
        return tuple(self._signature.parameters.values())

    def __str__(self) -> str:
        try:
            return f"{self._name}{self._signature}"
        except BaseException:  # the repr of a default or of an annotation, which is the user's code
            return f"{self._name}({', '.join(self._signature.parameters)})"

    def positions(self, count: int) -> list[str]:
        """The parameters of `count` positional arguments; fewer if the function takes fewer."""
        rest = [self._rest] * (count - len(self._order)) if self._rest else []
        return [*self._order[:count], *rest]

    def shown(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Arguments as JSON values, without the redacted ones."""
        return redact_arguments(args, kwargs, self.redact, self.positions(len(args))) if self.redact else (args, kwargs)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The call as plain JSON values; defaults are not added.

        Containers of plain JSON are not copied: write the body before they can change.

        Raises:
            ArgumentsError: the arguments do not fit the signature, or a value would not come back exactly. The message
                names the parameter, the value and the fix.
        """
        self._check_call(args, kwargs)
        encoded: list[Any] = []
        named: dict[str, Any] = {}
        try:
            for codec, value in zip(self._codecs(args), args, strict=False):
                encoded.append(codec.encode(value))
            for name, value in kwargs.items():
                named[name] = self._named_codec(name).encode(value)
        except Inexact as error:
            raise self._refused(args, kwargs, len(encoded) + len(named), error) from error.__cause__
        return encoded, named

    def decode(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call as Python values, by annotation; `args` and `kwargs` are parsed from the body.

        Raises:
            ArgumentsError: they do not fit the signature; names the parameter.
        """
        if not kwargs and [*map(type, args)] == self._exact:
            return tuple(args), {}
        self._check_call(args, kwargs)
        decoded: list[Any] = []
        named: dict[str, Any] = {}
        try:
            for codec, value in zip(self._codecs(args), args, strict=False):
                decoded.append(value if type(value) is codec.exact else codec.decode(value))
            for name, value in kwargs.items():
                named[name] = self._named_codec(name).decode(value)
        except Inexact as error:
            raise self._refused(args, kwargs, len(decoded) + len(named), error) from error.__cause__
        return tuple(decoded), named

    def encode_result(self, value: Any) -> str:
        """The result as JSON text, by the return annotation; without one only plain JSON is accepted.

        Raises:
            ArgumentsError: the result would not come back exactly.
        """
        try:
            return to_json(self._result.encode(value)).decode()
        except Inexact as error:
            raise self._refused_result(error) from error.__cause__

    def whole_result(self, text: str) -> Any:
        """The result as a JSON value for people, including the fields of models that were not set."""
        value = json.loads(text)
        whole = getattr(self._result, "whole", None)
        return value if whole is None else whole(value)

    def decode_result(self, text: str) -> Any:
        """The result from its JSON text.

        Raises:
            ArgumentsError: the text is not JSON, or does not fit the return annotation.
        """
        try:
            value = from_json(text, allow_inf_nan=False)
        except (ValueError, TypeError) as error:
            raise ArgumentsError(f"{self._name}: the result was not stored as JSON: {error}") from None
        try:
            return self._result.decode(value)
        except Inexact as error:
            raise self._refused_result(error) from error.__cause__

    def _check_call(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        count = len(args)
        if count < len(self._missing) and self._missing[count] <= kwargs.keys() <= self._nameable[count]:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(f"{self._name}(): {error}; its signature is {self}") from None

    def _codecs(self, args: tuple[Any, ...] | list[Any]) -> Iterable[Codec]:
        """At least as many codecs as there are `args`."""
        if len(args) <= len(self._positional):
            return self._positional
        return chain(self._positional, repeat(self._rest_codec))

    def _named_codec(self, name: str) -> Codec:
        codec = self._named.get(name)
        if codec is None:
            check_key(name)
            codec = self._named_rest_codec
        return codec

    def _refused(
        self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any], index: int, error: Inexact
    ) -> ArgumentsError:
        """The error for the argument at `index`, counted over `args` and then `kwargs`."""
        if index >= len(args):
            name = parameter = list(kwargs)[index - len(args)]
        elif index < len(self._order):
            name = parameter = self._order[index]
        else:
            name, parameter = self._rest, f"{self._rest}[{index - len(self._order)}]"
        return self._explained(f"{self._name}: the parameter {parameter!r}", error, is_redacted(name, self.redact))

    def _refused_result(self, error: Inexact) -> ArgumentsError:
        return self._explained(f"{self._name}: the result", error, False)

    def _explained(self, subject: str, error: Inexact, secret: bool) -> ArgumentsError:
        # A redacted name may also be that of a field inside the value, so no nested value is shown.
        if secret or (self.redact and (error.path or not may_quote(error.value, self.redact))):
            error.__cause__ = None  # pydantic's error quotes the value, and a traceback shows causes
            return ArgumentsError(error.explain_without_value(subject))
        return ArgumentsError(error.explain(subject))


class JsonSignature(Signature):
    """The signature of a task without its code: any arguments, each of them plain JSON.

    Args:
        name: the task's name, for error messages.
    """

    def __init__(self, name: str = "task") -> None:
        kinds = {"args": inspect.Parameter.VAR_POSITIONAL, "kwargs": inspect.Parameter.VAR_KEYWORD}
        parameters = [inspect.Parameter(name, kind) for name, kind in kinds.items()]
        super().__init__(name, inspect.Signature(parameters), dict.fromkeys(kinds, JSON), JSON)

    def shown(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Positional arguments have no known names here: if any name is redacted, all of them are hidden."""
        return redact_arguments(args, kwargs, self.redact, None)

    def _check_call(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        """Every call fits."""


def annotation_text(annotation: Any) -> str:
    """An annotation as source text; never raises."""
    try:
        return inspect.formatannotation(annotation)
    except BaseException:  # a repr of the user's own
        return f"<{qualname(type(annotation))}>"


def _variadic_name(signature: inspect.Signature, kind: Any) -> str:
    """The name of the parameter of a kind that can occur once; empty if there is none."""
    return next((parameter.name for parameter in signature.parameters.values() if parameter.kind is kind), "")


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not variadic
