"""Parameters, the mappings of stages, conditions and outputs."""

from __future__ import annotations

from typing import Any

from ...core.queues import dead_letter_name
from .emitter import Commented, Tag
from .intrinsics import arn_of, attribute, queue_id, ref
from .plan import Plan

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
                "Description": "Start of all names; producers and workers outside of the stack set it as TASKQ_PREFIX",
            },
        ),
        "DeletionProtection": Commented(
            "Leave it off until the first deployment has succeeded: a rollback cannot delete a protected table, and the "
            "next deployment would fail because the name is taken.",
            _one_of("false", ("false", "true"), "true: DynamoDB refuses to delete the table"),
        ),
        "Runtime": _one_of(DEFAULT_RUNTIME, RUNTIMES, "Must be the one for which the code was built"),
        "Architecture": _one_of("arm64", ("arm64", "x86_64"), "Must be the one for which the code was built"),
        "MemorySize": Commented(
            "The share of a CPU grows with the memory: 1,769 MB have one vCPU.",
            _number(1024, 128, 10_240, "MB of the functions whose queue names no function_memory"),
        ),
        "MaximumConcurrency": Commented(
            "Keep the sum over all queues below the account's concurrency: a throttled batch costs each of its "
            "messages a receive, and can move valid messages into the dead-letter queue.",
            _number(50, 2, 1_000, "Invocations at once for a queue that names no max_concurrency"),
        ),
        "LogLevel": _one_of("INFO", ("DEBUG", "INFO", "WARN", "ERROR"), "Lowest level of the functions' logs"),
        "Tracing": _one_of("Active", ("Active", "PassThrough"), "X-Ray; PassThrough removes its permissions"),
        "OldestMessageAlarm": _number(
            900, 60, 1_209_600, "Seconds that a message may wait, retries included, before the alarm"
        ),
        "AlarmTopicArn": {
            "Type": "String",
            "Default": "",
            "Description": "SNS topic for the alarms; empty for none",
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


def _longest(plan: Plan) -> str:
    names = [dead_letter_name(queue.name) for queue in plan.queues]
    return max([*names, *plan.physical_names], key=len)


def _one_of(default: str, allowed: tuple[str, ...], description: str) -> dict[str, Any]:
    return {"Type": "String", "Default": default, "AllowedValues": list(allowed), "Description": description}


def _number(default: int, low: int, high: int, description: str) -> dict[str, Any]:
    return {"Type": "Number", "Default": default, "MinValue": low, "MaxValue": high, "Description": description}


def outputs(plan: Plan) -> dict[str, Any]:
    """The Outputs section."""
    values: dict[str, Any] = {
        "Prefix": _output("TASKQ_PREFIX", ref("Prefix")),
        "Table": _output("TASKQ_TABLE", ref("TasksTable")),
        "Bucket": _output("TASKQ_BUCKET", ref("PayloadBucket")),
        "ScheduleGroupName": _output("TASKQ_SCHEDULE_GROUP", ref("ScheduleGroup")),
        "ScheduleRoleArn": _output("TASKQ_SCHEDULE_ROLE_ARN", arn_of("ScheduleRole")),
        "FailedSchedulesUrl": _output("Scheduled runs that could not be sent", ref("FailedSchedules")),
    }
    if plan.options.api is not None:
        values["ApiUrl"] = _output("The HTTP API, for IAM users and roles", attribute("ApiFunctionUrl", "FunctionUrl"))
        values["ApiFunctionArn"] = _output(
            "Function that callers of the HTTP API need permission to invoke", arn_of("ApiFunction")
        )
    if plan.routes:
        values["FailedEventsUrl"] = _output("EventBridge events that could not be delivered", ref("FailedEvents"))
    for queue in plan.queues:
        start = queue_id(queue.name)
        values[f"{start}QueueUrl"] = _output(f"Queue {queue.name}", ref(f"{start}Queue"))
        values[f"{start}DeadLettersUrl"] = _output(f"Dead letters of queue {queue.name}", ref(f"{start}DeadLetters"))
        if queue.function_timeout is not None:
            values[f"{start}WorkerName"] = _output(f"Function of queue {queue.name}", ref(f"{start}Worker"))
    return values


def _output(description: str, value: Any) -> dict[str, Any]:
    return {"Description": description, "Value": value}
