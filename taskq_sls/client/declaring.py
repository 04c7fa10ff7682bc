"""What an app declares: tasks, events that become tasks, schedules, and the queues they all name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload

from ..core.context import TaskContext
from ..core.naming import check_task_name, task_name
from ..core.options import TASK_OPTIONS, OptionCheck, TaskOptions
from ..core.queues import Queue
from ..core.threads import ThreadPool
from ..errors import ConfigError
from ..middleware import Middleware
from .definition import caller_locals, define
from .overloads import EventDecorator, TaskDecorator, _Probe
from .registry import Registry
from .runtime import Runtime
from .task import AsyncTask, Enqueuer, SyncTask, Task

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..engine.processes.pool import ProcessPool
    from ..scheduler.expressions import When
    from ..scheduler.firing import Misfire, Overlap
    from .events import Route, TextPattern
    from .schedule_handle import ScheduleHandle
    from .schedule_value import Schedule
    from .schedules import Declarations, DeclaredSchedule

P = ParamSpec("P")
R = TypeVar("R")


class Declaring:
    """The half of an app that its modules talk to while they are imported."""

    name: str
    queues: dict[str, Queue]
    middleware: tuple[Middleware, ...]
    registry: Registry[Task[..., Any]]
    routes: list[Route]
    threads: ThreadPool
    children: ProcessPool | None
    _runtime: Runtime
    _defaults: TaskOptions
    _declarations: Declarations | None

    def make_children(self) -> ProcessPool:
        """The child processes of tasks with ``run_in="process"``, started on demand."""
        if self.children is None:
            from ..engine.processes.pool import ProcessPool

            self.children = ProcessPool()
        return self.children

    # -- tasks --------------------------------------------------------------------------------------------------

    @overload
    def task(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[_Probe, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[Concatenate[Any, P], R]: ...
    @overload
    def task(self, function: Callable[Concatenate[_Probe, P], R], /) -> SyncTask[Concatenate[Any, P], R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]  # the first match wins, as meant
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        middleware: Sequence[Middleware] = (),
        schedule: When | Schedule | Sequence[When | Schedule] | None = None,
        **options: Any,
    ) -> TaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        middleware: Sequence[Middleware] = (),
        schedule: When | Schedule | Sequence[When | Schedule] | None = None,
        **options: Any,
    ) -> Any:
        """Make a function a task. May be used bare.

        Args:
            name: default ``module:function``.
            aliases: former names; messages that carry one still run.
            middleware: hooks of this task alone, inside those of the app.
            schedule: when it runs by itself: ``cron(...)``, ``rate(...)``, ``at(...)``, a ``Schedule`` (which also
                has arguments), or a list of these. `taskq schedules sync` or the template makes them.
            options: see `TaskOptions` (all but ``id`` and ``unique_key``), and those that middlewares declare.

        Raises:
            ConfigError: a name is taken or not importable, an option is unknown or out of range, a parameter
                cannot travel.
        """
        if isinstance(aliases, str):
            raise ConfigError(f"aliases={aliases!r} must be a list of names: aliases=[{aliases!r}]")
        if not isinstance(aliases, Iterable):
            raise ConfigError(f"aliases={aliases!r} must be a list of names; leave it out if there are none")
        localns = caller_locals(2)

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            former_names = tuple(check_task_name(alias) for alias in aliases)
            task = self._define(function, name, tuple(middleware), options, localns, former_names)
            again = self.registry.get(task.name) is not None
            self.registry.add(task, former_names)
            if again and self._declarations is not None:
                # A module that is imported again declares its tasks again, and their schedules.
                self._declarations = self._declarations.without(task.name)
            if schedule is not None:
                self._declare(task, schedule)
            former = (
                function.name
                if isinstance(function, SyncTask | AsyncTask) and function._runtime is self._runtime
                else None
            )
            if former and (former == task.name or self.registry.forget_implied(former)) and self.routes:
                from .events import move_routes  # there are routes, so it is loaded

                move_routes(self.routes, former, task)
            return task

        return register if function is None else register(function)

    def _define(
        self,
        function: Callable[..., Any],
        name: str | None,
        middleware: tuple[Middleware, ...],
        options: dict[str, Any],
        localns: Mapping[str, Any],
        aliases: tuple[str, ...] = (),
    ) -> Task[..., Any]:
        if isinstance(function, SyncTask | AsyncTask):  # of another app, or decorated twice
            function = function.__wrapped__ or function
        resolved = task_name(function) if name is None else check_task_name(name)
        where = f"task {resolved}"
        middlewares = (*self.middleware, *checked_middleware(where, middleware))
        merged = self._defaults.merged(where, options, TASK_OPTIONS, declared_options(middlewares))
        from ..engine.retention import check_receives  # not for producers, which only send

        check_receives(where, merged.retry, self._runtime.check_queue(where, merged))
        return define(
            self._runtime, self.make_children, function, resolved, merged, middlewares, self.threads, localns, aliases
        )

    def on_event(
        self,
        *,
        source: TextPattern,
        detail_type: TextPattern | None = None,
        bus: str | None = None,
        detail: Mapping[str, Any] | None = None,
        arguments: Mapping[str, str] | None = None,
        **options: Any,
    ) -> EventDecorator:
        """Make a task of every EventBridge event that matches: above or below ``@app.task``, or on a plain function.

        A parameter ``event`` gets the whole event, ``id``, ``source``, ``detail_type``, ``time``, ``account``,
        ``region``, ``resources`` and ``detail`` the event's field, any other the field of `detail` of its name. What
        an event lacks takes the parameter's default. Values are read by the task's annotations.

        Args:
            source, detail_type: text, ``{"prefix": text}``, or a list of such alternatives. Default of `detail_type`:
                any.
            bus: name of the event bus. Default: the account's default bus.
            detail: pattern of the detail, as in EventBridge: objects and lists of values, with the operators prefix,
                suffix, anything-but, exists and numeric.
            arguments: places in the event by parameter, such as ``{"key": "detail.object.key"}``; ``"event"`` is all
                of it. Digits are positions in lists.
            options: queue, delay, group, labels, expires_in, unique_key, unique_ttl and unique of the enqueue.

        Raises:
            ConfigError: a pattern, a place or an option is wrong, or no parameter has that name.
        """
        from .events import declare, route_pattern  # few apps need them, and a cold start should not pay

        wanted = route_pattern(source, detail_type, detail)
        localns = caller_locals(2)

        def route(function: Callable[..., Any]) -> Task[..., Any]:
            if isinstance(function, SyncTask | AsyncTask):
                task: Task[..., Any] = function
            else:
                task = self._define(function, None, (), {}, localns)
                self.registry.add(task, (), implied=True)
            declare(self._runtime, self.routes, task, wanted, bus, arguments, options)
            return task

        return cast(EventDecorator, route)

    # -- schedules ----------------------------------------------------------------------------------------------

    def schedule(
        self,
        task: Enqueuer[..., Any] | str,
        when: When,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        overlap: Overlap | None = None,
        misfire: Misfire | None = None,
        group: str | None = None,
        enabled: bool = True,
    ) -> DeclaredSchedule:
        """Declare a schedule of a task, as ``@app.task(schedule=Schedule(...))`` does.

        Args:
            task: a task, also ``task.with_options(...)`` or ``app.ref(...)``, or the name of a registered one.
            when, args, kwargs, name, overlap, misfire, group, enabled: see `Schedule`.

        Raises:
            ConfigError: there is no such task, the name is taken, or options and queue do not fit a schedule.
            ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
        """
        from .schedule_value import Schedule

        one = Schedule(when, args, kwargs, name=name, overlap=overlap, misfire=misfire, group=group, enabled=enabled)
        return self._declare(self._scheduled_task(task), one)[0]

    @property
    def schedules(self) -> Sequence[DeclaredSchedule]:
        """The schedules that are declared in code, in the order of their declaration."""
        return () if self._declarations is None else tuple(self._declarations)

    def schedule_handle(self, id: str, task: Enqueuer[..., Any] | None = None) -> ScheduleHandle:
        """The handle of a schedule, to look at it or to change it. Nothing is called.

        Args:
            id: what ``ScheduleHandle.id`` was; with `task`, what was given as ``with_options(id=...)``.

        Raises:
            ConfigError: `id` is no name of a schedule.
        """
        from .schedule_handle import schedule_handle

        if task is not None:
            return schedule_handle(self._runtime, id, task.name)
        declared = next((schedule.task for schedule in self.schedules if schedule.name == id), None)
        return schedule_handle(self._runtime, id, None, declared)

    def _declare(
        self, task: Enqueuer[..., Any], given: When | Schedule | Sequence[When | Schedule]
    ) -> list[DeclaredSchedule]:
        from .schedule_value import as_schedules
        from .schedules import Declarations  # a cold start without schedules should not pay

        if self._declarations is None:
            self._declarations = Declarations(self._runtime)
        declarations, several = self._declarations, as_schedules(f"task {task.name}", given)
        return [declarations.add(task._definition, task.options, one) for one in several]

    def _scheduled_task(self, task: Enqueuer[..., Any] | str) -> Enqueuer[..., Any]:
        found = self.registry.get(task) if isinstance(task, str) else task
        if isinstance(found, Enqueuer) and found._runtime is self._runtime:
            return found
        raise ConfigError(
            f"TaskQ({self.name!r}).schedule({task!r:.120}): no such task is registered in this app; give the task itself, or "
            "app.ref(name) for one whose code is elsewhere"
        )

    def ref(self, name: str, **options: Any) -> Enqueuer[..., Any]:
        """A task without its code: sent by name, with plain JSON arguments, which nobody checks here.

        Args:
            options: queue, delay, group, id, labels, expires_in, unique_key, unique_ttl, unique; record and
                record_arguments (as the task has them; default: the app's).

        Raises:
            ConfigError: the name or an option is wrong.
        """
        definition = self._runtime.reference(name, options)
        return Enqueuer(self._runtime, definition, definition.options)


def checked_middleware(where: str, middlewares: tuple[Middleware, ...]) -> tuple[Middleware, ...]:
    """Middlewares, if they are."""
    for one in middlewares:
        if not isinstance(one, Middleware):
            raise ConfigError(f"{where}: middleware {one!r} must be an instance of a Middleware subclass")
    return middlewares


def declared_options(middlewares: Sequence[Middleware]) -> dict[str, OptionCheck]:
    """The options that middlewares add, with their checks."""
    return {name: check for one in middlewares for name, check in one.options.items()}
