"""The value of ``@app.task(schedule=...)``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from ..scheduler.expressions import When
from ..scheduler.spec import MAX_NAME, NAME_PATTERN

if TYPE_CHECKING:
    from ..scheduler.firing import Misfire, Overlap


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Schedule:
    """The times and arguments of scheduled runs: ``@app.task(schedule=Schedule(rate("1 hour"), ("eu",)))``.

    A frozen value: it can be compared, hashed and pickled.

    Args:
        when: ``cron(...)``, ``rate(...)`` or ``at(...)``.
        args, kwargs: arguments of every run, without the TaskContext.
        name: of the schedule, 1 to 64 letters, digits, ``_``, ``.`` or ``-``; unique in the app. Name them if a
            task has several: unnamed schedules are numbered in order, so removing one renames the rest.
        overlap: ``allow``, or ``skip`` to drop a run while the one before has not ended. Default: the task's.
        misfire: the runs missed while `taskq scheduler` was down that are fired on restart: none (``skip``), the latest
            (``once``), or ``all``. Default: the task's.
        group: message group of a FIFO queue. Default: the task's.
        enabled: False to create it paused.

    Raises:
        ConfigError: a value has the wrong type or form.
    """

    when: When
    # Arguments may be lists and dicts, which cannot be hashed.
    args: tuple[Any, ...] = field(hash=False)
    kwargs: Mapping[str, Any] = field(hash=False)
    name: str | None
    overlap: Overlap | None
    misfire: Misfire | None
    group: str | None
    enabled: bool

    def __init__(
        self,
        when: When,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        overlap: Overlap | None = None,
        misfire: Misfire | None = None,
        group: str | None = None,
        enabled: bool = True,
    ) -> None:
        values = {
            "when": check_when("Schedule(when)", when),
            "args": check_args("Schedule", args),
            "kwargs": MappingProxyType(check_kwargs("Schedule", kwargs)),
            "name": _check_name(name),
            "overlap": overlap,
            "misfire": misfire,
            "group": group,
            "enabled": _check_enabled(enabled),
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def __repr__(self) -> str:
        arguments = [repr(self.args), *([repr(dict(self.kwargs))] if self.kwargs else [])]
        named = [
            f"{name}={value!r}" for name, value in {"name": self.name, **self.options}.items() if value is not None
        ]
        shown = [
            repr(self.when),
            *(arguments if self.args or self.kwargs else []),
            *named,
            *([] if self.enabled else ["enabled=False"]),
        ]
        return f"Schedule({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        named = {"name": self.name, "enabled": self.enabled, **self.options}
        return partial(Schedule, self.when, self.args, dict(self.kwargs), **named), ()

    @property
    def options(self) -> dict[str, Any]:
        """Options that override those of the task; checked when both are known."""
        given = {"overlap": self.overlap, "misfire": self.misfire, "group": self.group}
        return {name: value for name, value in given.items() if value is not None}


def as_schedules(where: str, given: object) -> list[Schedule]:
    """The value of ``schedule=`` as a list: it may be a When, a Schedule, or a list or tuple of either.

    Raises:
        ConfigError: it is something else.
    """
    values = list(given) if isinstance(given, list | tuple) else [given]
    return [
        value if isinstance(value, Schedule) else Schedule(check_when(f"{where}: schedule", value)) for value in values
    ]


def check_when(where: str, when: object) -> When:
    """`when`. Raises ConfigError if it is not a schedule expression."""
    if isinstance(when, When):
        return when
    hint = (
        f": import {word[0]} from taskq_sls and leave out the quotes" if (word := _EXPRESSION.match(str(when))) else ""
    )
    raise ConfigError(f"{where}={when!r:.120} must be cron(...), rate(...) or at(...) of taskq_sls{hint}")


_EXPRESSION = re.compile(r"(cron|rate|at)(?=\()")


def check_args(where: str, args: object) -> tuple[Any, ...]:
    """Positional arguments as a tuple. Raises ConfigError if they are not in a list or tuple."""
    if not isinstance(args, list | tuple):
        raise ConfigError(
            f"{where}: args={args!r:.120} must be a tuple or list of the positional arguments: ({args!r:.40},)"
        )
    return tuple(args)


def check_kwargs(where: str, kwargs: object) -> dict[str, Any]:
    """Named arguments as a new dict. Raises ConfigError if they are not a mapping of names."""
    if kwargs is None:
        return {}
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise ConfigError(f"{where}: kwargs={kwargs!r:.120} must map names of parameters to values")
    return dict(kwargs)


def _check_name(name: object) -> object:
    if name is not None and not (isinstance(name, str) and NAME_PATTERN.fullmatch(name)):
        raise ConfigError(f"Schedule: name={name!r:.120} must be 1 to {MAX_NAME} letters, digits, '_', '.' or '-'")
    return name


def _check_enabled(enabled: object) -> object:
    if not isinstance(enabled, bool):
        raise ConfigError(f"Schedule: enabled={enabled!r} must be True or False")
    return enabled
