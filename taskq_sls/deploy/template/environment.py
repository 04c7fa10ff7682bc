"""Environment variables of the functions: the names of the app's resources."""

from __future__ import annotations

import json
from typing import Any

from ...core.function_settings import environment_size
from ...core.queues import dead_letter_name
from .emitter import Commented, Tag, Text
from .intrinsics import arn_of, queue_id, ref
from .plan import MAX_PREFIX, Plan

LIMIT = 4_096
"""Bytes of all variables of a function, names and values (Lambda quotas)."""

LONGEST_URL = "https://sqs.ap-southeast-99.amazonaws.com.cn/123456789012/"
"""As long as the start of a queue's URL can be."""

_OTHERS = 700
"""Bytes kept for the variables beside the URLs: a role's ARN, and names of 64 characters at most."""

_API = 1_050
"""Bytes kept for the variables that the function of the HTTP API has beside those: its tokens."""


def environment(plan: Plan) -> dict[str, Any]:
    """The variables. Queue URLs are left out if they would not fit: queues are then found by their names."""
    variables: dict[str, Any] = {
        "TASKQ_PREFIX": ref("Prefix"),
        "TASKQ_TABLE": ref("TasksTable"),
        "TASKQ_BUCKET": ref("PayloadBucket"),
        "TASKQ_SCHEDULE_GROUP": ref("ScheduleGroup"),
        "TASKQ_SCHEDULE_ROLE_ARN": arn_of("ScheduleRole"),
    }
    if not urls_fit(plan):
        note = "Without TASKQ_QUEUE_URLS, which would not fit into Lambda's 4 KB: each queue costs a call once."
        return {"TASKQ_PREFIX": Commented(note, variables.pop("TASKQ_PREFIX")), **variables}
    note = "The URLs save each container a call per queue."
    return {**variables, "TASKQ_QUEUE_URLS": Commented(note, _urls(plan))}


def urls_fit(plan: Plan) -> bool:
    """True if the queues' URLs fit into the variables in every region."""
    names = [name for queue in plan.queues for name in (queue.name, dead_letter_name(queue.name))]
    urls = {name: f"{LONGEST_URL}{'p' * MAX_PREFIX}-{name}" for name in names}
    own = [environment_size(queue.function_environment) for queue in plan.workers]
    most = max([*own, _API if plan.options.api is not None else 0], default=0)
    return len(json.dumps(urls)) + _OTHERS + most <= LIMIT


def _urls(plan: Plan) -> Tag:
    pairs = []
    for queue in plan.queues:
        start = queue_id(queue.name)
        urls = {queue.name: f"${{{start}Queue}}", dead_letter_name(queue.name): f"${{{start}DeadLetters}}"}
        pairs.append(json.dumps(urls)[1:-1])
    return Tag("Sub", Text("{" + ",\n".join(pairs) + "}", folded=True))
