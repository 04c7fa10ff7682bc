"""Schedules created at run time, and the handles with which any schedule is read and changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..core.flow import call_sync
from ..core.message import Message, decode
from ..core.schedule_spec import DECLARED, RUNTIME, ScheduleSpec
from ..errors import ConfigError, UndecodableMessage
from ..scheduler.firing import firing_id
from ..scheduler.spec import NAME_PATTERN, NO_SCHEDULER, StoredSchedule, when_of
from ..scheduler.store import ScheduleStore
from .dispatch import dispatch_hooks
from .runtime import Runtime
from .schedule_message import ScheduleRequest, check_body, create, render_specs, runtime_name
from .schedule_value import check_args, check_kwargs, check_when
from .sending import OutgoingTask
from .services import Services

if TYPE_CHECKING:
    from ..engine.attempt import Definition
    from ..scheduler.expressions import When


MAX_PAST_SECONDS = 60.0
"""The time of a one-time schedule may be this long ago: EventBridge Scheduler fires to the minute."""


class ScheduleHandle:
    """A stored schedule. Async methods have the prefix ``a``.

    A change reads the whole schedule and writes it back: of two changes at the same moment, one may be lost.

    Attributes:
        id: the schedule's name, with which ``app.schedule_handle(id)`` returns its handle.
        task: name of the task it runs; None if the handle was made from an id alone.
    """

    __slots__ = ("_group", "_runtime", "id", "task")

    def __init__(self, runtime: Runtime, id: str, task: str | None = None, group: str | None = None) -> None:
        self._runtime = runtime
        self._group = group
        self.id = id
        self.task = task

    def __repr__(self) -> str:
        return f"<ScheduleHandle {self.id}>"

    def next_run(self) -> datetime | None:
        """The next scheduled time, in the schedule's time zone; None if it is paused, has ended or does not exist.

        Jitter and flexible window are not included: `task_id` takes this time.

        Raises:
            ConfigError: no scheduler is configured.
            AwsError: the schedule cannot be read.
        """
        return call_sync("next_run", self._next_run(self._runtime.services.blocking()))

    async def anext_run(self) -> datetime | None:
        """`next_run` for async code."""
        return await self._next_run(await self._runtime.services.on_loop())

    def pause(self) -> bool:
        """Stop firing until `resume`. False if the schedule does not exist (any more).

        Raises:
            ConfigError: no scheduler is configured.
            AwsError: the schedule could not be changed.
        """
        return call_sync("pause", self._enable(self._runtime.services.blocking(), False))

    async def apause(self) -> bool:
        """`pause` for async code."""
        return await self._enable(await self._runtime.services.on_loop(), False)

    def resume(self) -> bool:
        """Fire again. Runs that were due meanwhile are skipped, but a one-time schedule may fire at once.

        False if the schedule does not exist (any more). Raises as `pause`.
        """
        return call_sync("resume", self._enable(self._runtime.services.blocking(), True))

    async def aresume(self) -> bool:
        """`resume` for async code."""
        return await self._enable(await self._runtime.services.on_loop(), True)

    def cancel(self) -> bool:
        """Delete it. Tasks it has sent are not touched. False if it did not exist. Raises as `pause`."""
        return call_sync("cancel", self._cancel(self._runtime.services.blocking()))

    async def acancel(self) -> bool:
        """`cancel` for async code."""
        return await self._cancel(await self._runtime.services.on_loop())

    def update(
        self, *, when: When | None = None, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> bool:
        """Change the times or the arguments. False if the schedule does not exist (any more).

        Args:
            when: the new ``cron(...)``, ``rate(...)`` or ``at(...)``.
            args, kwargs: the new arguments; both together replace the old ones.

        Raises:
            ConfigError: nothing is given, no scheduler is configured, or `when` does not fit the schedule.
            ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
            AwsError: the schedule could not be changed.
        """
        return call_sync("update", self._update(self._runtime.services.blocking(), when, args, kwargs))

    async def aupdate(
        self, *, when: When | None = None, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> bool:
        """`update` for async code."""
        return await self._update(await self._runtime.services.on_loop(), when, args, kwargs)

    def task_id(self, at: datetime) -> str:
        """The id of the task of a scheduled run, for ``app.results.get(...)``.

        Args:
            at: the scheduled time, an aware datetime such as `next_run` returns.

        Raises:
            ConfigError: `at` has no time zone, or no scheduler is configured.
        """
        if not isinstance(at, datetime) or at.tzinfo is None:
            raise ConfigError(f"task_id({at!r}): give a datetime with a time zone")
        group = self._group or store_of(self._runtime.services.blocking()).group
        return firing_id(group, self.id, at.timestamp())

    async def _next_run(self, services: Services) -> datetime | None:
        stored = await store_of(services).get(self.id)
        return None if stored is None else next_run(stored, self._runtime.clock.time())

    async def _enable(self, services: Services, enabled: bool) -> bool:
        store = store_of(services)
        stored = await store.get(self.id)
        return stored is not None and await store.update(stored.spec._replace(enabled=enabled))

    async def _cancel(self, services: Services) -> bool:
        return await store_of(services).delete(self.id)

    async def _update(
        self, services: Services, when: When | None, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> bool:
        where = f"schedule {self.id}: update"
        if when is None and args is None and kwargs is None:
            raise ConfigError(f"{where}() changes nothing: give when=, args= or kwargs=")
        if when is not None:
            check_future(where, check_when(f"{where}(when)", when), self._runtime.clock.time())
        store = store_of(services)
        stored = await store.get(self.id)
        if stored is None:
            return False
        spec = await updated(self._runtime, services, where, stored.spec, when, args, kwargs)
        return await store.update(spec)


async def schedule(
    services: Services, request: ScheduleRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ScheduleHandle:
    """Create a schedule at run time.

    Raises:
        ConfigError: no scheduler is configured, all runs are past, or options and queue do not fit.
        ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
        AwsError: it could not be created. If the error is ambiguous, ``with_options(id=...)`` makes repeating safe.
    """
    runtime, when, options = request.runtime, request.when, request.options
    check_future(request.where, when, runtime.clock.time())
    name = runtime_name(runtime.name, request.definition.name, options.id)
    group = store_of(services).group
    task = request.prepare(name, group, args, kwargs, delete_after=deletes_itself(when))
    await create(services, {name: task})
    return ScheduleHandle(runtime, name, request.definition.name, group)


def schedule_handle(runtime: Runtime, id: str, task: str | None, declared: str | None = None) -> ScheduleHandle:
    """The handle of a schedule, whether or not it still exists.

    Args:
        id: the value of `ScheduleHandle.id`; with `task`, the id that ``with_options(id=...)`` got.
        declared: the task's name, if the schedule is declared in code.

    Raises:
        ConfigError: `id` is not the name of a schedule.
    """
    if task is not None:
        return ScheduleHandle(runtime, runtime_name(runtime.name, task, id), task)
    if not isinstance(id, str) or not NAME_PATTERN.fullmatch(id) or not id.startswith((DECLARED, RUNTIME)):
        raise ConfigError(
            f"schedule_handle({id!r:.120}): this is not the name of a schedule, such as the id of a ScheduleHandle; with the id "
            "of with_options(id=...), give task= too"
        )
    return ScheduleHandle(runtime, id, declared)


def next_run(stored: StoredSchedule, now: float) -> datetime | None:
    """The next scheduled time of a stored schedule, in its time zone; None if it is paused or has ended."""
    if not stored.spec.enabled:
        return None
    when = when_of(stored.spec)
    time = when.next_time(now, stored.anchor)
    return None if time is None else when.local(time)


def store_of(services: Services) -> ScheduleStore:
    """The store of schedules. Raises ConfigError if no scheduler is configured."""
    if (store := services.schedules) is None:
        raise ConfigError(NO_SCHEDULER)
    return store


def check_future(where: str, when: When, now: float) -> None:
    """Raise ConfigError if all runs are past."""
    if when.next_time(now - MAX_PAST_SECONDS) is None:
        raise ConfigError(
            f"{where}: {when.expression} has no run after now; give a time in the future, or enqueue the task"
        )


async def updated(
    runtime: Runtime,
    services: Services,
    where: str,
    spec: ScheduleSpec,
    when: When | None,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
) -> ScheduleSpec:
    """`spec` with another time, other arguments, or both. New arguments pass the dispatch hooks, as at the creation.

    Raises:
        ConfigError: `when` does not fit the schedule's queue or options, or taskq_sls did not write its message.
        ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
    """
    message = _message(where, spec)
    definition = _definition(runtime, message.task)
    if when is not None:
        spec, message = _rescheduled(runtime, where, definition, spec, message, when)
    if args is None and kwargs is None:
        return spec._replace(body=message.encode())
    json_args, json_kwargs = definition.signature().encode(check_args(where, args or ()), check_kwargs(where, kwargs))
    message = message._replace(args=json_args, kwargs=json_kwargs, trace={})
    check_body(where, message.encode())
    fifo = spec.group is not None
    hooks = dispatch_hooks(definition.middlewares)
    task = OutgoingTask(message=message, queue=spec.queue, fifo=fifo, delay=0, group=spec.group, hooks=hooks, spec=spec)
    return (await render_specs(services, [task]))[0]


def _rescheduled(
    runtime: Runtime, where: str, definition: Definition, spec: ScheduleSpec, message: Message, when: When
) -> tuple[ScheduleSpec, Message]:
    field = {**(message.schedule or {})}
    options = definition.options._replace(
        queue=spec.queue,
        group=spec.group,
        delay=0.0,
        unique_key=None,
        expires_in=field.get("expires_in"),
    )
    ScheduleRequest(where=where, runtime=runtime, definition=definition, options=options, when=when).check()
    field.pop("jitter", None)
    if when.jitter:
        field["jitter"] = when.jitter
    spec = spec._replace(
        expression=when.expression,
        timezone=when.timezone,
        start=when.start,
        end=when.end,
        window=when.window,
        delete_after=deletes_itself(when) if spec.name.startswith(RUNTIME) else spec.delete_after,
    )
    return spec, message._replace(schedule=field)


def deletes_itself(when: When) -> bool:
    """True if a schedule created at run time has a last run, after which the scheduler deletes it."""
    return when.once or when.end is not None


def _message(where: str, spec: ScheduleSpec) -> Message:
    try:
        message = decode(spec.body)
    except UndecodableMessage as error:
        raise ConfigError(
            f"{where}: its message was not written by taskq_sls: {error}; change it where it was created"
        ) from None
    if message.schedule is None:
        raise ConfigError(
            f"{where}: it carries the delay of task {message.id}, which cannot be changed; cancel the task"
        )
    return message


def _definition(runtime: Runtime, name: str) -> Definition:
    task = runtime.registry.get(name)
    return runtime.reference(name, {}) if task is None else task._definition
