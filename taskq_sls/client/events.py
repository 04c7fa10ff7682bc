"""Routes from EventBridge events to tasks, declared with ``@app.on_event``."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from ..core.options import CALL_OPTIONS, TaskOptions
from ..errors import ArgumentsError, ConfigError
from ..scheduler.firing import firing_id
from .event_patterns import check_pattern, matches
from .runtime import Runtime
from .sending import OutgoingTask
from .task import Task

BUS = re.compile(r"[/.\-_A-Za-z0-9]{1,256}")
"""Names of event buses (EventBridge API reference, CreateEventBus)."""

ROUTE_OPTIONS = tuple(name for name in CALL_OPTIONS if name not in ("id", "overlap", "misfire"))
"""Options of an enqueue that `on_event` takes. A task's id comes from its event."""

TextPattern = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""``"aws.s3"``, ``{"prefix": "shop."}``, or a list of such alternatives."""


class Event(NamedTuple):
    """An EventBridge event. `time` is epoch seconds; `fields` is the whole event as received."""

    id: str
    source: str
    detail_type: str
    time: float
    fields: Mapping[str, Any]

    def task_id(self, task: str) -> str:
        """The id of the event's task: the same for each delivery of the event, and a new one for each replay.

        A UUID that begins with the event's time, to the second, so that ids sort by time.
        """
        replay = self.fields.get("replay-name")
        # No schedule group has a ":" in its name, so ids of events and of schedules never meet.
        return firing_id(f"event:{self.id}" if replay is None else f"event:{self.id}:{replay}", task, self.time)


@dataclass(frozen=True, eq=False, slots=True)
class Route:
    """Enqueues one task for each event that matches a pattern.

    Attributes:
        task: the task's name.
        bus: name of the event bus; None for the account's default bus. It is for the EventBridge rule only: an event
            does not name its bus, so `matches` ignores it.
        paths: the path of each parameter's value.
        options: options of the enqueue; they override the task's.
        checked_pattern: from `route_pattern`.
    """

    runtime: Runtime
    task: str
    bus: str | None
    paths: tuple[ArgumentPath, ...]
    options: Mapping[str, Any]
    checked_pattern: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"<Route {self.checked_pattern} to {self.task}>"

    def pattern(self) -> dict[str, Any]:
        """The pattern as JSON for an EventBridge rule; a copy."""
        return copy.deepcopy(dict(self.checked_pattern))

    def matches(self, event: Event) -> bool:
        """True if the pattern matches."""
        return matches(self.checked_pattern, event.fields)

    def prepare(self, event: Event) -> OutgoingTask:
        """The task's message for an event.

        Raises:
            ArgumentsError: the event lacks the value of a required parameter, or a value does not fit its annotation.
            ConfigError: an annotation cannot be resolved, or an option does not fit the queue.
        """
        # Found by name at each event: another decorator or import of the function replaces its task.
        task: Task[..., Any] | None = self.runtime.registry.get(self.task)
        assert task is not None
        values: dict[str, Any] = {}
        for path in self.paths:
            value = path.read(event.fields)
            if value is not MISSING:
                values[path.parameter] = value
            elif path.required:
                raise ArgumentsError(
                    f"task {self.task}: the parameter {path.parameter!r} takes {'.'.join(path.path)!r} of the event, which "
                    f"event {event.id} does not have; give it a default, or name another path: on_event(arguments="
                    f"{{{path.parameter!r}: ...}})"
                )
        # The event is JSON, as a message is: the task's annotations decode it.
        args, kwargs = task._definition.signature().decode([], values)
        options = self._options(task)
        return task._prepare(args, kwargs, options._replace(id=event.task_id(task.name)))

    def check(self, task: Task[..., Any]) -> None:
        """Raise ConfigError if an option is wrong or does not fit the queue."""
        self._options(task)

    def _options(self, task: Task[..., Any]) -> TaskOptions:
        where = f"on_event of task {task.name}"
        merged = task.options.merged(where, self.options, ROUTE_OPTIONS, {})
        self.runtime.check_queue(where, merged, sending=True)
        return merged


def declare(
    runtime: Runtime,
    routes: list[Route],
    task: Task[..., Any],
    pattern: Mapping[str, Any],
    bus: str | None,
    arguments: Mapping[str, str] | None,
    options: Mapping[str, Any],
) -> Route:
    """Add a route to the app's. It replaces an equal one, since a module that is imported again declares it again.

    Args:
        pattern: from `route_pattern`.

    Raises:
        ConfigError: the task is another app's, or bus, arguments or options are wrong.
    """
    where = f"on_event of task {task.name}"
    if task._runtime is not runtime:
        raise ConfigError(f"{where}: the task is of TaskQ({task._runtime.name!r}), not of TaskQ({runtime.name!r})")
    if bus is not None and (not isinstance(bus, str) or not BUS.fullmatch(bus)):
        raise ConfigError(f"{where}: bus={bus!r} must be a name of 1 to 256 letters, digits and / . - _, or None")
    if "id" in options:
        raise ConfigError(f"{where}: id={options['id']!r}: each event makes the id of its task; leave it out")
    route = Route(
        runtime=runtime,
        task=task.name,
        bus=None if bus == "default" else bus,
        paths=argument_paths(where, task, arguments),
        options=MappingProxyType(dict(options)),
        checked_pattern=pattern,
    )
    route.check(task)
    _add(routes, route)
    return route


def move_routes(routes: list[Route], former: str, task: Task[..., Any]) -> None:
    """Move the routes of a former task to another task of the same function.

    Raises:
        ConfigError: an option of a route does not fit the task's queue.
    """
    moved = [route for route in routes if route.task == former]
    routes[:] = [route for route in routes if route.task != former]
    for route in moved:
        route.check(task)
        _add(routes, replace(route, task=task.name))


def _add(routes: list[Route], route: Route) -> None:
    for index, other in enumerate(routes):
        if (other.task, other.bus, other.checked_pattern) == (route.task, route.bus, route.checked_pattern):
            routes[index] = route
            return
    routes.append(route)


def route_pattern(
    source: TextPattern, detail_type: TextPattern | None, detail: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The pattern of a route, checked.

    Raises:
        ConfigError: a part is not a pattern, or uses an operator that is not evaluated here.
    """
    pattern: dict[str, Any] = {"source": _text_alternatives("source", source)}
    if detail_type is not None:
        pattern["detail-type"] = _text_alternatives("detail_type", detail_type)
    if detail is not None:
        pattern["detail"] = detail
    return check_pattern("on_event", pattern)


def _text_alternatives(name: str, given: TextPattern) -> list[str | Mapping[str, Any]]:
    texts = [given] if isinstance(given, str | Mapping) else list(given) if isinstance(given, list | tuple) else []
    fits = all(
        (isinstance(text, str) and text) or (isinstance(text, Mapping) and list(text) == ["prefix"]) for text in texts
    )
    if not texts or not fits:
        raise ConfigError(
            f'on_event: {name}={given!r:.80} must be text, {{"prefix": text}}, or a list of such alternatives'
        )
    return texts


BY_NAME = ("id", "source", "detail_type", "time", "account", "region", "resources", "detail")
"""Parameters that get the event's field of that name; ``event`` gets the whole event, any other a field of `detail`."""

FIELDS = ("version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail", "replay-name")
"""The fields of an event (EventBridge user guide, event structure)."""

MISSING = object()
"""The value of a path that an event does not have."""


class ArgumentPath(NamedTuple):
    """The path of a parameter's value in an event.

    Args:
        path: names of fields, from the outermost inwards, and positions in lists; empty for the whole event.
        required: the parameter has no default.
    """

    parameter: str
    path: tuple[str, ...]
    required: bool

    def read(self, event: Mapping[str, Any]) -> Any:
        """The value at the path, or `MISSING`."""
        value: Any = event
        for step in self.path:
            if isinstance(value, Mapping):
                value = value.get(step, MISSING)
            elif isinstance(value, list) and step.isdecimal():
                value = value[int(step)] if int(step) < len(value) else MISSING
            else:
                return MISSING
        return value


def argument_paths(where: str, task: Task[..., Any], arguments: Mapping[str, str] | None) -> tuple[ArgumentPath, ...]:
    """The path of each parameter of a task's function: from `arguments`, else by the parameter's name.

    Args:
        where: the declaration, for error messages.
        arguments: dotted paths by parameter.

    Raises:
        ConfigError: events have no such path, or a parameter is unknown or positional-only.
    """
    given = {} if arguments is None else arguments
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: arguments={given!r:.80} must map parameter names to paths in the event")
    parameters = _parameters(task)
    takes_any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    required = {
        parameter.name: parameter.default is parameter.empty
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    for parameter in parameters:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(
                f"{where}: the parameter {parameter.name!r} is positional-only, and the fields of an event are passed by "
                "name; take the '/' out of its parameters"
            )
    for name in given:
        if name not in required and not (takes_any_name and isinstance(name, str)):
            raise ConfigError(f"{where}: arguments names {name!r}; the parameters are {_listed(required)}")
    return tuple(
        ArgumentPath(
            name, _path(where, name, given[name]) if name in given else _default_path(name), required.get(name, True)
        )
        for name in dict.fromkeys([*required, *given])
    )


def _parameters(task: Task[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a task's function, without the context."""
    assert task.__wrapped__ is not None
    parameters = list(inspect.signature(task.__wrapped__).parameters.values())
    return parameters[1:] if task._definition.wants_context else parameters


def _default_path(parameter: str) -> tuple[str, ...]:
    if parameter == "event":
        return ()
    return (parameter.replace("_", "-"),) if parameter in BY_NAME else ("detail", parameter)


def _path(where: str, parameter: str, given: object) -> tuple[str, ...]:
    """The steps of a dotted path such as ``detail.items.0.sku``.

    Raises:
        ConfigError: it does not begin with a field of events, or goes into a field that is plain text.
    """
    if given == "event":
        return ()
    steps = given.split(".") if isinstance(given, str) else []
    if steps and steps[0] == "detail_type":
        steps[0] = "detail-type"
    if not steps or steps[0] not in FIELDS or not all(steps):
        raise ConfigError(
            f"{where}: arguments[{parameter!r}]={given!r} must be a path in the event, such as 'detail.object.key' or "
            f"'time': it begins with {_listed(FIELDS)}, or is 'event' for all of it"
        )
    if len(steps) > 1 and steps[0] not in ("detail", "resources"):
        raise ConfigError(
            f"{where}: arguments[{parameter!r}]={given!r}: {steps[0]!r} is plain text, without fields of its own"
        )
    return tuple(steps)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
