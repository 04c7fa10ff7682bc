"""The app: its configuration, tasks, events and schedules, and the services behind them."""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload

from ..brokers.base import Broker
from ..core.clock import Clock, SystemClock
from ..core.context import TaskContext
from ..core.naming import check_task_name, task_name
from ..core.number_checks import is_whole
from ..core.observers import Observers
from ..core.options import APP_OPTIONS, TASK_OPTIONS, OptionCheck, TaskOptions
from ..core.queues import Queue, dead_letter_name, physical_name
from ..core.redaction import Names, redact_arguments
from ..core.retry import check_receives
from ..core.settings import Settings
from ..core.threads import ThreadPool
from ..engine.attempt import Engine
from ..engine.executor import Executor
from ..engine.policies import Observer, observers
from ..errors import ConfigError
from ..middleware import Middleware, StructuredLogging
from ..results.base import ResultBackend
from .definition import caller_locals, define
from .overloads import EventDecorator, TaskDecorator, _Probe
from .registry import Registry
from .results import Results
from .runtime import ByName, Runtime, find_app, place_of, queues_by_name
from .services import ServiceFactory, Services
from .task import AsyncTask, Enqueuer, SyncTask, Task

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..engine.processes.pool import ProcessPool
    from ..metrics.meter import Meter
    from ..payloads.base import PayloadStore
    from ..scheduler.expressions import When
    from ..scheduler.firing import Misfire, Overlap
    from ..scheduler.store import ScheduleStore
    from .events import Route, TextPattern
    from .metrics import Metrics
    from .schedule_handle import ScheduleHandle
    from .schedule_value import Schedule
    from .schedules import Declarations, DeclaredSchedule

P = ParamSpec("P")
R = TypeVar("R")

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

_APP_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_QUEUE_NAME_LIMIT = 80


class App(ByName):
    """An app: its tasks, their queues, and the stores of their state.

    The environment is read, and connections are made, at first use.

    Args:
        name: of the app; the default prefix of its resources. 1 to 40 letters, digits, ``-`` or ``_``.
        queues: the first is the default of tasks without a queue. Default: one queue, ``default``.
        middleware: hooks around dispatch and execution, the first outermost. Default: structured logging.
            A task with a timeout has its time limit innermost.
        lifespan: an async context manager function, entered once per worker process or Lambda container with
            the app; it yields the value of ``context.state`` in tasks.
        prefix, table, queue_urls, bucket, schedule_group, schedule_role_arn: names and addresses of the resources;
            see `Settings`. Default: the environment.
        broker, results, payloads, schedule_store: used instead of SQS, DynamoDB, S3 and EventBridge Scheduler.
        clock: the source of time.
        max_depth: longest chain of tasks that enqueue each other, 1 or more.
        report: workers report themselves in the table, one small write a minute (`taskq workers`).
        metrics: workers and Lambda functions count attempts and outcomes in the table, for `app.metrics`. Default: the
            environment (``TASKQ_METRICS``), else True if any task is recorded.
        aws_options: timeouts, retries and connections of the AWS clients (``taskq_sls.aws.config.ClientOptions``).
        options: defaults for all tasks: retry, record, result_ttl, timeout, labels, expires_in, redact, and those that
            middlewares declare.

    Raises:
        ConfigError: a name or option is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        queues: Sequence[Queue] | None = None,
        middleware: Sequence[Middleware] | None = None,
        lifespan: Lifespan | None = None,
        prefix: str | None = None,
        table: str | None = None,
        queue_urls: dict[str, str] | None = None,
        bucket: str | None = None,
        schedule_group: str | None = None,
        schedule_role_arn: str | None = None,
        broker: Broker | None = None,
        results: ResultBackend | None = None,
        payloads: PayloadStore | None = None,
        schedule_store: ScheduleStore | None = None,
        clock: Clock | None = None,
        max_depth: int = 100,
        report: bool = True,
        metrics: bool | None = None,
        aws_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
            raise ConfigError(f"TaskQ({name!r}): an app's name is 1 to 40 letters, digits, '-' or '_'")
        if not is_whole(max_depth, 1):
            raise ConfigError(f"TaskQ(max_depth={max_depth!r}): give a whole number of 1 or more")
        if not isinstance(report, bool):
            raise ConfigError(f"TaskQ(report={report!r}): give True or False")
        if not isinstance(metrics, bool | None):
            raise ConfigError(f"TaskQ(metrics={metrics!r}): give True, False, or None for the default")
        self.name = name
        self.report = report
        self.max_depth = max_depth
        self.lifespan = None if lifespan is None else _checked_lifespan(name, lifespan)
        self.queues = queues_by_name(name, queues)
        self.middleware = checked_middleware(name, (StructuredLogging(),) if middleware is None else tuple(middleware))
        self._declarations: Declarations | None = None
        self.routes: list[Route] = []
        self.threads = ThreadPool()
        self.children: ProcessPool | None = None
        base = TaskOptions(queue=next(iter(self.queues)))
        self._defaults = base.merged(f"TaskQ({name!r})", options, APP_OPTIONS, declared_options(self.middleware))
        self._configured: dict[str, Any] = {
            "prefix": prefix,
            "table": table,
            "queue_urls": queue_urls,
            "bucket": bucket,
            "schedule_group": schedule_group,
            "schedule_role_arn": schedule_role_arn,
            "metrics": metrics,
        }
        self._settings: Settings | None = None
        time_source: Clock = clock or SystemClock()
        services = ServiceFactory(
            settings=lambda: self.settings,
            clock=time_source,
            broker=broker,
            results=results,
            aws_options=dict(aws_options or {}),
            payloads=payloads,
            schedules=schedule_store,
        )
        self._runtime = Runtime(
            owner=self,
            name=name,
            clock=time_source,
            max_depth=max_depth,
            queues=self.queues,
            middleware=self.middleware,
            defaults=self._defaults,
            services=services,
            settings=lambda: self.settings,
        )
        self.registry: Registry[Task[..., Any]] = self._runtime.registry
        self.results = Results(self._runtime)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.registry)} tasks>"

    def __reduce__(self) -> tuple[Any, ...]:
        return find_app, place_of(self._runtime)

    @property
    def clock(self) -> Clock:
        """The source of time; the testing kit replaces it."""
        return self._runtime.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._runtime.clock = clock

    @property
    def services(self) -> ServiceFactory:
        """Makes brokers, result backends and stores; the testing kit replaces it."""
        return self._runtime.services

    @services.setter
    def services(self, services: ServiceFactory) -> None:
        self._runtime.services = services

    @property
    def settings(self) -> Settings:
        """Names and addresses of the app's resources; read from the environment at first use.

        Raises:
            ConfigError: a variable is malformed.
        """
        if self._settings is None:
            settings = Settings.load(self.name, **self._configured)
            for queue in self.queues:
                longest = physical_name(settings.prefix, dead_letter_name(queue))
                if len(longest) > _QUEUE_NAME_LIMIT:
                    raise ConfigError(
                        f"queue name {longest!r} has {len(longest)} characters; SQS allows {_QUEUE_NAME_LIMIT}: "
                        "shorten the prefix or the queue's name"
                    )
            self._settings = settings
        return self._settings

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
        """Make a function a task: ``@app.task`` or ``@app.task(...)``.

        Args:
            name: default ``module:function``.
            aliases: former names; messages that carry one still run.
            middleware: hooks of this task alone, inside those of the app.
            schedule: the times of scheduled runs: ``cron(...)``, ``rate(...)``, ``at(...)``, a ``Schedule`` (which also
                has arguments), or a list of these. `taskq schedules sync` or the template creates them.
            options: see `TaskOptions` (all but ``id`` and ``unique_key``), and those that middlewares declare.

        Raises:
            ConfigError: a name is taken or not importable, an option is unknown or out of range, or a parameter
                has an annotation without a JSON form.
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
            if isinstance(function, SyncTask | AsyncTask) and function._runtime is self._runtime:
                self._take_routes(function.name, task)
            return task

        return register if function is None else register(function)

    def _take_routes(self, former: str, task: Task[..., Any]) -> None:
        """Move the routes that `on_event` declared below ``@app.task`` to the task."""
        if (former == task.name or self.registry.forget_implied(former)) and self.routes:
            from .events import move_routes  # loaded already if there are routes

            move_routes(self.routes, former, task)

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
        check_receives(where, merged.retry, self._runtime.check_queue(where, merged))
        return define(
            self._runtime,
            function,
            resolved,
            merged,
            children=self.make_children,
            middlewares=middlewares,
            threads=self.threads,
            localns=localns,
            aliases=aliases,
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
        """Enqueue a task for every EventBridge event that matches. Goes above or below ``@app.task``, or on a function.

        A parameter ``event`` gets the whole event; ``id``, ``source``, ``detail_type``, ``time``, ``account``,
        ``region``, ``resources`` and ``detail`` get the event's field; any other parameter gets the field of `detail`
        of its name. If the event lacks the field, the parameter takes its default. Annotations decode the values.

        Args:
            source, detail_type: text, ``{"prefix": text}``, or a list of such alternatives. Default of `detail_type`:
                any.
            bus: name of the event bus. Default: the account's default bus.
            detail: pattern of the detail, as in EventBridge: objects and lists of values, with the operators prefix,
                suffix, anything-but, exists and numeric.
            arguments: paths in the event by parameter, such as ``{"key": "detail.object.key"}``; ``"event"`` is the
                whole event. Digits are positions in lists.
            options: queue, delay, group, labels, expires_in, unique_key, unique_ttl and unique of the enqueue.

        Raises:
            ConfigError: a pattern, a path or an option is wrong, or no parameter has that name.
        """
        from .events import declare, route_pattern  # few apps have events: keeps cold starts short

        pattern = route_pattern(source, detail_type, detail)
        localns = caller_locals(2)

        def route(function: Callable[..., Any]) -> Task[..., Any]:
            if isinstance(function, SyncTask | AsyncTask):
                task: Task[..., Any] = function
            else:
                task = self._define(function, None, (), {}, localns)
                self.registry.add(task, (), implied=True)
            declare(self._runtime, self.routes, task, pattern, bus, arguments, options)
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

        declared = Schedule(
            when, args, kwargs, name=name, overlap=overlap, misfire=misfire, group=group, enabled=enabled
        )
        return self._declare(self._scheduled_task(task), declared)[0]

    @property
    def schedules(self) -> Sequence[DeclaredSchedule]:
        """The schedules declared in code, in order."""
        return () if self._declarations is None else tuple(self._declarations)

    def schedule_handle(self, id: str, task: Enqueuer[..., Any] | None = None) -> ScheduleHandle:
        """The handle of a schedule, to read or change it. Makes no call.

        Args:
            id: the value of ``ScheduleHandle.id``; with `task`, the id that ``with_options(id=...)`` got.

        Raises:
            ConfigError: `id` is not the name of a schedule.
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
        from .schedules import Declarations  # keeps cold starts without schedules short

        if self._declarations is None:
            self._declarations = Declarations(self._runtime)
        declarations = self._declarations
        schedules = as_schedules(f"task {task.name}", given)
        return [declarations.add(task._definition, task.options, schedule) for schedule in schedules]

    def _scheduled_task(self, task: Enqueuer[..., Any] | str) -> Enqueuer[..., Any]:
        found = self.registry.get(task) if isinstance(task, str) else task
        if isinstance(found, Enqueuer) and found._runtime is self._runtime:
            return found
        raise ConfigError(
            f"TaskQ({self.name!r}).schedule({task!r:.120}): no such task is registered in this app; give the task itself, or "
            "app.ref(name) for one whose code is elsewhere"
        )

    def ref(self, name: str, **options: Any) -> Enqueuer[..., Any]:
        """A task without its code: sent by name, with plain JSON arguments, which are not checked against its function.

        Args:
            options: queue, delay, group, id, labels, expires_in, unique_key, unique_ttl, unique; record and
                record_arguments (as the task has them; default: the app's).

        Raises:
            ConfigError: the name or an option is wrong.
        """
        definition = self._runtime.reference(name, options)
        return Enqueuer(self._runtime, definition, definition.options)

    # -- drivers ------------------------------------------------------------------------------------------------

    def redaction(self, task: str | None = None) -> Names:
        """Names of values that are not shown: those of a task, or of the app if the task is not registered here."""
        found = None if task is None else self.registry.get(task)
        return (self._defaults if found is None else found.options).redact

    @property
    def log_redaction(self) -> Names:
        """The redacted names of the app and all its tasks: a log record does not name its task."""
        return self._defaults.redact.union(*(task.options.redact for task in self.registry))

    def redacted(
        self, task: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """A task's arguments as JSON values, without the redacted ones."""
        found = None if task is None else self.registry.get(task)
        parameters = None if found is None else found._definition.signature().positions(len(args))
        return redact_arguments(args, kwargs, self.redaction(task), parameters)

    def shown_result(self, task: str, text: str) -> Any:
        """The JSON value of a task's result, including the fields of models that are stored only if they were set."""
        found = self.registry.get(task)
        return json.loads(text) if found is None else found._definition.signature().whole_result(text)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """Counters of tasks over time, for reading."""
        from .metrics import Metrics  # drivers do not need it

        return Metrics(self._runtime)

    @property
    def counts(self) -> bool:
        """True if drivers count attempts and outcomes. Default: if a task is recorded; else there may be no table."""
        configured = self.settings.metrics
        return any(task.options.record != "none" for task in self.registry) if configured is None else configured

    def meter(self, services: Services, *, hours_every: float = 0.0) -> Meter | None:
        """The meter of a driver, or None if nothing is counted.

        Args:
            hours_every: see `taskq_sls.metrics.meter.Meter`.
        """
        if not self.counts or (store := services.results.metrics) is None:
            return None
        from ..metrics.meter import Meter

        return Meter(self.name, store, services.flow, hours_every=hours_every)

    def executor(self, services: Services, state: object = None, *, hours_every: float = 0.0) -> Executor:
        """The engine over `services`, for a driver; `hours_every` as in `meter`."""
        meter = self.meter(services, hours_every=hours_every)
        engine = Engine(
            find_task=self.registry.plan,
            results=services.results,
            flow=services.flow,
            clock=self.clock,
            visibility_timeout=self._visibility_timeout,
            task_names=lambda: self.registry.names,
            max_receives=self._max_receives,
            payloads=lambda: services.payloads,
            can_schedule=lambda: services.schedules is not None and services.schedules.creates,
            state=state,
            observers=Observers(Observer, observers(meter)),
        )
        return Executor(engine, self.threads.limit, meter)

    def _max_receives(self, queue: str) -> float:
        declared = self.queues.get(queue)
        return math.inf if declared is None else float(declared.receives_before_redrive)

    def _visibility_timeout(self, queue: str) -> float:
        declared = self.queues.get(queue)
        return float(declared.visibility_timeout) if declared is not None else 60.0


def _checked_lifespan(app: str, lifespan: Lifespan) -> Lifespan:
    where = f"TaskQ({app!r}): lifespan={lifespan!r}"
    fix = "give an async generator function decorated with contextlib.asynccontextmanager"
    if not callable(lifespan):
        raise ConfigError(f"{where} is not a function: {fix}")

    def enter(started: Any) -> AbstractAsyncContextManager[Any]:
        context: Any = lifespan(started)
        if not hasattr(context, "__aenter__"):
            if inspect.iscoroutine(context):
                context.close()
            raise ConfigError(f"{where} returned {type(context).__name__}, not an async context manager: {fix}")
        return cast(AbstractAsyncContextManager[Any], context)

    return enter


def checked_middleware(where: str, middlewares: tuple[Middleware, ...]) -> tuple[Middleware, ...]:
    """`middlewares`. Raises ConfigError if one is not a Middleware."""
    for middleware in middlewares:
        if not isinstance(middleware, Middleware):
            raise ConfigError(f"{where}: middleware {middleware!r} must be an instance of a Middleware subclass")
    return middlewares


def declared_options(middlewares: Sequence[Middleware]) -> dict[str, OptionCheck]:
    """The options that middlewares add, with their checks."""
    return {name: check for middleware in middlewares for name, check in middleware.options.items()}
