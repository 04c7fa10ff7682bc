"""The input of a template: the app's registry, checked against the limits of stacks and functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import TYPE_CHECKING, Literal

from ...client.schedule_sync import declared_specs
from ...core.queues import Queue, dead_letter_name
from ...errors import ConfigError
from ...scheduler.firing import scheduled_time
from ...serverless.batch import MARGIN_SHARE, MAX_MARGIN_SECONDS

if TYPE_CHECKING:
    from ...app import TaskQ
    from ...client.events import Route
    from ...core.schedule_spec import ScheduleSpec

MAX_QUEUE_NAME = 80
"""Longest name of an SQS queue (SQS API reference, CreateQueue)."""

MAX_PREFIX = 40
"""Longest TASKQ_PREFIX."""

SCHEDULES_DEAD_LETTERS = "schedules-dlq"

Build = Literal["python", "makefile"]

_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,30}")

STAGES = ("dev", "staging", "prod")


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """How a template is rendered.

    Args:
        handler: handler of the worker functions, as ``module.attribute``.
        event_handler: handler of the function for EventBridge events.
        code_uri: the folder that ``sam build`` builds, as the template sees it.
        build: ``python`` for SAM's own builder, which reads requirements.txt in that folder; ``makefile`` for
            the targets ``build-...`` of the Makefile there.
        schedules: include the declared schedules in the stack.
        api: handler of the function of the HTTP API; None for no HTTP API.
        features: names of `FEATURES`.
        existing: logical ids of queues, table and bucket that parameters name instead.
        stages: values of the parameter Stage; the last is the production one.
        overlay: a file with changes that are merged in.
    """

    handler: str = "handlers.worker.handler"
    event_handler: str = "handlers.scheduler.handler"
    code_uri: str = "."
    build: Build = "python"
    schedules: bool = True
    api: str | None = None
    features: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    stages: tuple[str, ...] = STAGES
    overlay: str | None = None

    def __post_init__(self) -> None:
        for name in ("handler", "event_handler", "api"):
            value = getattr(self, name)
            if value is None:
                continue
            parts = value.split(".")
            if len(parts) < 2 or not all(part.isidentifier() and not iskeyword(part) for part in parts):
                raise ConfigError(f"{name}={value!r} must be MODULE.ATTRIBUTE, such as handlers.worker.handler")
        if len(set(self.stages)) < len(self.stages) or not all(_STAGE.fullmatch(stage) for stage in self.stages):
            raise ConfigError(
                f"stages={self.stages!r} must be different names of letters and digits, such as dev, live"
            )
        if not self.code_uri.strip() or not self.code_uri.isprintable():
            raise ConfigError(f"code_uri={self.code_uri!r} must be a folder as the template sees it, such as .")


@dataclass(frozen=True, slots=True)
class Plan:
    """The content of a template.

    Args:
        app: name of the app; the default prefix.
        queues: all of them, in the order of their declaration.
        schedules: the declared ones.
        routes: from EventBridge events to tasks.
        options: as given.
        cut: in words, tasks whose time limit ends within the margin of their function.
    """

    app: str
    queues: tuple[Queue, ...]
    schedules: tuple[ScheduleSpec, ...]
    routes: tuple[Route, ...]
    options: TemplateOptions
    cut: tuple[str, ...] = ()

    @classmethod
    def of(cls, app: TaskQ, options: TemplateOptions) -> Plan:
        """The plan of an app.

        Raises:
            ConfigError: a task's timeout is longer than its function's, or a name leaves no room for a prefix.
        """
        plan = cls(app.name, tuple(app.queues.values()), (), (), options)
        if len(app.name) > plan.longest_prefix:
            longest = max(plan.physical_names, key=len)
            raise ConfigError(
                f"app {app.name!r}: its name is the default prefix, and {app.name}-{longest} is longer than the "
                f"{MAX_QUEUE_NAME} characters of an SQS queue's name; shorten the name of the app or of the queue"
            )
        return replace(
            plan,
            schedules=tuple(declared_specs(app)) if options.schedules and app.schedules else (),
            routes=tuple(app.routes),
            cut=tuple(_check_timeouts(app)),
        )

    @property
    def workers(self) -> tuple[Queue, ...]:
        """Queues with a Lambda function."""
        return tuple(queue for queue in self.queues if queue.function_timeout is not None)

    @property
    def has_functions(self) -> bool:
        """True if there is any Lambda function."""
        return bool(self.workers or self.routes or self.options.api)

    @property
    def physical_names(self) -> tuple[str, ...]:
        """Names of all queues without their prefix."""
        names = [name for queue in self.queues for name in (queue.name, dead_letter_name(queue.name))]
        return (*names, SCHEDULES_DEAD_LETTERS)

    @property
    def longest_prefix(self) -> int:
        """Characters that the longest queue name leaves for the prefix."""
        return min(MAX_PREFIX, MAX_QUEUE_NAME - 1 - max(map(len, self.physical_names)))

    def notes(self, now: float) -> Iterable[str]:
        """Warnings about this app's template at a time, in epoch seconds."""
        for queue in self.queues:
            if queue.function_timeout is None:
                yield (
                    f"queue {queue.name!r} has no function_timeout, so no Lambda function consumes it: run "
                    f"`taskq worker`, or declare Queue({queue.name!r}, function_timeout=60)"
                )
        yield from self.cut
        for spec in self.schedules:
            if spec.start is not None and spec.start < now:
                yield (
                    f"schedule {spec.name!r}: its start={scheduled_time(spec.start)} has passed, and EventBridge Scheduler "
                    "refuses that when the schedule is made or changed; leave start= away, or give it a later one"
                )


def margin(function_timeout: int) -> float:
    """Seconds before the end of a function at which the handler has stopped all work."""
    return min(MAX_MARGIN_SECONDS, MARGIN_SHARE * function_timeout)


def _check_timeouts(app: TaskQ) -> Iterable[str]:
    for task in app.registry:
        queue = app.queues[task.options.queue]
        longest, timeout = queue.function_timeout, task.options.timeout
        if longest is None or timeout is None:
            continue
        if timeout > longest:
            raise ConfigError(
                f"task {task.name}: timeout={timeout:g} is longer than function_timeout={longest} of queue "
                f"{queue.name!r}: its Lambda function would be killed first; raise function_timeout or lower timeout"
            )
        if timeout > longest - margin(longest):
            yield (
                f"task {task.name}: timeout={timeout:g} is never reached: the handler stops it {margin(longest):g} s before "
                f"the end of its function; raise function_timeout={longest} of queue {queue.name!r}"
            )
