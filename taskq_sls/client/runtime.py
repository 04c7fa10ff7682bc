"""The part of an app that its tasks, handles and readers use, and how these are pickled: by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from ..core.clock import Clock
from ..core.naming import check_task_name
from ..core.options import CALL_OPTIONS, TaskOptions
from ..core.queues import Queue, dead_letter_name
from ..core.settings import Settings
from ..engine.attempt import Definition
from ..errors import ConfigError
from ..middleware import Middleware
from ..serialization import JsonSignature
from .registry import Registry
from .services import ServiceFactory


class ByName:
    """A base of objects that are pickled by name: a copy is the object itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Runtime(ByName):
    """The part of an app below its tasks; one per app.

    Attributes:
        owner: the app.
        name: of the app.
        clock: the source of time.
        max_depth: longest chain of tasks that enqueue each other.
        queues: the declared queues, by logical name.
        middleware: hooks of all tasks of the app, the first outermost.
        defaults: options of tasks that give none of their own.
        services: makes brokers, result backends and stores.
        registry: the app's tasks.
        place: module and variable of the app; found at the first pickle.
    """

    def __init__(
        self,
        *,
        owner: object,
        name: str,
        clock: Clock,
        max_depth: int,
        queues: Mapping[str, Queue],
        middleware: tuple[Middleware, ...],
        defaults: TaskOptions,
        services: ServiceFactory,
        settings: Callable[[], Settings],
    ) -> None:
        self.owner = owner
        self.name = name
        self.clock = clock
        self.max_depth = max_depth
        self.queues = queues
        self.middleware = middleware
        self.defaults = defaults
        self.services = services
        self.registry: Registry[Any] = Registry()
        self.place: tuple[str, str] | None = None
        self._settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        return find_runtime, place_of(self)

    @property
    def settings(self) -> Settings:
        """The names and addresses of the app's resources."""
        return self._settings()

    def reference(self, name: str, options: Mapping[str, Any]) -> Definition:
        """A task without its code: its arguments are plain JSON values.

        Args:
            options: those of an enqueue, `record` and `record_arguments`.

        Raises:
            ConfigError: the name or an option is wrong.
        """
        where = f"ref({name!r})"
        merged = self.defaults.merged(where, options, (*CALL_OPTIONS, "record", "record_arguments"), {})
        self.check_queue(where, merged)
        signature = JsonSignature(name)
        signature.redact = merged.redact
        return Definition(
            name=check_task_name(name),
            options=merged,
            signature=lambda: signature,
            plan=None,
            middlewares=self.middleware,
            function=None,
            wants_context=False,
        )

    def check_queue(self, where: str, options: TaskOptions, *, sending: bool = False) -> Queue:
        """The queue that options name, if they fit it.

        Raises:
            ConfigError: the queue is not declared, or timeout, group, delay, unique_ttl or expires_in do not fit.
        """
        queue = self.queues.get(options.queue)
        if queue is None:
            raise ConfigError(
                f"{where}: queue {options.queue!r} is not declared; TaskQ({self.name!r}) has "
                f"{', '.join(map(repr, self.queues))}. Add Queue({options.queue!r}) to queues=[...]"
            )
        if queue.function_timeout is not None and (options.timeout or 0) > queue.function_timeout:
            raise ConfigError(
                f"{where}: timeout={options.timeout:g} is longer than function_timeout={queue.function_timeout} of queue "
                f"{queue.name!r}: its Lambda function would be killed first; raise function_timeout or lower timeout"
            )
        if sending and queue.fifo and options.group is None:
            raise ConfigError(
                f"{where}: FIFO queue {queue.name!r} needs a message group: with_options(group=...) or group= on the task"
            )
        if options.unique_key is not None and options.delay >= options.unique_ttl:
            raise ConfigError(
                f"{where}: unique_ttl={options.unique_ttl:g} ends before delay={options.delay:g} does: the key would be free "
                "before the task starts; raise unique_ttl, or lower delay"
            )
        if options.expires_in is not None and options.expires_in <= options.delay:
            raise ConfigError(
                f"{where}: expires_in={options.expires_in:g} ends before delay={options.delay:g} does: it would never run"
            )
        return queue


def place_of(runtime: Any) -> tuple[str, str]:
    """The module and the variable of a runtime's app.

    Raises:
        ConfigError: no module holds it at its top level.
    """
    app = runtime.owner
    place: tuple[str, str] | None = runtime.place
    if place is not None and getattr(sys.modules.get(place[0]), place[1], None) is app:
        return place
    places = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if value is app
    ]
    if not places:
        raise ConfigError(
            f"{app!r} cannot be pickled: apps, tasks and handles are pickled by name, and no module has this app as a "
            "variable at its top level; assign it there"
        )
    # Another process may have another __main__.
    runtime.place = place = min(places, key=lambda place: place[0] in ("__main__", "__mp_main__"))
    return place


def find_app(module: str, attribute: str) -> Any:
    """Unpickle an app: the counterpart of `place_of`."""
    return getattr(importlib.import_module(module), attribute)


def find_runtime(module: str, attribute: str) -> Any:
    """Unpickle the runtime of an app."""
    return find_app(module, attribute)._runtime


def find_task(runtime: Any, name: str, module: str) -> Any:
    """Unpickle a task. Its module is imported if the task is not registered yet.

    Raises:
        ConfigError: the module does not register it.
    """
    if (found := runtime.registry.get(name)) is None:
        importlib.import_module(module)
        found = runtime.registry.get(name)
    if found is None:
        raise ConfigError(
            f"task {name} cannot be unpickled: importing {module} does not register it in {runtime.owner!r}; define it at the "
            "top of that module"
        )
    return found


def queues_by_name(app: str, queues: Sequence[Queue] | None) -> dict[str, Queue]:
    """The declared queues of an app, checked.

    Raises:
        ConfigError: it is not a list of queues, or two would have one name, dead-letter queues included.
    """
    if isinstance(queues, Queue):
        raise ConfigError(f"TaskQ({app!r}): queues must be a list; give queues=[Queue({queues.name!r})]")
    declared = [Queue("default")] if queues is None else list(queues)
    if not declared:
        raise ConfigError(f"TaskQ({app!r}, queues=[]): declare at least one Queue")
    by_name: dict[str, Queue] = {}
    for queue in declared:
        if not isinstance(queue, Queue):
            raise ConfigError(f"TaskQ({app!r}): queues has an element {queue!r}; give Queue({queue!r})")
        if queue.name in by_name:
            raise ConfigError(f"TaskQ({app!r}): queue {queue.name!r} is declared twice")
        by_name[queue.name] = queue
    _check_dead_letter_names(app, by_name)
    return by_name


def _check_dead_letter_names(app: str, by_name: Mapping[str, Queue]) -> None:
    if "schedules" in by_name:
        raise ConfigError(
            f"TaskQ({app!r}): queue 'schedules' would share its dead-letter queue, 'schedules-dlq', with all schedules; "
            "give the queue another name"
        )
    taken = {dead_letter_name(name): f"the dead-letter queue of {name!r}" for name in by_name}
    taken["schedules-dlq"] = "the dead-letter queue of schedules"
    for name in by_name:
        if name in taken:
            raise ConfigError(f"TaskQ({app!r}): queue {name!r} is {taken[name]}; give the queue another name")
