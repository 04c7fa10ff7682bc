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
        name: of the schedule where it is kept: ``d-{app}.{its own name or the task's}-{8 hexadecimal digits}``.
        schedule: as declared.
        timed: the task, with its options and those of the schedule.
    """

    name: str
    schedule: Schedule
    timed: ScheduleRequest

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.timed.definition.name

    @property
    def queue(self) -> str:
        """Logical name of the queue."""
        return self.timed.options.queue

    @property
    def when(self) -> When:
        """When it fires."""
        return self.schedule.when

    def prepare(self, group: str) -> OutgoingTask:
        """The checked schedule, ready for the dispatch hooks.

        Args:
            group: the schedule group.

        Raises:
            ConfigError, ArgumentsError, PayloadTooLarge: options, queue, arguments or their size do not fit.
        """
        one = self.schedule
        return self.timed.prepare(self.name, group, one.args, dict(one.kwargs), enabled=one.enabled)

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
            options: of the task, where the schedule says nothing else.

        Raises:
            ConfigError: options, queue or name do not fit, or it is declared twice.
            ArgumentsError: the arguments do not fit the task. Where an annotation names what is defined further
                down, they are looked at when they are first needed.
            PayloadTooLarge: the arguments are too large for a schedule.
        """
        name, own = definition.name, schedule.name
        where = f"task {name}: schedule {own or schedule.when.expression}"
        if options.id is not None:
            raise ConfigError(
                f"{where}: id={options.id!r} on a declared schedule, whose runs have an id each; give it a name= instead"
            )
        merged = options.merged(where, schedule.options, ("overlap", "misfire", "group"), {})
        timed = ScheduleRequest(where, self._runtime, definition, merged, schedule.when)
        if own is not None and own in self._tasks_by_own_name:
            raise ConfigError(
                f"{where}: the name is taken by a schedule of task {self._tasks_by_own_name[own]}; give one of the two "
                "another name"
            )
        made = DeclaredSchedule(
            declared_name(self._runtime.name, name, self._unnamed[name] if own is None else own), schedule, timed
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
        """Those of all tasks but one."""
        others = Declarations(self._runtime)
        for one in self:
            if one.task != task:
                others.add(one.timed.definition, one.timed.options, one.schedule)
        return others

    def _checked(self, made: DeclaredSchedule) -> tuple[Any, ...]:
        """What the schedule does, to find a second one that does the same."""
        try:
            prepared = made.prepare("")
        except UnresolvedAnnotation:
            return (made.name,)
        assert prepared.spec is not None
        field = {**(prepared.message.schedule or {}), "name": ""}
        return (*prepared.spec[1:], prepared.message._replace(schedule=field).encode())
