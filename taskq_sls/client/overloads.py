"""Overloads with which a type checker keeps the parameters and the result of a function under ``@app.task``.

The runtime fills in a first parameter of type TaskContext, so ``enqueue`` does not accept it. A first parameter that
accepts anything (``object``, or no annotation) would match TaskContext too; the private probe class matches those first
and leaves them in.
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
    """A type without values: only parameters that accept anything accept it."""


class TaskDecorator(Protocol):
    """The type of ``@app.task(...)``."""

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
    """The type of ``@app.on_event(...)``: it returns a task as it is, and makes a task of a function."""

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
