"""The tasks of an app, by name and alias."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any, Generic, Protocol, TypeVar

from ..core.safe_text import repr_of
from ..engine.attempt import CompiledTask
from ..errors import ConfigError


class Registered(Protocol):
    """The attributes of a task that the registry uses."""

    __wrapped__: Callable[..., Any] | None

    @property
    def name(self) -> str: ...

    @property
    def plan(self) -> CompiledTask: ...


T = TypeVar("T", bound=Registered)


class Registry(Generic[T]):
    """Tasks by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._implied: set[str] = set()
        self._imports: dict[str, CodeType | None] = {}

    def add(self, task: T, aliases: tuple[str, ...], *, implied: bool = False) -> None:
        """Register a task.

        Args:
            implied: only an event route has made it a task so far: see `forget_implied`.

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

    def _why_refused(self, taken: T, task: T) -> str | None:
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
        """Forget a task that was only implied, because it gets another name. False if it was not implied."""
        if name not in self._implied:
            return False
        self._implied.discard(name)
        del self._tasks[name]
        return True

    def get(self, name: str) -> T | None:
        """The task of a name or alias, or None."""
        task = self._tasks.get(name)
        if task is None and (real := self._aliases.get(name)) is not None:
            task = self._tasks.get(real)
        return task

    def plan(self, name: str) -> CompiledTask | None:
        """The compiled task of a name or alias, or None."""
        task = self._tasks.get(name) or self.get(name)
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

    def __iter__(self) -> Iterator[T]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def importing_code(function: Callable[..., Any] | None) -> CodeType | None:
    """The code of the module that defines `function`, if that module is being imported now; otherwise None."""
    names = getattr(inspect.unwrap(function), "__globals__", None) if function is not None else None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is names:
            return frame.f_code
        frame = frame.f_back
    return None


def why_different(first: Callable[..., Any], second: Callable[..., Any]) -> str | None:
    """None if two functions of one name are one definition, imported twice; otherwise the difference, and the fix."""
    if first is second:
        return None
    if (
        not isinstance(first, FunctionType)
        or not isinstance(second, FunctionType)
        or (first.__module__, first.__qualname__) != (second.__module__, second.__qualname__)
    ):
        return "give name=... to one of the two"
    if _is_same(first, second, set()):
        return None
    code = first.__code__
    return (
        f"both come from {code.co_filename}:{code.co_firstlineno}, a decorator without functools.wraps or a function "
        "that makes functions: add functools.wraps, or give each task its own name=..."
    )


def _is_same(first: Any, second: Any, compared: set[tuple[int, int]]) -> bool:
    if first is second or (id(first), id(second)) in compared:
        return True
    compared.add((id(first), id(second)))  # a closure may hold itself
    if not isinstance(first, FunctionType) or not isinstance(second, FunctionType):
        return _is_equal(first, second)
    if (first.__module__, first.__qualname__) != (second.__module__, second.__qualname__):
        return False
    if first.__code__ is not second.__code__ or first.__globals__ is not second.__globals__:
        return True  # an import makes new code, or new globals
    # The same code is the same function if it was made with the same values.
    values, others = _values(first), _values(second)
    return len(values) == len(others) and all(
        _is_same(value, other, compared) for value, other in zip(values, others, strict=True)
    )


def _values(function: FunctionType) -> list[Any]:
    """The values that are bound to a function: its defaults, and the variables of its closure."""
    values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            values.append(None)
    return values


def _is_equal(first: Any, second: Any) -> bool:
    try:
        return type(first) is type(second) and bool(first == second)
    except Exception:  # a comparison of the user's own
        return False
