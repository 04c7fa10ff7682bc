"""Parameters, the mappings of stages, and the Globals of all functions."""

from __future__ import annotations

import json
from typing import Any

from ...core.function_settings import environment_size
from ...core.queues import dead_letter_name
from .emitter import Commented, Tag, Text
from .intrinsics import arn_of, attribute, queue_id, ref, sub
from .plan import MAX_PREFIX, Plan

RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")

DEFAULT_RUNTIME = "python3.13"

FIRST_LOG_RETENTION, LOG_RETENTION, LAST_LOG_RETENTION = 7, 30, 90
"""Days in the first stage, in those between, and in production."""


def parameters(plan: Plan) -> dict[str, Any]:
    """The Parameters section."""
    return {
        "Stage": {
            "Type": "String",
            "Default": plan.options.stages[0],
            "AllowedValues": list(plan.options.stages),
            "Description": f"In {plan.options.stages[-1]} the table and the bucket outlive the stack",
        },
        "Prefix": Commented(
            f"An SQS queue's name has at most 80 characters, and the longest here is {_longest(plan)!r}.",
            {
                "Type": "String",
                "Default": plan.app,
                "AllowedPattern": "[A-Za-z0-9_-]+",
                "MaxLength": plan.longest_prefix,
                "Description": "Start of all names: what TASKQ_PREFIX is for producers and workers elsewhere",
            },
        ),
        "DeletionProtection": Commented(
            "Leave it off until the first deployment has succeeded: a rollback cannot delete a protected table, and the "
            "next deployment would find its name taken.",
            _one_of("false", ("false", "true"), "Whether DynamoDB refuses to delete the table"),
        ),
        "Runtime": _one_of(DEFAULT_RUNTIME, RUNTIMES, "Must be the one that the code was built for"),
        "Architecture": _one_of("arm64", ("arm64", "x86_64"), "Must be the one that the code was built for"),
        "MemorySize": Commented(
            "A share of a processor comes with the memory: 1,769 MB are a whole one.",
            _number(1024, 128, 10_240, "MB of the functions whose queue names no function_memory"),
        ),
        "MaximumConcurrency": Commented(
            "Keep the sum over all queues below the account's concurrency: a throttled batch costs each of its "
            "messages a receive, so that good ones end in the dead-letter queue untouched.",
            _number(50, 2, 1_000, "Invocations at once for a queue that names no max_concurrency"),
        ),
        "LogLevel": _one_of("INFO", ("DEBUG", "INFO", "WARN", "ERROR"), "Least level of the functions' logs"),
        "Tracing": _one_of("Active", ("Active", "PassThrough"), "X-Ray; PassThrough takes its permissions away"),
        "OldestMessageAlarm": _number(
            900, 60, 1_209_600, "Seconds that a message may wait, retries included, before the alarm"
        ),
        "AlarmTopicArn": {
            "Type": "String",
            "Default": "",
            "Description": "SNS topic that the alarms tell; empty for none",
        },
        "KmsKeyArn": Commented(
            "The key's policy must let EventBridge Scheduler's role and the functions' roles of this account use it.",
            {
                "Type": "String",
                "Default": "",
                "AllowedPattern": "(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+)?",
                "Description": "KMS key for queues, table and bucket; empty for keys that AWS owns",
            },
        ),
    }


def mappings(plan: Plan) -> dict[str, Any]:
    """The Mappings section; empty if nothing uses it, since `sam validate --lint` refuses unused mappings."""
    if not plan.has_functions:
        return {}
    stages = plan.options.stages
    days = dict.fromkeys(stages, LOG_RETENTION) | {stages[0]: FIRST_LOG_RETENTION} | {stages[-1]: LAST_LOG_RETENTION}
    return {"Stages": {stage: {"LogRetention": days[stage]} for stage in stages}}


def conditions(plan: Plan) -> dict[str, Any]:
    """The Conditions section."""
    return {
        "IsProduction": Tag("Equals", [ref("Stage"), plan.options.stages[-1]]),
        "IsProtected": Tag("Equals", [ref("DeletionProtection"), "true"]),
        **({"IsTraced": Tag("Equals", [ref("Tracing"), "Active"])} if plan.has_functions else {}),
        "HasKey": Tag("Not", [Tag("Equals", [ref("KmsKeyArn"), ""])]),
        "HasAlarmTopic": Tag("Not", [Tag("Equals", [ref("AlarmTopicArn"), ""])]),
    }


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
                "A task may enqueue a task. Lambda's loop detection would drop the sixteenth of such a chain and leave "
                "its message to the dead-letter queue; TaskQ(max_depth=...) ends endless ones.",
                "Allow",
            ),
            "LoggingConfig": {
                "LogFormat": "JSON",
                "ApplicationLogLevel": ref("LogLevel"),
                "SystemLogLevel": Commented(
                    "INFO has the report of each invocation: memory used, and duration.", "INFO"
                ),
            },
            "Environment": {"Variables": environment(plan)},
        }
    }


def _longest(plan: Plan) -> str:
    names = [dead_letter_name(queue.name) for queue in plan.queues]
    return max([*names, *plan.physical_names], key=len)


def _one_of(default: str, allowed: tuple[str, ...], description: str) -> dict[str, Any]:
    return {"Type": "String", "Default": default, "AllowedValues": list(allowed), "Description": description}


def _number(default: int, low: int, high: int, description: str) -> dict[str, Any]:
    return {"Type": "Number", "Default": default, "MinValue": low, "MaxValue": high, "Description": description}


def log_group(name: str) -> dict[str, Any]:
    """A log group that forgets; without one Lambda makes one that keeps everything."""
    return {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {
            "LogGroupName": sub(f"/taskq/${{Prefix}}/{name}"),
            "RetentionInDays": Tag("FindInMap", ["Stages", ref("Stage"), "LogRetention"]),
        },
    }


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


def outputs(plan: Plan) -> dict[str, Any]:
    """The Outputs section."""
    values: dict[str, Any] = {
        "Prefix": _output("TASKQ_PREFIX", ref("Prefix")),
        "Table": _output("TASKQ_TABLE", ref("TasksTable")),
        "Bucket": _output("TASKQ_BUCKET", ref("PayloadBucket")),
        "ScheduleGroupName": _output("TASKQ_SCHEDULE_GROUP", ref("ScheduleGroup")),
        "ScheduleRoleArn": _output("TASKQ_SCHEDULE_ROLE_ARN", arn_of("ScheduleRole")),
        "FailedSchedulesUrl": _output("Firings of schedules that were given up", ref("FailedSchedules")),
    }
    if plan.options.api is not None:
        values["ApiUrl"] = _output(
            "The HTTP API, for IAM's users and roles", attribute("ApiFunctionUrl", "FunctionUrl")
        )
        values["ApiFunctionArn"] = _output("What callers of the HTTP API are allowed to invoke", arn_of("ApiFunction"))
    if plan.routes:
        values["FailedEventsUrl"] = _output("EventBridge events that were given up", ref("FailedEvents"))
    for queue in plan.queues:
        start = queue_id(queue.name)
        values[f"{start}QueueUrl"] = _output(f"Queue {queue.name}", ref(f"{start}Queue"))
        values[f"{start}DeadLettersUrl"] = _output(f"Dead letters of queue {queue.name}", ref(f"{start}DeadLetters"))
        if queue.function_timeout is not None:
            values[f"{start}WorkerName"] = _output(f"Function of queue {queue.name}", ref(f"{start}Worker"))
    return values


def _output(description: str, value: Any) -> dict[str, Any]:
    return {"Description": description, "Value": value}
