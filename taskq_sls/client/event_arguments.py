"""Where the arguments of an event's task come from: a place in the event for each parameter."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError
from .task import Task

BY_NAME = ("id", "source", "detail_type", "time", "account", "region", "resources", "detail")
"""Parameters that get the event's field of that name; ``event`` gets the whole event, any other a field of `detail`."""

FIELDS = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail", "replay-name")
"""The fields of an event (EventBridge user guide, event structure)."""

MISSING = object()
"""What a place holds that an event does not have."""


class ArgumentPath(NamedTuple):
    """Where in an event a parameter's value is.

    Args:
        path: names of fields, from the outermost inwards, and positions in lists; empty for the whole event.
        required: the parameter has no default.
    """

    parameter: str
    path: tuple[str, ...]
    required: bool

    def read(self, event: Mapping[str, Any]) -> Any:
        """What stands there; `MISSING` where nothing does."""
        value: Any = event
        for step in self.path:
            if isinstance(value, Mapping):
                value = value.get(step, MISSING)
            elif isinstance(value, list) and step.isdecimal():
                value = value[int(step)] if int(step) < len(value) else MISSING
            else:
                return MISSING
        return value


def argument_sources(where: str, task: Task[..., Any], arguments: Mapping[str, str] | None) -> tuple[ArgumentPath, ...]:
    """A place for each parameter of a task's function: by `arguments`, else by the parameter's name.

    Args:
        where: what is being declared, for messages.
        arguments: dotted paths by parameter.

    Raises:
        ConfigError: a path begins or goes on where no event has a field, a parameter is unknown, or one is
            positional-only.
    """
    given = {} if arguments is None else arguments
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: arguments={given!r:.80} must map parameter names to places in the event")
    assert task.__wrapped__ is not None
    parameters = list(inspect.signature(task.__wrapped__).parameters.values())
    if task._definition.wants_context:
        del parameters[0]
    sources = []
    open_ended = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"{where}: the parameter {parameter.name!r} is positional-only, and the fields of an event are given by "
                "name; take the '/' out of its parameters"
            )
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            name = parameter.name
            path = _path(where, name, given[name]) if name in given else _default_path(name)
            sources.append(ArgumentPath(name, path, parameter.default is parameter.empty))
    known = [source.parameter for source in sources]
    for name in given:
        if name not in known:
            if not open_ended or not isinstance(name, str):
                raise ConfigError(f"{where}: arguments names {name!r}; the parameters are {_listed(known)}")
            sources.append(ArgumentPath(name, _path(where, name, given[name]), True))
    return tuple(sources)


def _default_path(parameter: str) -> tuple[str, ...]:
    if parameter == "event":
        return ()
    return (parameter.replace("_", "-"),) if parameter in BY_NAME else ("detail", parameter)


def _path(where: str, parameter: str, given: object) -> tuple[str, ...]:
    """The steps of a dotted path such as ``detail.items.0.sku``.

    Raises:
        ConfigError: it does not begin with a field of events, or goes on where none can.
    """
    if given == "event":
        return ()
    steps = given.split(".") if isinstance(given, str) else []
    if steps and steps[0] == "detail_type":
        steps[0] = "detail-type"
    if not steps or steps[0] not in FIELDS or not all(steps):
        raise ConfigError(
            f"{where}: arguments[{parameter!r}]={given!r} must be a place in the event, such as 'detail.object.key' or "
            f"'time': it begins with {_listed(FIELDS)}, or is 'event' for all of it"
        )
    if len(steps) > 1 and steps[0] not in ("detail", "resources"):
        raise ConfigError(
            f"{where}: arguments[{parameter!r}]={given!r}: {steps[0]!r} is plain text, without fields of its own"
        )
    return tuple(steps)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
