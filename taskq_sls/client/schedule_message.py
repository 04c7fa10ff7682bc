"""Makes schedules of tasks: their names, and their input, which is the whole message.

The message has no id and no times: the receiver derives both from the scheduled time, which the clock fills in. It goes
through the dispatch hooks once, when the schedule is created.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..brokers.base import Answer
from ..brokers.sqs_limits import utf8_bytes
from ..core.message import Message, new_body
from ..core.schedule_spec import DECLARED, RUNTIME, ScheduleSpec
from ..errors import ArgumentsError, AwsError, ConfigError, PayloadTooLarge
from ..scheduler.firing import SCHEDULED_TIME
from ..scheduler.spec import MAX_INPUT_BYTES, MAX_NAME
from .dispatch import dispatch, dispatch_hooks
from .runtime import Runtime
from .sending import NotSent, OutgoingTask
from .services import Services

if TYPE_CHECKING:
    from ..core.options import TaskOptions
    from ..core.queues import Queue
    from ..engine.attempt import Definition
    from ..scheduler.expressions import When


HOOK_BYTES = 16 * 1024
"""Bytes of a schedule's input that are reserved for dispatch hooks, such as trace headers."""

_PLACEHOLDER = "<aws.scheduler."


class ScheduleRequest(NamedTuple):
    """A task with the options of its schedule.

    Args:
        where: the declaration or call, for error messages.
        parent, depth: id of the running task that creates the schedule, and the depth of its chain.
    """

    where: str
    runtime: Runtime
    definition: Definition
    options: TaskOptions
    when: When
    parent: str | None = None
    depth: int = 0

    def check(self) -> Queue:
        """The queue. Raises ConfigError if the queue or an option does not fit a schedule."""
        where, options = self.where, self.options
        if options.delay:
            raise ConfigError(
                f"{where}: delay={options.delay:g} on a schedule, which has times of its own; leave delay out (with_options"
                "(delay=0)), or spread the runs with jitter="
            )
        if options.unique_key is not None:
            raise ConfigError(
                f"{where}: unique_key={options.unique_key!r} on a schedule: each run has its own id; leave it out, and use "
                "overlap='skip' to have one run at a time"
            )
        queue = self.runtime.check_queue(where, options, sending=True)
        if queue.fifo and self.when.jitter:
            raise ConfigError(
                f"{where}: jitter={self.when.jitter} on FIFO queue {queue.name!r}: a run that waits would block its whole "
                "group; use window= (whole minutes), or a standard queue"
            )
        if options.expires_in is not None and options.expires_in <= self.when.jitter:
            raise ConfigError(
                f"{where}: expires_in={options.expires_in:g} may end before jitter={self.when.jitter} does: such runs would "
                "never start; raise expires_in, or lower jitter"
            )
        return queue

    def prepare(
        self, name: str, group: str, args: tuple[Any, ...], kwargs: dict[str, Any], **fields: Any
    ) -> OutgoingTask:
        """The checked schedule, ready for the dispatch hooks.

        Args:
            name: of the schedule.
            group: the schedule group.
            fields: more fields of the ScheduleSpec.

        Raises:
            ConfigError, ArgumentsError, PayloadTooLarge: options, queue, arguments or their size do not fit.
        """
        queue = self.check()
        options, when = self.options, self.when
        json_args, json_kwargs = self.definition.signature().encode(args, kwargs)
        message = Message(
            id="",
            task=self.definition.name,
            args=json_args,
            kwargs=json_kwargs,
            schedule=schedule_field(name, group, options, when),
            parent=self.parent,
            depth=self.depth,
            labels=dict(options.labels),
        )
        check_body(self.where, message.encode())
        spec = ScheduleSpec(
            name=name,
            expression=when.expression,
            timezone=when.timezone,
            queue=options.queue,
            body="",
            start=when.start,
            end=when.end,
            window=when.window,
            group=options.group if queue.fifo else None,
            **fields,
        )
        hooks = dispatch_hooks(self.definition.middlewares)
        return OutgoingTask(
            message=message, queue=options.queue, fifo=queue.fifo, delay=0, group=options.group, hooks=hooks, spec=spec
        )


def schedule_field(name: str, group: str, options: TaskOptions, when: When) -> dict[str, Any]:
    """The ``schedule`` field of an envelope; default values are left out."""
    field: dict[str, Any] = {"name": name, "group": group, "at": SCHEDULED_TIME}
    if options.overlap != "allow":
        field["overlap"] = options.overlap
    if options.misfire != "once":
        field["misfire"] = options.misfire
    if when.jitter:
        field["jitter"] = when.jitter
    if options.expires_in is not None:
        field["expires_in"] = options.expires_in
    return field


def check_body(where: str, body: str) -> None:
    """Check that a message can be the input of a schedule, and is sent as it was written.

    Raises:
        PayloadTooLarge: it is too long. The bucket is no way out: a schedule may live longer than objects there.
        ArgumentsError: the clock would replace a part of it.
    """
    size, limit = utf8_bytes(body), MAX_INPUT_BYTES - HOOK_BYTES
    if size > limit:
        raise PayloadTooLarge(
            f"{where}: the message is {size:,} bytes with its arguments, and a schedule carries {limit:,} (EventBridge "
            "Scheduler takes 256 KB); pass a reference to the data instead"
        )
    if body.count(_PLACEHOLDER) > 1:
        raise ArgumentsError(
            f"{where}: an argument or label holds {_PLACEHOLDER!r}, which EventBridge Scheduler would replace; write "
            "it another way"
        )


async def create(services: Services, tasks: Mapping[str, OutgoingTask]) -> None:
    """Create schedules in the store, after the dispatch hooks. If a name exists already, its schedule stays as it is.

    Raises:
        AwsError: a schedule could not be created, or the outcome is unknown.
        ConfigError: no scheduler is configured, or its group or role does not exist.
        Exception: the exception of a dispatch hook.
    """
    for name, end in zip(tasks, await dispatch(services, list(tasks.values())), strict=True):
        if isinstance(end, NotSent):
            error = end.error
            raise AwsError(
                "create_schedule",
                error.code,
                f"schedule {name}: {error.message}",
                transient=error.transient,
                ambiguous=error.ambiguous,
            )
        if isinstance(end, Exception):
            raise end


async def render_specs(services: Services, tasks: Sequence[OutgoingTask]) -> list[ScheduleSpec]:
    """The schedules, with their messages as the hooks left them. Creates nothing.

    Raises:
        Exception: the exception of a dispatch hook.
    """
    specs = []
    for task, message in zip(tasks, await dispatch(services, tasks, _accept), strict=True):
        if isinstance(message, Exception):
            raise message
        assert task.spec is not None
        specs.append(task.spec._replace(body=new_body(message)))
    return specs


async def _accept(services: Services, tasks: Sequence[OutgoingTask], messages: Sequence[Message]) -> list[Answer]:
    return [None] * len(messages)


# -- names ------------------------------------------------------------------------------------------------------

_DIGEST_LENGTH, _RUNTIME_DIGEST_LENGTH = 8, 16
"""Hexadecimal digits that make names unique: among the few declared in one app, among millions created at run time."""

_OTHER = re.compile(r"[^0-9a-zA-Z_.-]+")


def declared_prefix(app: str) -> str:
    """The prefix of the schedules that an app declares. App names have no ".", so it names the app."""
    return f"{DECLARED}{app}."


def runtime_prefix(app: str) -> str:
    """The prefix of the schedules that an app creates at run time."""
    return f"{RUNTIME}{app}."


def declared_name(app: str, task: str, schedule: str | int) -> str:
    """The name of a schedule declared in code. Neither its expression nor its arguments change it.

    Args:
        schedule: its own name, or its number among the task's unnamed schedules, from 0.
    """
    kind = "name" if isinstance(schedule, str) else "ordinal"
    digest = hashlib.sha256(f"{task}\n{kind}\n{schedule}".encode()).hexdigest()[:_DIGEST_LENGTH]
    return _joined(declared_prefix(app), schedule if isinstance(schedule, str) else _function(task), digest)


def runtime_name(app: str, task: str, id: str | None) -> str:
    """The name of a schedule created at run time.

    Args:
        id: the caller's id, which makes repeating safe; None for a random name.
    """
    if id is None:
        return _joined(runtime_prefix(app), _function(task), os.urandom(_RUNTIME_DIGEST_LENGTH // 2).hex())
    digest = hashlib.sha256(f"{task}\n{id}".encode()).hexdigest()[:_RUNTIME_DIGEST_LENGTH]
    return _joined(runtime_prefix(app), id, digest)


def _function(task: str) -> str:
    return task.rpartition(":")[2]


def _joined(prefix: str, readable: str, digest: str) -> str:
    """Prefix, readable part and digest; the readable part is cut to fit."""
    room = MAX_NAME - len(prefix) - 1 - len(digest)
    slug = _OTHER.sub("-", readable)[:room].strip("-.")
    return f"{prefix}{slug or 'schedule'[:room]}-{digest}"
