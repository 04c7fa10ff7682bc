"""The tasks of an app, by name and alias."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any, TypeVar, get_type_hints

from ..core.context import TaskContext
from ..core.coroutine_functions import called_function, is_coroutine_function
from ..core.naming import importable_place
from ..core.options import TaskOptions
from ..core.safe_text import repr_of
from ..engine.plan import Plan
from ..errors import ConfigError, UnresolvedAnnotation
from ..middleware import Middleware
from ..middleware.compose import ThreadRunner, compose
from ..middleware.time_limit import with_time_limit
from ..serialization import Signature, compile_signature
from .redefinition import importing_code, why_different
from .task import AsyncTask, Definition, SyncTask, Task

T = TypeVar("T")


class Registry:
    """Tasks by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._aliases: dict[str, str] = {}
        self._implied: set[str] = set()
        self._imports: dict[str, CodeType | None] = {}

    def add(self, task: Task[..., Any], aliases: tuple[str, ...], *, implied: bool = False) -> None:
        """Register a task.

        Args:
            implied: nobody has called it a task so far: see `forget_implied`.

        Raises:
            ConfigError: the name or an alias is taken by another task.
        """
        for name in (task.name, *aliases):
            taken = self.get(name)
            if taken is not None and (reason := self._why_refused(taken, task)) is not None:
                raise ConfigError(f"task name {name!r} is taken by {repr_of(taken.__wrapped__)}; {reason}")
        self._imports[task.name] = importing_code(task.__wrapped__)
        self._tasks[task.name] = task
        for alias in aliases:
            self._aliases[alias] = task.name
        if implied:
            self._implied.add(task.name)
        else:
            self._implied.discard(task.name)

    def _why_refused(self, taken: Task[..., Any], task: Task[..., Any]) -> str | None:
        """The reason why a task cannot take the name of another; None for one that is imported again."""
        first, second = taken.__wrapped__, task.__wrapped__
        if taken.name != task.name or first is None or second is None:
            return "give name=... to one of the two"
        reason = why_different(first, second)
        if reason is not None or first is second:
            return reason
        importing = importing_code(second)
        code = inspect.unwrap(second).__code__
        if importing is None or importing is not self._imports.get(task.name) or code is inspect.unwrap(first).__code__:
            return None
        line = code.co_firstlineno
        return f"line {line} of the same module defines it again; give one of the two another name"

    def forget_implied(self, name: str) -> bool:
        """Forget a task that was only implied, for one of another name in its place. False: it was not."""
        if name not in self._implied:
            return False
        self._implied.discard(name)
        del self._tasks[name]
        return True

    def get(self, name: str) -> Task[..., Any] | None:
        """The task of a name or alias, or None."""
        task = self._tasks.get(name)
        if task is None and (real := self._aliases.get(name)) is not None:
            task = self._tasks.get(real)
        return task

    def plan(self, name: str) -> Plan | None:
        """The compiled task of a name or alias, or None."""
        task = self.get(name)
        return None if task is None else task.plan

    def same_task(self, name: str, other: str) -> bool:
        """True if both are names of one task: the same name, or name and alias of a task that is registered here."""
        return name == other or ((task := self.get(name)) is not None and task is self.get(other))

    def different_tasks(self, name: str, other: str) -> bool:
        """True if the names are of two tasks that are both registered here."""
        task, second = self.get(name), self.get(other)
        return task is not None and second is not None and task is not second

    @property
    def names(self) -> tuple[str, ...]:
        """All names, aliases left out."""
        return tuple(self._tasks)

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def define(
    app: Any,
    function: Callable[..., Any],
    name: str,
    options: TaskOptions,
    middlewares: tuple[Middleware, ...],
    threads: ThreadRunner,
    localns: Mapping[str, Any],
    aliases: tuple[str, ...] = (),
) -> Task[..., Any]:
    """Make a task of a function.

    Raises:
        ConfigError: the function is a generator or a class, a TaskContext stands elsewhere than first, an
            annotation has no exact JSON form, or ``run_in="process"`` does not fit the function.
    """
    called = called_function(function)
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise ConfigError(f"task {name}: a generator cannot be a task; return a list, or enqueue one task per item")
    if inspect.isbuiltin(function):
        raise ConfigError(
            f"task {name}: {function!r} is a builtin, which says nothing of its parameters; wrap it in a def"
        )
    if isinstance(function, type) or not callable(function):
        raise ConfigError(f"task {name}: {repr_of(function)} is not a function")
    if _is_method(function, name):
        raise ConfigError(f"task {name}: a method cannot be a task, since its object does not travel; use a function")
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
        pass  # names something defined further down; compiled at first use

    def call(context: TaskContext) -> Any:
        if wants_context:
            return function(context, *context._args, **context._kwargs)
        return function(*context._args, **context._kwargs)

    def compile_plan() -> Plan:
        hooks = middlewares if options.timeout is None else with_time_limit(middlewares, layer_is_async)
        return Plan(name, options, signature(), compose(layer, layer_is_async, hooks, threads), is_async, aliases)

    layer: Callable[[TaskContext], Any] = call
    layer_is_async = is_async
    if options.run_in == "process":
        if is_async:
            raise ConfigError(
                f'task {name}: run_in="process" is for plain functions, and this one is async: it holds up nobody while '
                "it waits; make it a plain def, or leave run_in out"
            )
        from ..engine.processes.pool import Target, process_layer  # few apps need them, and a cold start should not pay

        target = Target(name, *importable_place(function, name), wants_context, signature)
        layer, layer_is_async = process_layer(app.make_children(), target, call, threads), True

    definition = Definition(name, options, signature, _once(compile_plan), middlewares, function, wants_context)
    return (AsyncTask if is_async else SyncTask)(app, definition)


def _is_method(function: Callable[..., Any], name: str) -> bool:
    """Whether it is defined in a class body and takes an object first."""
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
    """Whether the first parameter is annotated TaskContext."""
    wants = False
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        if not _is_context(parameter.annotation, function, localns):
            continue
        if index > 0 or parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise ConfigError(
                f"task {name}: TaskContext stands at parameter {parameter.name!r}; it must be the first parameter"
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
    """Something get_type_hints reads one annotation from."""

    def __init__(self, annotation: str) -> None:
        self.__annotations__ = {"_": annotation}


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """`make` called at first use, and its value kept; an exception is raised again at each use."""
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
    """Local names of the function `depth` calls up, so that annotations may name what is defined there."""
    frame = sys._getframe(depth)
    return dict(frame.f_locals) if frame.f_code.co_name != "<module>" else {}
