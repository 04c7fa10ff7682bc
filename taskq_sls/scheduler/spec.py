"""A schedule as a store keeps it."""

from __future__ import annotations

from typing import NamedTuple

from ..core.schedule_spec import ScheduleSpec

DECLARED = "d-"
RUNTIME = "r-"
DELAY = "t-"
"""Starts of schedule names: declared in code, made at run time, the delay or late retry of one task."""

MAX_NAME = 64
"""Longest name of a schedule or a schedule group (EventBridge Scheduler API reference)."""

MAX_INPUT_BYTES = 256 * 1024
"""Largest input of a target (EventBridge Scheduler quotas): the message body."""

NO_SCHEDULER = (
    "no scheduler is configured: set TASKQ_SCHEDULE_ROLE_ARN (the role with which EventBridge Scheduler sends to the "
    "queues) and TASKQ_SCHEDULE_GROUP; `taskq local up` sets both"
)


class StoredSchedule(NamedTuple):
    """A schedule as it stands.

    Args:
        spec: what it is; ``spec.queue`` is the logical name where the app knows the queue, else the physical one.
        arn: of the schedule itself.
        target: ARN of the queue.
        created, modified: epoch seconds.
    """

    spec: ScheduleSpec
    arn: str
    target: str
    created: float
    modified: float


class ScheduleSummary(NamedTuple):
    """What a listing says of a schedule: neither expression nor body."""

    name: str
    enabled: bool
    created: float
    modified: float
