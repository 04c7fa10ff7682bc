"""The Lambda functions: shared settings, environment variables, and the resources of each."""

from __future__ import annotations

import json
from typing import Any

from ...core.function_settings import environment_size
from ...core.queues import dead_letter_name
from .emitter import Commented, Tag, Text
from .intrinsics import arn_of, queue_id, ref, resource, sub
from .plan import MAX_PREFIX, Plan
from .policies import document, role

MAX_ENVIRONMENT_BYTES = 4_096
"""All variables of a function, names and values (Lambda quotas)."""

LONGEST_URL = "https://sqs.ap-southeast-99.amazonaws.com.cn/123456789012/"
"""As long as the start of a queue's URL can be."""

_OTHER_BYTES = 700
"""Kept for the variables beside the URLs: a role's ARN, and names of 64 characters at most."""

_API_BYTES = 1_050
"""Kept for the additional variables of the HTTP API's function: its tokens."""


def function_globals(plan: Plan) -> dict[str, Any]:
    """The Globals section: settings of all functions."""
    return {
        "Function": {
            "CodeUri": plan.options.code_uri,
            "Runtime": ref("Runtime"),
            "Architectures": [ref("Architecture")],
            "MemorySize": ref("MemorySize"),
            "Tracing": ref("Tracing"),
            "RecursiveLoop": Commented(
                "A task may enqueue a task. Lambda's loop detection would drop the sixteenth message of such a chain "
                "into the dead-letter queue; TaskQ(max_depth=...) ends endless chains.",
                "Allow",
            ),
            "LoggingConfig": {
                "LogFormat": "JSON",
                "ApplicationLogLevel": ref("LogLevel"),
                "SystemLogLevel": Commented("INFO includes each invocation's report: memory and duration.", "INFO"),
            },
            "Environment": {"Variables": _environment(plan)},
        }
    }


def _environment(plan: Plan) -> dict[str, Any]:
    """The variables. Queue URLs are left out if they would not fit: queues are then found by their names."""
    variables: dict[str, Any] = {
        "TASKQ_PREFIX": ref("Prefix"),
        "TASKQ_TABLE": ref("TasksTable"),
        "TASKQ_BUCKET": ref("PayloadBucket"),
        "TASKQ_SCHEDULE_GROUP": ref("ScheduleGroup"),
        "TASKQ_SCHEDULE_ROLE_ARN": arn_of("ScheduleRole"),
    }
    if _urls_fit(plan):
        note = "The URLs save each container a call per queue."
        return {**variables, "TASKQ_QUEUE_URLS": Commented(note, _urls(plan))}
    note = "Without TASKQ_QUEUE_URLS, which would not fit into Lambda's 4 KB: each container makes a call per queue."
    return {**variables, "TASKQ_PREFIX": Commented(note, ref("Prefix"))}


def _urls_fit(plan: Plan) -> bool:
    """True if the queues' URLs fit into the variables in every region."""
    names = [name for queue in plan.queues for name in (queue.name, dead_letter_name(queue.name))]
    urls = {name: f"{LONGEST_URL}{'p' * MAX_PREFIX}-{name}" for name in names}
    own = [environment_size(queue.function_environment) for queue in plan.workers]
    most = max([*own, _API_BYTES if plan.options.api is not None else 0])
    return len(json.dumps(urls)) + _OTHER_BYTES + most <= MAX_ENVIRONMENT_BYTES


def _urls(plan: Plan) -> Tag:
    pairs = []
    for queue in plan.queues:
        start = queue_id(queue.name)
        urls = {queue.name: f"${{{start}Queue}}", dead_letter_name(queue.name): f"${{{start}DeadLetters}}"}
        pairs.append(json.dumps(urls)[1:-1])
    return Tag("Sub", Text("{" + ",\n".join(pairs) + "}", folded=True))


def function_resources(
    plan: Plan,
    id: str,
    statements: list[Any],
    properties: dict[str, Any],
    more: dict[str, Any],
    *,
    logs: str,
    policy: str,
    policies: list[dict[str, Any]] | None = None,
    depends_on: str | None = None,
) -> dict[str, Any]:
    """A function, its role and its log group.

    Args:
        statements: of the role, writing to the log group excepted.
        properties: of the function, before its role and log group.
        more: properties after them.
        logs: end of the log group's name.
        policy: name of the policy with `statements`.
        policies: more policies of the role.
    """
    owner = id.removesuffix("Function")
    role_note = "Each function has its own role: SAM would attach a managed policy on all queues."
    properties = {
        **properties,
        "Role": Commented(role_note, arn_of(f"{owner}Role")),
        "LoggingConfig": {"LogGroup": ref(f"{owner}Logs")},
        **more,
    }
    attributes: dict[str, Any] = {} if depends_on is None else {"DependsOn": depends_on}
    if plan.options.build == "makefile":
        attributes["Metadata"] = {"BuildMethod": "makefile"}
    own = {"PolicyName": policy, "PolicyDocument": document(*statements)}
    log_group = {
        # Without a log group Lambda makes one that keeps everything.
        "LogGroupName": sub(f"/taskq/${{Prefix}}/{logs}"),
        "RetentionInDays": Tag("FindInMap", ["Stages", ref("Stage"), "LogRetention"]),
    }
    return {
        id: resource("AWS::Serverless::Function", properties, **attributes),
        f"{owner}Role": role("lambda.amazonaws.com", None, own, *(policies or [])),
        f"{owner}Logs": resource("AWS::Logs::LogGroup", log_group),
    }
