"""Tasks: decorated functions that stay callable and can be enqueued."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, TypeVarTuple, cast, overload

from ..brokers.base import MAX_DELAY
from ..core.context import TaskContext, running_task
from ..core.coroutine_functions import mark_coroutine_function
from ..core.flow import call_sync
from ..core.message import Message, new_id
from ..core.options import CALL_OPTIONS, TaskOptions
from ..core.retry import check_receives
from ..engine.attempt import CompiledTask, Definition
from ..errors import ArgumentsError, ConfigError
from ..results.records import KeyLock
from .dispatch import dispatch_hooks, raise_failures
from .handle import TaskHandle
from .runtime import ByName, Runtime, find_task
from .sending import OutgoingTask, UniqueKeyClaim
from .unique_keys import Existing, Sent, send_tasks

if TYPE_CHECKING:
    from ..scheduler.expressions import When
    from .schedule_handle import ScheduleHandle
    from .schedule_message import ScheduleRequest

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Call(Generic[R]):
    """Arguments for one entry of `enqueue_many`, made by ``task.call(...)``."""

    __slots__ = ("args", "kwargs", "options", "task")

    def __init__(self, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options


class _Positional(Protocol[*Ts, R]):
    """Lets a type checker read a task's parameters as a tuple."""

    @property
    def enqueue(self) -> Callable[[*Ts], TaskHandle[R]]: ...


class Enqueuer(ByName, Generic[P, R]):
    """The sending half of a task. Options of the enqueue override those of the task."""

    def __init__(self, runtime: Runtime, definition: Definition, options: TaskOptions) -> None:
        self._runtime = runtime
        self._definition = definition
        self._options = options
        self._hooks = dispatch_hooks(definition.middlewares)

    def __reduce__(self) -> tuple[Any, ...]:
        function, options = self._definition.function, self._options._asdict()
        names = CALL_OPTIONS if function is not None else (*CALL_OPTIONS, "record", "record_arguments")
        given = {name: options[name] for name in names} | {"labels": dict(options["labels"])}
        return _restored, (self._runtime, self.name, getattr(function, "__module__", None), given)

    @property
    def name(self) -> str:
        """The task's name, as written in messages."""
        return self._definition.name

    @property
    def options(self) -> TaskOptions:
        """The options of an enqueue."""
        return self._options

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Send the task; returns after the queue has accepted it.

        Raises:
            ArgumentsError: the arguments do not fit the function, or one cannot be restored exactly.
            PayloadTooLarge: the message is over 1 MiB, and no bucket is configured for its arguments.
            ConfigError: a queue or option is wrong, or region or credentials are missing.
            EnqueueError: the queue did not accept it; carries the id, with which repeating is safe.
            DuplicateTask: the unique key is taken, and ``unique="raise"``.
        """
        tasks = [self._prepare(args, kwargs, self._options)]
        return self._handles(tasks, call_sync("enqueue", send_tasks(self._runtime.services.blocking(), tasks)))[0]

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """`enqueue` for async code."""
        tasks = [self._prepare(args, kwargs, self._options)]
        return self._handles(tasks, await send_tasks(await self._runtime.services.on_loop(), tasks))[0]

    @overload
    def enqueue_many(self: _Positional[*Ts, R], calls: Iterable[tuple[*Ts]]) -> list[TaskHandle[R]]: ...
    @overload
    def enqueue_many(self, calls: Iterable[Call[R]]) -> list[TaskHandle[R]]: ...
    def enqueue_many(self, calls: Iterable[Any]) -> list[TaskHandle[R]]:
        """Send many, in batches of ten and 1 MiB.

        Args:
            calls: tuples of positional arguments, or ``task.call(...)`` values.

        Raises:
            EnqueueError: some entries were not accepted; it lists both kinds. If the unique key of an entry is taken,
                with ``unique="raise"``, the entry has a DuplicateTask as its ``error``.
            ArgumentsError, PayloadTooLarge, ConfigError: as `enqueue`, before anything is sent.
        """
        tasks = self._prepare_many(calls)
        return self._handles(tasks, call_sync("enqueue_many", send_tasks(self._runtime.services.blocking(), tasks)))

    @overload
    async def aenqueue_many(self: _Positional[*Ts, R], calls: Iterable[tuple[*Ts]]) -> list[TaskHandle[R]]: ...
    @overload
    async def aenqueue_many(self, calls: Iterable[Call[R]]) -> list[TaskHandle[R]]: ...
    async def aenqueue_many(self, calls: Iterable[Any]) -> list[TaskHandle[R]]:
        """`enqueue_many` for async code."""
        tasks = self._prepare_many(calls)
        return self._handles(tasks, await send_tasks(await self._runtime.services.on_loop(), tasks))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Arguments for one entry of `enqueue_many`, with defaults and keywords."""
        return Call(self.name, args, kwargs, self._options)

    def schedule(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> ScheduleHandle:
        """Run the task at a time, or repeatedly: ``task.schedule(rate("1 hour"), "eu")``.

        ``with_options`` takes queue, group, labels, expires_in (seconds from the scheduled time), overlap, misfire
        and id. The id makes the schedule's name, so that repeating the call is safe: an existing schedule is left as it
        is. A schedule with a last run (``at``, or an ``end``) is removed after that run.

        Args:
            when: ``cron(...)``, ``rate(...)`` or ``at(...)``.

        Raises:
            ArgumentsError: the arguments do not fit the function, or one cannot be restored exactly.
            PayloadTooLarge: the message is over 240 KiB.
            ConfigError: all runs are past, an option does not fit a schedule, or no scheduler is configured.
            AwsError: the schedule could not be made.
        """
        from .schedule_handle import schedule  # few processes create schedules at run time

        request = self._schedule_request(when)
        return call_sync("schedule", schedule(self._runtime.services.blocking(), request, args, kwargs))

    async def aschedule(self, when: When, /, *args: P.args, **kwargs: P.kwargs) -> ScheduleHandle:
        """`schedule` for async code."""
        from .schedule_handle import schedule

        return await schedule(await self._runtime.services.on_loop(), self._schedule_request(when), args, kwargs)

    def with_options(self, **options: Any) -> Enqueuer[P, R]:
        """The same task with other options for the enqueue; see `TaskOptions`.

        Args:
            options: queue, delay, group, id, labels, expires_in, unique_key, unique_ttl and unique; for schedules also
                overlap and misfire.

        Raises:
            ConfigError: an option is unknown, out of range, or does not fit the queue.
        """
        merged = self._options.merged(f"task {self.name}", options, CALL_OPTIONS, {})
        queue = self._runtime.check_queue(f"task {self.name}", merged)
        if self._definition.plan is not None and merged.queue != self._options.queue:
            check_receives(f"task {self.name}", merged.retry, queue)
        return Enqueuer(self._runtime, self._definition, merged)

    # -- preparing and sending ----------------------------------------------------------------------------------

    def _handles(self, tasks: Sequence[OutgoingTask], sent: Sequence[Sent]) -> list[TaskHandle[R]]:
        """The handles of tasks that were sent. Raises if one was not."""
        handles = [
            self._handle(
                task.message.id if isinstance(outcome, Exception) else outcome.id,
                outcome.queue if isinstance(outcome, Existing) else task.queue,
                task.message.unique_key,
            )
            for outcome, task in zip(sent, tasks, strict=True)
        ]
        raise_failures(sent, tasks, handles)
        return handles

    def _handle(self, id: str, queue: str, unique_key: str | None = None) -> TaskHandle[R]:
        definition = self._definition
        decode = cast(Callable[[str], R], definition.signature().decode_result)
        # By position: this is on the way of every enqueue.
        return TaskHandle(self._runtime, id, definition.name, queue, self._options.record, decode, unique_key)

    def _prepare_many(self, calls: Iterable[Any]) -> list[OutgoingTask]:
        tasks = []
        for index, call in enumerate(calls):
            try:
                if isinstance(call, Call):
                    if call.task != self.name:
                        raise ArgumentsError(
                            f"task {self.name}: this is a call of task {call.task}; use its enqueue_many"
                        )
                    tasks.append(self._prepare(call.args, call.kwargs, call.options))
                elif isinstance(call, tuple):
                    tasks.append(self._prepare(call, {}, self._options))
                else:
                    raise ArgumentsError(
                        f"task {self.name}: an entry must be a tuple of arguments or task.call(...), not a {type(call).__name__}"
                    )
            except ArgumentsError as error:
                raise ArgumentsError(f"entry {index}: {error}; nothing was sent") from None
        if len({task.message.id for task in tasks}) < len(tasks):
            raise ConfigError(
                f"task {self.name}: {len(tasks)} entries share ids; give each its own: "
                "enqueue_many([task.with_options(id=...).call(...), ...])"
            )
        return tasks

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions) -> OutgoingTask:
        definition, runtime = self._definition, self._runtime
        queue = runtime.check_queue(f"task {definition.name}", options, sending=True)
        json_args, json_kwargs = definition.signature().encode(args, kwargs)
        now = runtime.clock.time()
        parent, depth = self._place_in_chain()
        # By position: keywords take a microsecond longer, of six for the whole preparation.
        message = Message(
            options.id or new_id(now),
            definition.name,
            json_args,
            json_kwargs,
            round(now, 3),
            0,
            round(now + options.delay, 3) if options.delay else None,
            round(now + options.expires_in, 3) if options.expires_in is not None else None,
            0,
            None,
            {},
            parent,
            depth,
            dict(options.labels),
            options.unique_key,
        )
        key_claim = None if options.unique_key is None else _key_claim(message, options.unique_key, options, now)
        spec = None
        if options.delay > MAX_DELAY or (options.delay and queue.fifo):
            from ..scheduler.delays import delay_spec  # most delays are shorter

            due = now + options.delay
            spec = delay_spec(
                id=message.id, run=0, attempt=0, due=due, now=now, queue=options.queue, group=options.group
            )
        queued = options.record == "queued"
        return OutgoingTask(
            message=message,
            queue=options.queue,
            fifo=queue.fifo,
            delay=math.ceil(options.delay) if spec is None else 0,
            group=options.group,
            hooks=self._hooks,
            ttl=now + options.delay + options.result_ttl if queued else None,
            key_claim=key_claim,
            spec=spec,
            call=definition.signature().shown(json_args, json_kwargs) if queued and options.record_arguments else None,
        )

    def _schedule_request(self, when: When) -> ScheduleRequest:
        from .schedule_message import ScheduleRequest
        from .schedule_value import check_when

        where = f"task {self.name}: schedule"
        parent, depth = self._place_in_chain()
        return ScheduleRequest(
            where=where,
            runtime=self._runtime,
            definition=self._definition,
            options=self._options,
            when=check_when(where, when),
            parent=parent,
            depth=depth,
        )

    def _place_in_chain(self) -> tuple[str | None, int]:
        """The id of the running task, if any, and the depth of a task that it enqueues."""
        parent, longest = running_task(), self._runtime.max_depth
        depth = 0 if parent is None else parent.depth + 1
        if depth > longest:
            raise ConfigError(
                f"task {self.name}: this is task {depth} in a chain of tasks that enqueue each other, and "
                f"TaskQ(max_depth={longest}) ends it here; raise max_depth if the chain is meant"
            )
        return None if parent is None else parent.id, depth


def _key_claim(message: Message, key: str, options: TaskOptions, now: float) -> UniqueKeyClaim:
    until = math.ceil(now + options.unique_ttl)
    lock = KeyLock(task=message.task, key=key, id=message.id, queue=options.queue, locked_at=now, ttl=until)
    return UniqueKeyClaim(lock, options.unique == "raise")


def _restored(runtime: Runtime, name: str, module: str | None, options: dict[str, Any]) -> Enqueuer[..., Any]:
    """Unpickle a ``task.with_options(...)``, or an ``app.ref(...)`` if `module` (of the task's function) is None."""
    definition = runtime.reference(name, {}) if module is None else find_task(runtime, name, module)._definition
    labels = MappingProxyType(options["labels"])
    return Enqueuer(runtime, definition, definition.options._replace(**{**options, "labels": labels}))


class Task(Enqueuer[P, R]):
    """A registered task. Calling it runs the function here and now, as if it were not decorated."""

    def __init__(self, runtime: Runtime, definition: Definition) -> None:
        super().__init__(runtime, definition, definition.options)
        function = definition.function
        self.__wrapped__ = function
        for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
            if hasattr(function, attribute):
                setattr(self, attribute, getattr(function, attribute))

    def __reduce__(self) -> tuple[Any, ...]:
        return find_task, (self._runtime, self.name, self.__module__)

    @property
    def plan(self) -> CompiledTask:
        """The task compiled for the executor.

        Raises:
            ConfigError: an annotation cannot be resolved or has no exact JSON form.
        """
        compiled = self._definition.plan
        assert compiled is not None
        return compiled()

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        function = self._definition.function
        assert function is not None
        if self._definition.wants_context and not (args and isinstance(args[0], TaskContext)):
            args = (running_task() or TaskContext("direct-call", self.name), *args)
        return function(*args, **kwargs)


class SyncTask(Task[P, R]):
    """A task of a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here. A missing TaskContext is filled in."""
        return cast(R, self._call(args, kwargs))


class AsyncTask(Task[P, R]):
    """A task of a coroutine function."""

    def __init__(self, runtime: Runtime, definition: Definition) -> None:
        super().__init__(runtime, definition)
        mark_coroutine_function(self)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here, once awaited. A missing TaskContext is filled in."""
        return cast(R, await self._call(args, kwargs))
