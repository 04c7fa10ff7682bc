"""A stored schedule with another time or other arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.message import Message, decode
from ..core.schedule_spec import RUNTIME, ScheduleSpec
from ..errors import ConfigError, UndecodableMessage
from .dispatch_hooks import dispatch_hooks
from .runtime import Runtime
from .schedule_capture import render_specs
from .schedule_message import ScheduleRequest, check_body
from .schedule_value import check_args, check_kwargs
from .sending import OutgoingTask
from .services import Services

if TYPE_CHECKING:
    from ..engine.plan import Definition
    from ..scheduler.expressions import When


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
    prepared = OutgoingTask(message, spec.queue, fifo, 0, spec.group, hooks, None, None, spec)
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
