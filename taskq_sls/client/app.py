"""The app: configuration, the registry of tasks, and the wiring of broker, results and middlewares."""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ..brokers.base import Broker
from ..core.clock import Clock, SystemClock
from ..core.options import APP_OPTIONS, TaskOptions
from ..core.queues import Queue, dead_letter_name, physical_name
from ..core.redaction import Names, redact_arguments
from ..core.settings import Settings
from ..core.threads import ThreadPool
from ..engine.executor import Executor
from ..errors import ConfigError
from ..middleware import Middleware, StructuredLogging
from ..results.base import ResultBackend
from .by_name import ByName, find_app, place_of
from .declaring import Declaring, checked_middleware, declared_options
from .results import Results
from .runtime import Runtime
from .services import ServiceFactory, Services

if TYPE_CHECKING:
    from ..engine.processes.pool import ProcessPool
    from ..metrics.meter import Meter
    from ..payloads.base import PayloadStore
    from ..scheduler.store import ScheduleStore
    from .events import Route
    from .metrics import Metrics
    from .schedules import Declarations

P = ParamSpec("P")
R = TypeVar("R")

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

_APP_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_QUEUE_NAME_LIMIT = 80


class App(ByName, Declaring):
    """An app without its drivers: tasks, the queues that carry them, and where their state is kept.

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
        metrics: whether workers and Lambda functions count what their tasks do, in the table, for `app.metrics`. Default:
            the environment (``TASKQ_METRICS``), else where any task is recorded.
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
        if isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < 1:
            raise ConfigError(f"TaskQ(max_depth={max_depth!r}): give a whole number of 1 or more")
        if not isinstance(report, bool):
            raise ConfigError(f"TaskQ(report={report!r}): give True or False")
        if not isinstance(metrics, bool | None):
            raise ConfigError(f"TaskQ(metrics={metrics!r}): give True, False, or None for the default")
        self.name = name
        self.report = report
        self.max_depth = max_depth
        self.lifespan = None if lifespan is None else _checked_lifespan(name, lifespan)
        self.queues = _by_name(name, queues)
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
            lambda: self.settings, time_source, broker, results, dict(aws_options or {}), payloads, schedule_store
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
        self.registry = self._runtime.registry
        self.results = Results(self._runtime)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.registry)} tasks>"

    def __reduce__(self) -> tuple[Any, ...]:
        return find_app, place_of(self._runtime)

    @property
    def clock(self) -> Clock:
        """The source of time; the testing kit puts another one here."""
        return self._runtime.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._runtime.clock = clock

    @property
    def services(self) -> ServiceFactory:
        """Makes brokers, result backends and stores; the testing kit puts others here."""
        return self._runtime.services

    @services.setter
    def services(self, services: ServiceFactory) -> None:
        self._runtime.services = services

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

    def shown_result(self, task: str, text: str) -> Any:
        """The JSON value of a task's result, with the fields of models that were left out because they were not set."""
        found = self.registry.get(task)
        return json.loads(text) if found is None else found._definition.signature().whole_result(text)

    @functools.cached_property
    def metrics(self) -> Metrics:
        """What tasks did over time, for reading."""
        from .metrics import Metrics  # drivers do not need it

        return Metrics(self._runtime)

    @property
    def counts(self) -> bool:
        """Whether drivers count what their tasks do; without records there may be no table to write that into."""
        wanted = self.settings.metrics
        return any(task.options.record != "none" for task in self.registry) if wanted is None else wanted

    def meter(self, services: Services, *, hours_every: float = 0.0) -> Meter | None:
        """What counts for a driver, or None where nothing is counted.

        Args:
            hours_every: see `taskq_sls.metrics.meter.Meter`.
        """
        if not self.counts or (store := services.results.metrics) is None:
            return None
        from ..metrics.meter import Meter

        return Meter(self.name, store, services.flow, hours_every=hours_every)

    def executor(self, services: Services, state: object = None, *, hours_every: float = 0.0) -> Executor:
        """The core, over `services`; `hours_every` as in `meter`."""
        return Executor(
            self.registry.plan,
            services.results,
            services.flow,
            self.clock,
            self._hold,
            state,
            self.threads.limit,
            lambda: services.payloads,
            lambda: services.schedules is not None and services.schedules.creates,
            self.meter(services, hours_every=hours_every),
            lambda: self.registry.names,
            self._receives,
        )

    def _receives(self, queue: str) -> float:
        declared = self.queues.get(queue)
        return math.inf if declared is None else float(declared.receives_before_redrive)

    def _hold(self, queue: str) -> float:
        declared = self.queues.get(queue)
        return float(declared.visibility_timeout) if declared is not None else 60.0


def _by_name(app: str, queues: Sequence[Queue] | None) -> dict[str, Queue]:
    if isinstance(queues, Queue):
        raise ConfigError(f"TaskQ({app!r}): queues must be a list; give queues=[Queue({queues.name!r})]")
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
    if "schedules-dlq" in taken:
        raise ConfigError(
            f"TaskQ({app!r}): queue 'schedules' would share its dead-letter queue, 'schedules-dlq', with all schedules; "
            "give the queue another name"
        )
    taken["schedules-dlq"] = "the dead-letter queue of schedules"
    for name in by_name:
        if name in taken:
            raise ConfigError(f"TaskQ({app!r}): queue {name!r} is {taken[name]}; give the queue another name")
    return by_name


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
