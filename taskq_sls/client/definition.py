"""Makes a task of a function: its signature, its context parameter and its hooks are compiled once."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from ..core.context import TaskContext
from ..core.coroutine_functions import called_function, is_coroutine_function
from ..core.naming import importable_place
from ..core.options import TaskOptions
from ..core.safe_text import repr_of
from ..engine.attempt import CompiledTask, Definition
from ..errors import ConfigError, UnresolvedAnnotation
from ..middleware import Middleware
from ..middleware.compose import ThreadRunner, check_hooks, compose
from ..serialization import Signature, compile_signature
from .runtime import Runtime
from .task import AsyncTask, SyncTask, Task

if TYPE_CHECKING:
    from ..engine.processes.pool import ProcessPool

T = TypeVar("T")


def define(
    runtime: Runtime,
    function: Callable[..., Any],
    name: str,
    options: TaskOptions,
    *,
    children: Callable[[], ProcessPool],
    middlewares: tuple[Middleware, ...],
    threads: ThreadRunner,
    localns: Mapping[str, Any],
    aliases: tuple[str, ...] = (),
) -> Task[..., Any]:
    """Make a task of a function.

    Args:
        children: the child processes of tasks with ``run_in="process"``.

    Raises:
        ConfigError: the function is a generator or a class, a TaskContext is not the first parameter, an annotation has
            no exact JSON form, ``run_in="process"`` does not fit the function, or a plain execute hook is around a
            coroutine.
    """
    _check_function(function, name)
    is_async = is_coroutine_function(function)
    wants_context = _wants_context(function, name, localns)

    def compile_now() -> Signature:
        compiled = compile_signature(function, skip_first=wants_context, localns=localns)
        compiled.redact = options.redact
        return compiled

    signature = _once(compile_now)
    try:
        signature()
    except UnresolvedAnnotation:
        pass  # it names a type that is defined further down; compiled at first use

    def call(context: TaskContext) -> Any:
        execution = context._execution
        if wants_context:
            return function(context, *execution.args, **execution.kwargs)
        return function(*execution.args, **execution.kwargs)

    def compile_plan() -> CompiledTask:
        return CompiledTask(
            name=name,
            options=options,
            signature=signature(),
            onion=compose(layer, layer_is_async, middlewares, threads, timed=options.timeout is not None),
            is_async=is_async,
            aliases=aliases,
        )

    layer: Callable[[TaskContext], Any] = call
    layer_is_async = is_async
    if options.run_in == "process":
        if is_async:
            raise ConfigError(
                f'task {name}: run_in="process" is for plain functions, and this one is async: it blocks no other task '
                "while it waits; make it a plain def, or leave run_in out"
            )
        from ..engine.processes.pool import FunctionRef, process_layer

        target = FunctionRef(name, *importable_place(function, name), wants_context, signature)
        layer, layer_is_async = process_layer(children(), target, call, threads), True

    inner = "the task is async" if is_async else 'the task has run_in="process"' if layer_is_async else None
    check_hooks(f"task {name}", inner, middlewares)
    definition = Definition(
        name=name,
        options=options,
        signature=signature,
        plan=_once(compile_plan),
        middlewares=middlewares,
        function=function,
        wants_context=wants_context,
    )
    return (AsyncTask if is_async else SyncTask)(runtime, definition)


def _check_function(function: Callable[..., Any], name: str) -> None:
    """Raise ConfigError if a value cannot be a task's function."""
    called = called_function(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigError(f"task {name}: a generator cannot be a task; return a list, or enqueue one task per item")
    if inspect.isbuiltin(function):
        raise ConfigError(f"task {name}: {function!r} is a builtin, without a signature; wrap it in a def")
    if isinstance(function, type) or not callable(function):
        raise ConfigError(f"task {name}: {repr_of(function)} is not a function")
    if _is_method(function, name):
        raise ConfigError(
            f"task {name}: a method cannot be a task, since messages do not carry its object; use a function"
        )


def _is_method(function: Callable[..., Any], name: str) -> bool:
    """True if it is defined in a class body and its first parameter is self or cls."""
    outer, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"task {name}: the signature of {repr_of(function)} cannot be read: {error}; set __signature__ to an "
            "inspect.Signature, or wrap it in a def"
        ) from None
    first = next(iter(parameters), None)
    return bool(outer) and not outer.endswith("<locals>") and first in ("self", "cls")


def _wants_context(function: Callable[..., Any], name: str, localns: Mapping[str, Any]) -> bool:
    """True if the first parameter is annotated TaskContext."""
    wants = False
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if not _is_context(parameter.annotation, function, localns):
            continue
        if index > 0 or parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ConfigError(
                f"task {name}: TaskContext is the type of parameter {parameter.name!r}; it must be the first parameter"
            )
        wants = True
    return wants


def _is_context(annotation: Any, function: Callable[..., Any], localns: Mapping[str, Any]) -> bool:
    if not isinstance(annotation, str):
        return annotation is TaskContext
    annotation = annotation.strip("'\"")  # quoted although annotations are strings anyway
    if "TaskContext" not in annotation and not annotation.isidentifier():
        return False
    names = {**getattr(function, "__globals__", {}), **localns}
    if annotation.rpartition(".")[2] == "TaskContext" and annotation.partition(".")[0] not in names:
        return True  # imported under TYPE_CHECKING only
    try:
        return get_type_hints(_Holder(annotation), names)["_"] is TaskContext
    except Exception:
        return False


class _Holder:
    """Holds one annotation for get_type_hints."""

    def __init__(self, annotation: str) -> None:
        self.__annotations__ = {"_": annotation}


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """Call `make` at first use and keep its value. After an exception, the next use calls it again."""
    made: list[T] = []
    lock = threading.Lock()

    def get() -> T:
        if made:
            return made[0]
        with lock:
            if not made:
                made.append(make())
        return made[0]

    return get


def caller_locals(depth: int) -> Mapping[str, Any]:
    """Local names of the function `depth` calls up: annotations may name types that are defined there."""
    frame = sys._getframe(depth)
    return dict(frame.f_locals) if frame.f_code.co_name != "<module>" else {}
