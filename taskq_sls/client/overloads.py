"""How the type checker sees ``@app.task``: overloads that keep the function's parameters and result.

A parameter of type TaskContext in first position is filled in by the runtime, so it is taken out of what
``enqueue`` accepts. A first parameter that accepts anything (``object``, or no annotation) would match
TaskContext too; the private probe class catches those first and leaves them in.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, final, overload

from ..core.context import TaskContext
from .task import AsyncTask, SyncTask

P = ParamSpec("P")
R = TypeVar("R")


@final
class _Probe:
    """Nobody's type: only parameters that accept anything accept it."""


class TaskDecorator(Protocol):
    """What ``@app.task(...)`` returns."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[_Probe, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[_Probe, P], R], /) -> SyncTask[Concatenate[Any, P], R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...


class EventDecorator(Protocol):
    """What ``@app.on_event(...)`` returns: a task stays what it is, a function becomes one."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, task: SyncTask[P, R], /
    ) -> SyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, task: AsyncTask[P, R], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[_Probe, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[Concatenate[Any, P], R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[_Probe, P], R], /) -> SyncTask[Concatenate[Any, P], R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
