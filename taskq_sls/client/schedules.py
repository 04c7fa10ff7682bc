"""Schedules declared in code: ``@app.task(schedule=...)`` and ``app.schedule(...)``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConfigError, UnresolvedAnnotation
from ..scheduler.expressions import When
from .runtime import Runtime
from .schedule_message import ScheduleRequest, declared_name
from .schedule_value import Schedule

if TYPE_CHECKING:
    from ..core.options import TaskOptions
    from ..engine.attempt import Definition
    from .sending import OutgoingTask


class DeclaredSchedule(NamedTuple):
    """A schedule that the app declares.

    Args:
        name: of the schedule in the store: ``d-{app}.{its own name or the task's}-{8 hexadecimal digits}``.
        schedule: as declared.
        request: the task, with its options and those of the schedule.
    """

    name: str
    schedule: Schedule
    request: ScheduleRequest

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.request.definition.name

    @property
    def queue(self) -> str:
        """Logical name of the queue."""
        return self.request.options.queue

    @property
    def when(self) -> When:
        """Its times."""
        return self.schedule.when

    def prepare(self, group: str) -> OutgoingTask:
        """The checked schedule, ready for the dispatch hooks.

        Args:
            group: the schedule group.

        Raises:
            ConfigError, ArgumentsError, PayloadTooLarge: options, queue, arguments or their size do not fit.
        """
        schedule = self.schedule
        return self.request.prepare(self.name, group, schedule.args, dict(schedule.kwargs), enabled=schedule.enabled)

    def __repr__(self) -> str:
        return f"<DeclaredSchedule {self.name}: {self.when.expression}>"


class Declarations:
    """The schedules that one app declares."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._by_name: dict[str, DeclaredSchedule] = {}
        self._tasks_by_own_name: dict[str, str] = {}
        self._unnamed: Counter[str] = Counter()
        self._contents: set[tuple[Any, ...]] = set()

    def __iter__(self) -> Iterator[DeclaredSchedule]:
        return iter(self._by_name.values())

    def add(self, definition: Definition, options: TaskOptions, schedule: Schedule) -> DeclaredSchedule:
        """Declare a schedule of a task.

        Args:
            options: of the task; those of the schedule override them.

        Raises:
            ConfigError: options, queue or name do not fit, or it is declared twice.
            ArgumentsError: the arguments do not fit the task. If an annotation names a type that is defined further
                down, they are checked at first use.
            PayloadTooLarge: the arguments are too large for a schedule.
        """
        name, own = definition.name, schedule.name
        where = f"task {name}: schedule {own or schedule.when.expression}"
        if options.id is not None:
            raise ConfigError(
                f"{where}: id={options.id!r} on a declared schedule: each run has its own id; give it a name= instead"
            )
        merged = options.merged(where, schedule.options, ("overlap", "misfire", "group"), {})
        request = ScheduleRequest(
            where=where, runtime=self._runtime, definition=definition, options=merged, when=schedule.when
        )
        if own is not None and own in self._tasks_by_own_name:
            raise ConfigError(
                f"{where}: the name is taken by a schedule of task {self._tasks_by_own_name[own]}; give one of the two "
                "another name"
            )
        made = DeclaredSchedule(
            declared_name(self._runtime.name, name, self._unnamed[name] if own is None else own), schedule, request
        )
        if made.name in self._by_name:
            raise ConfigError(
                f"{where}: {made.name!r} is the name of another schedule too; give it a name=, or another one"
            )
        content = self._checked(made)
        if content in self._contents:
            raise ConfigError(f"{where}: it is declared twice, and would run the task twice each time; leave one out")
        self._contents.add(content)
        if own is None:
            self._unnamed[name] += 1
        else:
            self._tasks_by_own_name[own] = name
        self._by_name[made.name] = made
        return made

    def without(self, task: str) -> Declarations:
        """The declarations of all other tasks."""
        others = Declarations(self._runtime)
        for declared in self:
            if declared.task != task:
                others.add(declared.request.definition, declared.request.options, declared.schedule)
        return others

    def _checked(self, made: DeclaredSchedule) -> tuple[Any, ...]:
        """The times and message of a schedule, to find a second declaration of the same."""
        try:
            prepared = made.prepare("")
        except UnresolvedAnnotation:
            return (made.name,)
        assert prepared.spec is not None
        field = {**(prepared.message.schedule or {}), "name": ""}
        return (*prepared.spec[1:], prepared.message._replace(schedule=field).encode())
