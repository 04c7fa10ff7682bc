"""Compiles a function's annotations to its signature, once, at registration."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Never, NoReturn

from ..core.coroutine_functions import called_function
from ..core.safe_text import class_name, repr_of, text_of
from ..errors import ConfigError, UnresolvedAnnotation
from .plain import JSON, plain_codec
from .signature import Codec, Signature, annotation_text


def compile_signature(
    function: Callable[..., Any], *, skip_first: bool, localns: Mapping[str, Any] | None = None
) -> Signature:
    """The signature of a task function.

    Args:
        function: sync or async. Its annotations decide how values are encoded; no annotation means plain JSON.
        skip_first: leave out the first parameter, the task context.
        localns: names for annotations written as strings, beside the globals of the function's module.

    Raises:
        ConfigError: an annotation names something that does not exist at run time, or its values have no JSON form.
    """
    # As inspect.signature does: a decorator that changes the parameters sets __signature__.
    shown = inspect.unwrap(function, stop=lambda each: hasattr(each, "__signature__"))
    name: str = getattr(shown, "__qualname__", type(shown).__qualname__)
    raw = _read(shown, name, skip_first)
    resolve = _Resolver(_globals(shown), name, localns)
    parameters = [
        parameter.replace(annotation=resolve(parameter.name, parameter.annotation))
        for parameter in raw.parameters.values()
    ]
    returned = resolve("return", raw.return_annotation)
    codecs = {
        parameter.name: _codec(parameter.annotation, f"{name}: the parameter {parameter.name!r}")
        for parameter in parameters
    }
    signature = inspect.Signature(parameters, return_annotation=returned)
    return Signature(name, signature, codecs, _codec(returned, f"{name}: the result"))


def _read(function: Callable[..., Any], name: str, skip_first: bool) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except NameError as error:  # Python 3.14 evaluates annotations here
        raise _unresolved(name, error) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}: its parameters cannot be read ({error}); give a function written in Python"
        ) from None
    return signature.replace(parameters=list(signature.parameters.values())[1:]) if skip_first else signature


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The names that annotations of `function` may use, also those of the function that it wraps."""
    outer, inner = called_function(function), called_function(inspect.unwrap(function))
    names: dict[str, Any] = getattr(outer, "__globals__", {})
    inner_names: dict[str, Any] = getattr(inspect.unwrap(inner), "__globals__", {})
    return inner_names if inner_names is names or not names else {**names, **inner_names}


class _Resolver:
    """Turns annotations written as strings into types, one at a time, so that an error can name the parameter."""

    def __init__(self, names: dict[str, Any], name: str, localns: Mapping[str, Any] | None) -> None:
        self._name = name
        self._localns = dict(localns) if localns else None
        # A function with one annotation at a time: a first parameter that is left out need not be resolvable.
        self._carrier = types.FunctionType(_nothing.__code__, names)

    def __call__(self, parameter: str, annotation: Any) -> Any:
        if annotation is inspect.Parameter.empty:
            return annotation
        self._carrier.__annotations__ = {parameter: annotation}
        try:
            hint = typing.get_type_hints(self._carrier, localns=self._localns, include_extras=True)[parameter]
            return None if hint is types.NoneType else hint
        except NameError as error:
            raise _unresolved(f"{self._name}: {_subject(parameter)}", error) from None
        except Exception as error:  # whatever the expression in the string raises
            raise ConfigError(
                f"{self._name}: {_subject(parameter)}: the annotation {repr_of(annotation)} cannot be evaluated: {text_of(error)}; "
                "use an expression that names types which exist at run time"
            ) from error


def _nothing() -> None: ...


def _subject(parameter: str) -> str:
    return "the result" if parameter == "return" else f"the parameter {parameter!r}"


def _unresolved(subject: str, error: NameError) -> UnresolvedAnnotation:
    return UnresolvedAnnotation(
        f"{subject}: the annotation names {error.name!r}, which does not exist at run time; "
        "import or define it above the task, not only under TYPE_CHECKING, since annotations decide how values are encoded"
    )


def _codec(annotation: Any, subject: str) -> Codec:
    if annotation is NoReturn or annotation is Never:
        return JSON
    if (codec := plain_codec(annotation)) is not None:
        return codec
    from .rich import RichCodec  # imports pydantic: functions of plain types start faster without it

    try:
        return RichCodec(annotation)
    except Exception as error:  # pydantic's own errors, and those of hooks in the annotated classes
        reason = text_of(error).partition("\n")[0] or class_name(type(error))
        raise ConfigError(
            f"{subject}: values of {annotation_text(annotation)} cannot be written as JSON: {reason}; annotate with JSON "
            "types, dataclasses, pydantic models or other types that pydantic can validate"
        ) from error
