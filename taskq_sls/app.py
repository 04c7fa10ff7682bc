"""The app: configuration, the registry of tasks, and the wiring of broker, results and middlewares."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload

from .brokers.base import Broker
from .clock import Clock, SystemClock
from .context import TaskContext
from .declaration import EventDecorator, TaskDecorator, _Probe
from .errors import ConfigError
from .executor import Executor
from .lookup import Results
from .middleware import Middleware, StructuredLogging
from .naming import check_task_name, task_name
from .options import APP_OPTIONS, CALL_OPTIONS, TASK_OPTIONS, OptionCheck, TaskOptions
from .queues import Queue, dead_letter_name, physical_name
from .redaction import Names, redact_arguments
from .registry import Registry, caller_locals, define
from .results.base import ResultBackend
from .serialization import JsonSignature
from .services import ServiceFactory, Services
from .settings import Settings
from .task import AsyncTask, Definition, Enqueuer, SyncTask, Task
from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from fastapi import FastAPI

    from .events import Route, Texts
    from .payloads.base import PayloadStore
    from .processes.pool import Children
    from .scheduler.firing import Misfire, Overlap
    from .scheduler.store import ScheduleStore
    from .scheduler.when import When
    from .schedules import DeclaredSchedule, Schedule, ScheduleHandle
    from .schedules.declared import Declarations
    from .serverless.events import EventHandler, Unmatched
    from .serverless.handler import LambdaHandler
    from .web.serverless import ApiHandler
    from .worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")

Lifespan = Callable[["TaskQ"], AbstractAsyncContextManager[Any]]

_APP_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_QUEUE_NAME_LIMIT = 80


class TaskQ:
    """An app: tasks, the queues that carry them, and where their state is kept.

    Nothing is read from the environment and no connection is made before it is needed.

    Args:
        name: of the app; the default prefix of its resources. 1 to 40 letters, digits, ``-`` or ``_``.
        queues: the first one is the default of tasks that name none. Default: one, ``default``.
        middleware: hooks around dispatch and execution, the first outermost. Default: structured logging.
            A task with a timeout has its time limit innermost.
        lifespan: an async context manager function, entered once per worker process or Lambda container with
            the app; what it yields is ``context.state`` in tasks.
        prefix, table, queue_urls, bucket, schedule_group, schedule_role_arn: where the resources are; see
            `Settings`. Default: the environment.
        broker, results, payloads, schedule_store: used instead of SQS, DynamoDB, S3 and EventBridge Scheduler.
        clock: the source of time.
        max_depth: longest chain of tasks that enqueue each other.
        report: whether workers report themselves in the table, one small write a minute (`taskq workers`).
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
        aws_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(name, str) or not _APP_NAME.fullmatch(name):
            raise ConfigError(f"TaskQ({name!r}): an app's name is 1 to 40 letters, digits, '-' or '_'")
        if isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < 1:
            raise ConfigError(f"TaskQ(max_depth={max_depth!r}): give a whole number of 1 or more")
        if not isinstance(report, bool):
            raise ConfigError(f"TaskQ(report={report!r}): give True or False")
        self.name = name
        self.report = report
        self.clock: Clock = clock or SystemClock()
        self.max_depth = max_depth
        self.lifespan = None if lifespan is None else _checked_lifespan(name, lifespan)
        self.queues = _by_name(name, queues)
        self.middleware = _checked(name, (StructuredLogging(),) if middleware is None else tuple(middleware))
        self.registry = Registry()
        self._declarations: Declarations | None = None
        self.routes: list[Route] = []
        self.threads = Threads()
        self.children: Children | None = None
        base = TaskOptions(queue=next(iter(self.queues)))
        self._defaults = base.merged(f"TaskQ({name!r})", options, APP_OPTIONS, _declared(self.middleware))
        self._configured: dict[str, Any] = {
            "prefix": prefix,
            "table": table,
            "queue_urls": queue_urls,
            "bucket": bucket,
            "schedule_group": schedule_group,
            "schedule_role_arn": schedule_role_arn,
        }
        self._settings: Settings | None = None
        self.services = ServiceFactory(
            lambda: self.settings, self.clock, broker, results, dict(aws_options or {}), payloads, schedule_store
        )
        self.results = Results(self)

    def __repr__(self) -> str:
        return f"<TaskQ {self.name}: {len(self.registry)} tasks>"

    @property
    def settings(self) -> Settings:
        """Where the app's resources are; read from the environment at first use.

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
        localns = caller_locals(2)

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            task = self._define(function, name, tuple(middleware), options, localns)
            again = self.registry.get(task.name) is not None
            self.registry.add(task, tuple(check_task_name(alias) for alias in aliases))
            if again and self._declarations is not None:
                # A module that is imported again declares its tasks again, and their schedules.
                self._declarations = self._declarations.without(task.name)
            if schedule is not None:
                self._declare(task, schedule)
            return task

        return register if function is None else register(function)

    def _define(
        self,
        function: Callable[..., Any],
        name: str | None,
        middleware: tuple[Middleware, ...],
        options: dict[str, Any],
        localns: Mapping[str, Any],
    ) -> Task[..., Any]:
        if isinstance(function, SyncTask | AsyncTask):  # of another app, or decorated twice
            function = function.__wrapped__ or function
        resolved = task_name(function) if name is None else check_task_name(name)
        where = f"task {resolved}"
        middlewares = (*self.middleware, *_checked(where, middleware))
        merged = self._defaults.merged(where, options, TASK_OPTIONS, _declared(middlewares))
        self.check_queue(where, merged)
        return define(self, function, resolved, merged, middlewares, self.threads, localns)

    def on_event(
        self,
        *,
        source: Texts,
        detail_type: Texts | None = None,
        bus: str | None = None,
        detail: Mapping[str, Any] | None = None,
        arguments: Mapping[str, str] | None = None,
        **options: Any,
    ) -> EventDecorator:
        """Make a task of every EventBridge event that matches: above ``@app.task``, or above a plain function.

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
                self.registry.add(task, ())
            declare(self, task, wanted, bus, arguments, options)
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
        from .schedules.value import Schedule

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
        from .schedules.handle import schedule_handle

        return schedule_handle(self, id, None if task is None else task.name)

    def _declare(
        self, task: Enqueuer[..., Any], given: When | Schedule | Sequence[When | Schedule]
    ) -> list[DeclaredSchedule]:
        from .schedules.declared import Declarations  # a cold start without schedules should not pay
        from .schedules.value import as_schedules

        if self._declarations is None:
            self._declarations = Declarations(self)
        declarations, several = self._declarations, as_schedules(f"task {task.name}", given)
        return [declarations.add(task._definition, task.options, one) for one in several]

    def _scheduled_task(self, task: Enqueuer[..., Any] | str) -> Enqueuer[..., Any]:
        found = self.registry.get(task) if isinstance(task, str) else task
        if isinstance(found, Enqueuer) and found._app is self:
            return found
        raise ConfigError(
            f"TaskQ({self.name!r}).schedule({task!r:.120}): no such task is registered in this app; give the task itself, or "
            "app.ref(name) for one whose code is elsewhere"
        )

    def ref(self, name: str, **options: Any) -> Enqueuer[..., Any]:
        """A task without its code: sent by name, with plain JSON arguments, which nobody checks here.

        Args:
            options: queue, delay, group, id, labels, expires_in, unique_key, unique_ttl, unique, record (as the task
                has it; default: the app's).

        Raises:
            ConfigError: the name or an option is wrong.
        """
        where = f"ref({name!r})"
        merged = self._defaults.merged(where, options, (*CALL_OPTIONS, "record"), {})
        self.check_queue(where, merged)
        signature = JsonSignature(name)
        definition = Definition(
            check_task_name(name), merged, lambda: signature, None, self.middleware, None, wants_context=False
        )
        return Enqueuer(self, definition, merged)

    def check_queue(self, where: str, options: TaskOptions, *, sending: bool = False) -> Queue:
        """The queue that options name, if they fit it.

        Raises:
            ConfigError: the queue is not declared, or group or delay do not fit its type.
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

    # -- drivers ------------------------------------------------------------------------------------------------

    def redaction(self, task: str | None = None) -> Names:
        """The names whose values are not shown: those of a task, or where it is not registered here, of the app."""
        found = None if task is None else self.registry.get(task)
        return (self._defaults if found is None else found.options).redact

    @property
    def log_redaction(self) -> Names:
        """The names of the app and of all its tasks: a log record does not tell whose it is."""
        return self._defaults.redact.union(*(task.options.redact for task in self.registry))

    def redacted(
        self, task: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """A task's arguments, as JSON values, as they may be shown."""
        found = None if task is None else self.registry.get(task)
        parameters = None if found is None else found._definition.signature().positions(len(args))
        return redact_arguments(args, kwargs, self.redaction(task), parameters)

    def make_children(self) -> Children:
        """The child processes of tasks with ``run_in="process"``, started on demand."""
        if self.children is None:
            from .processes.pool import Children

            self.children = Children()
        return self.children

    def executor(self, services: Services, state: object = None) -> Executor:
        """The core, over `services`."""
        return Executor(
            self.registry.plan,
            services.results,
            services.flow,
            self.clock,
            self._hold,
            state,
            self.threads.limit,
            lambda: services.payloads,
            lambda: services.schedules is not None,
        )

    def worker(self, **options: Any) -> Worker:
        """A long-polling worker of this app; ``.run()`` works until SIGTERM.

        Args:
            options: see `taskq_sls.worker.Worker`: concurrency, queues, burst, ...
        """
        from .worker.worker import Worker

        return Worker(self, **options)

    def lambda_handler(self, **options: Any) -> LambdaHandler:
        """What Lambda calls with an SQS event: ``handler = app.lambda_handler()``.

        Args:
            options: see `taskq_sls.serverless.handler.LambdaHandler`: concurrency, margin.
        """
        from .serverless.handler import LambdaHandler

        return LambdaHandler(self, **options)

    def event_handler(self, *, unmatched: Unmatched = "raise") -> EventHandler:
        """What Lambda calls with an EventBridge event: ``handler = app.event_handler()``.

        Args:
            unmatched: ``raise`` where no route matches, so that Lambda keeps the event, or ``drop`` it.
        """
        from .serverless.events import EventHandler

        return EventHandler(self, unmatched=unmatched)

    def api(self, **options: Any) -> FastAPI:
        """The HTTP API of this app, as an ASGI app. Needs the extra ``api``.

        Args:
            options: see `taskq_sls.web.create_api`: auth, tokens, iam_scopes, origins.

        Raises:
            ConfigError: no authentication is configured, or something is malformed.
        """
        from .web.app import create_api

        return create_api(self, **options)

    def api_handler(self, *, base_path: str = "/", **options: Any) -> ApiHandler:
        """What Lambda calls with a request of a Function URL, API Gateway or load balancer.

        Args:
            base_path: start of all paths that the front adds, such as ``/tasks``.
            options: as `api`.
        """
        from .web.serverless import ApiHandler

        return ApiHandler(self.api(**options), base_path=base_path)

    def _hold(self, queue: str) -> float:
        declared = self.queues.get(queue)
        return float(declared.visibility_timeout) if declared is not None else 60.0


def _by_name(app: str, queues: Sequence[Queue] | None) -> dict[str, Queue]:
    declared = [Queue("default")] if queues is None else list(queues)
    if not declared:
        raise ConfigError(f"TaskQ({app!r}, queues=[]): declare at least one Queue")
    by_name: dict[str, Queue] = {}
    for queue in declared:
        if not isinstance(queue, Queue):
            raise ConfigError(f"TaskQ({app!r}): queues holds {queue!r}; give Queue({queue!r})")
        if queue.name in by_name:
            raise ConfigError(f"TaskQ({app!r}): queue {queue.name!r} is declared twice")
        by_name[queue.name] = queue
    taken = {dead_letter_name(name): f"the dead-letter queue of {name!r}" for name in by_name}
    taken["schedules-dlq"] = "the dead-letter queue of schedules"
    for name in by_name:
        if name in taken:
            raise ConfigError(f"TaskQ({app!r}): queue {name!r} is {taken[name]}; give the queue another name")
    return by_name


def _checked(where: str, middlewares: tuple[Middleware, ...]) -> tuple[Middleware, ...]:
    for one in middlewares:
        if not isinstance(one, Middleware):
            raise ConfigError(f"{where}: middleware {one!r} must be an instance of a Middleware subclass")
    return middlewares


def _checked_lifespan(app: str, lifespan: Lifespan) -> Lifespan:
    where = f"TaskQ({app!r}): lifespan={lifespan!r}"
    fix = "give an async generator function decorated with contextlib.asynccontextmanager"
    if not callable(lifespan):
        raise ConfigError(f"{where} is not a function: {fix}")

    def enter(started: TaskQ) -> AbstractAsyncContextManager[Any]:
        context: Any = lifespan(started)
        if not hasattr(context, "__aenter__"):
            if inspect.iscoroutine(context):
                context.close()
            raise ConfigError(f"{where} returned {type(context).__name__}, not an async context manager: {fix}")
        return cast(AbstractAsyncContextManager[Any], context)

    return enter


def _declared(middlewares: Sequence[Middleware]) -> dict[str, OptionCheck]:
    return {name: check for one in middlewares for name, check in one.options.items()}
