"""Schedules made at run time, and the handles of these and all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..core.flow import call_sync
from ..core.message import Message, decode
from ..core.schedule_spec import DECLARED, RUNTIME, ScheduleSpec
from ..errors import ConfigError, UndecodableMessage
from ..scheduler.firing import firing_id
from ..scheduler.spec import NAME, NO_SCHEDULER, StoredSchedule, when_of
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


LATE = 60.0
"""Seconds by which a one-time schedule may lie in the past: EventBridge Scheduler fires to the minute."""


class ScheduleHandle:
    """A schedule that is kept somewhere. Sync methods are plain, async ones have an ``a`` in front.

    Changing one reads it and writes it back as a whole: of two changes at the same moment, one may be lost.

    Attributes:
        id: the schedule's name, with which ``app.schedule_handle(id)`` gives the handle back.
        task: name of the task it runs; None where the handle was made of an id alone.
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
        """When it fires next, in its time zone; None where it is paused, has ended or does not exist.

        Jitter and flexible window are left out: it is the time by which the run's task is known.

        Raises:
            ConfigError: there is no scheduler.
            AwsError: it cannot be asked.
        """
        return call_sync("next_run", self._next_run(self._runtime.services.blocking()))

    async def anext_run(self) -> datetime | None:
        """`next_run` for async code."""
        return await self._next_run(await self._runtime.services.on_loop())

    def pause(self) -> bool:
        """Fire no more until `resume`. False: there is no such schedule (any more).

        Raises:
            ConfigError: there is no scheduler.
            AwsError: it could not be changed.
        """
        return call_sync("pause", self._enable(self._runtime.services.blocking(), False))

    async def apause(self) -> bool:
        """`pause` for async code."""
        return await self._enable(await self._runtime.services.on_loop(), False)

    def resume(self) -> bool:
        """Fire again. What was due meanwhile is not made up for, but a one-time schedule may fire at once.

        False: there is no such schedule (any more). Raises as `pause`.
        """
        return call_sync("resume", self._enable(self._runtime.services.blocking(), True))

    async def aresume(self) -> bool:
        """`resume` for async code."""
        return await self._enable(await self._runtime.services.on_loop(), True)

    def cancel(self) -> bool:
        """Remove it. Tasks it has sent are not touched. False: there was none. Raises as `pause`."""
        return call_sync("cancel", self._cancel(self._runtime.services.blocking()))

    async def acancel(self) -> bool:
        """`cancel` for async code."""
        return await self._cancel(await self._runtime.services.on_loop())

    def update(
        self, *, when: When | None = None, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> bool:
        """Change when it fires, or with which arguments. False: there is no such schedule (any more).

        Args:
            when: the new ``cron(...)``, ``rate(...)`` or ``at(...)``.
            args, kwargs: the new arguments; both together replace the old ones.

        Raises:
            ConfigError: nothing is given, there is no scheduler, or `when` does not fit the schedule.
            ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
            AwsError: it could not be changed.
        """
        return call_sync("update", self._update(self._runtime.services.blocking(), when, args, kwargs))

    async def aupdate(
        self, *, when: When | None = None, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> bool:
        """`update` for async code."""
        return await self._update(await self._runtime.services.on_loop(), when, args, kwargs)

    def task_id(self, at: datetime) -> str:
        """The id of the task that the firing at a scheduled time makes: for ``app.results.get(...)``.

        Args:
            at: an aware datetime, such as `next_run` gives.

        Raises:
            ConfigError: `at` has no time zone, or there is no scheduler.
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
    services: Services, timed: ScheduleRequest, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ScheduleHandle:
    """Make a schedule at run time.

    Raises:
        ConfigError: there is no scheduler, no run is left, or options and queue do not fit.
        ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
        AwsError: it could not be made; where it is ambiguous, repeating is safe with ``with_options(id=...)``.
    """
    runtime, when, options = timed.runtime, timed.when, timed.options
    check_future(timed.where, when, runtime.clock.time())
    name = runtime_name(runtime.name, timed.definition.name, options.id)
    group = store_of(services).group
    prepared = timed.prepare(name, group, args, kwargs, delete_after=deletes_itself(when))
    await create(services, {name: prepared})
    return ScheduleHandle(runtime, name, timed.definition.name, group)


def schedule_handle(runtime: Runtime, id: str, task: str | None, declared: str | None = None) -> ScheduleHandle:
    """The handle of a schedule that stands, or stood.

    Args:
        id: what `ScheduleHandle.id` was; with `task`, what was given as ``with_options(id=...)``.
        declared: the task's name, if the schedule is declared in code.

    Raises:
        ConfigError: `id` is no name of a schedule.
    """
    if task is not None:
        return ScheduleHandle(runtime, runtime_name(runtime.name, task, id), task)
    if not isinstance(id, str) or not NAME.fullmatch(id) or not id.startswith((DECLARED, RUNTIME)):
        raise ConfigError(
            f"schedule_handle({id!r:.120}): this is no name of a schedule, such as the id of a ScheduleHandle; with the id "
            "of with_options(id=...), give task= too"
        )
    return ScheduleHandle(runtime, id, declared)


def next_run(stored: StoredSchedule, now: float) -> datetime | None:
    """When a stored schedule fires next, in its time zone; None where it is paused or has ended."""
    if not stored.spec.enabled:
        return None
    when = when_of(stored.spec)
    time = when.next_time(now, anchor_of(stored))
    return None if time is None else when.local(time)


def anchor_of(stored: StoredSchedule) -> float:
    """Where the grid of a rate without a start begins: in the second of its making, as for the local clock."""
    return float(int(stored.created))


def store_of(services: Services) -> ScheduleStore:
    """Where schedules are kept.

    Raises:
        ConfigError: nowhere.
    """
    if (store := services.schedules) is None:
        raise ConfigError(NO_SCHEDULER)
    return store


def check_future(where: str, when: When, now: float) -> None:
    """Whether a run is left.

    Raises:
        ConfigError: none is.
    """
    if when.next_time(now - LATE) is None:
        raise ConfigError(
            f"{where}: {when.expression} has no run after now; give a time that is still to come, or enqueue the task"
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
    """`spec` with what is not None replaced. New arguments pass the dispatch hooks, as at the creation.

    Raises:
        ConfigError: `when` does not fit the schedule's queue or options, or its message is not one of this app.
        ArgumentsError, PayloadTooLarge: the arguments do not fit the task, or a schedule.
    """
    message = _message(where, spec)
    definition = _definition(runtime, message.task)
    if when is not None:
        spec, message = _timed(runtime, where, definition, spec, message, when)
    if args is None and kwargs is None:
        return spec._replace(body=message.encode())
    json_args, json_kwargs = definition.signature().encode(check_args(where, args or ()), check_kwargs(where, kwargs))
    message = message._replace(args=json_args, kwargs=json_kwargs, trace={})
    check_body(where, message.encode())
    fifo = spec.group is not None
    hooks = dispatch_hooks(definition.middlewares)
    prepared = OutgoingTask(
        message=message, queue=spec.queue, fifo=fifo, delay=0, group=spec.group, hooks=hooks, spec=spec
    )
    return (await render_specs(services, [prepared]))[0]


def _timed(
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
    ScheduleRequest(where, runtime, definition, options, when).check()
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
    """Whether a schedule made at run time has a last firing, after which nobody wants to keep it."""
    return when.once or when.end is not None


def _message(where: str, spec: ScheduleSpec) -> Message:
    try:
        message = decode(spec.body)
    except UndecodableMessage as error:
        raise ConfigError(
            f"{where}: its message is not one of taskq_sls: {error}; change it where it was made"
        ) from None
    if message.schedule is None:
        raise ConfigError(
            f"{where}: it carries the delay of task {message.id}, which cannot be changed; cancel the task"
        )
    return message


def _definition(runtime: Runtime, name: str) -> Definition:
    task = runtime.registry.get(name)
    return runtime.reference(name, {}) if task is None else task._definition
