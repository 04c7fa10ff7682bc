"""What a store accepts, found out before it is asked: the same for every store."""

from __future__ import annotations

import re

from ..core.schedule_spec import ScheduleSpec
from ..errors import ConfigError, PayloadTooLarge
from .expressions import MAX_WINDOW
from .spec import MAX_INPUT_BYTES, MAX_NAME

NAME = re.compile(rf"[0-9a-zA-Z_.-]{{1,{MAX_NAME}}}")
"""Names of schedules (EventBridge Scheduler API reference)."""

MAX_EXPRESSION = 256
"""Longest schedule expression (EventBridge Scheduler API reference)."""

MAX_GROUP = 128
"""Longest message group (EventBridge Scheduler API reference, SqsParameters)."""


def check_spec(spec: ScheduleSpec) -> None:
    """Refuse what EventBridge Scheduler refuses, and what would fail at every firing.

    Raises:
        ConfigError: name, expression, window, bounds or message group are not accepted.
        PayloadTooLarge: the message body is over :data:`~taskq_sls.scheduler.spec.MAX_INPUT_BYTES`.
    """
    check_name(spec.name)
    _check_expression(spec)
    _check_bounds(spec)
    _check_group(spec)
    _check_body(spec)


def check_name(name: object) -> None:
    """Raises ConfigError for what cannot be the name of a schedule."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"schedule name {name!r}: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.'")


def fifo(spec: ScheduleSpec) -> bool:
    """Whether the schedule's queue is a FIFO queue."""
    return spec.queue.endswith(".fifo")


def _check_expression(spec: ScheduleSpec) -> None:
    if not 1 <= len(spec.expression) <= MAX_EXPRESSION:
        raise ConfigError(
            f"schedule {spec.name!r}: the expression {spec.expression!r:.60} has {len(spec.expression)} characters; "
            f"use 1 to {MAX_EXPRESSION}"
        )


def _check_bounds(spec: ScheduleSpec) -> None:
    if isinstance(spec.window, bool) or not isinstance(spec.window, int) or not 0 <= spec.window <= MAX_WINDOW:
        raise ConfigError(
            f"schedule {spec.name!r}: window={spec.window!r} must be a whole number of 0 to {MAX_WINDOW:,} minutes"
        )
    if spec.start is not None and spec.end is not None and spec.end <= spec.start:
        raise ConfigError(f"schedule {spec.name!r}: end={spec.end!r} must be after start={spec.start!r}")


def _check_group(spec: ScheduleSpec) -> None:
    if spec.group is None:
        if fifo(spec):
            raise ConfigError(
                f"schedule {spec.name!r}: messages of the FIFO queue {spec.queue!r} need a message group; "
                "give one with group=..."
            )
    elif not 1 <= len(spec.group) <= MAX_GROUP:
        raise ConfigError(
            f"schedule {spec.name!r}: the message group {spec.group!r:.60} has {len(spec.group)} characters; "
            f"use 1 to {MAX_GROUP}"
        )


def _check_body(spec: ScheduleSpec) -> None:
    if not spec.body:
        raise ConfigError(f"schedule {spec.name!r}: the message body is empty, which EventBridge Scheduler refuses")
    size = len(spec.body) if spec.body.isascii() else len(spec.body.encode("utf-8", "surrogatepass"))
    if size > MAX_INPUT_BYTES:
        raise PayloadTooLarge(
            f"schedule {spec.name!r}: the message has {size:,} bytes; EventBridge Scheduler takes "
            f"{MAX_INPUT_BYTES:,}. Give smaller arguments, or name a bucket for large ones (TASKQ_BUCKET)"
        )
