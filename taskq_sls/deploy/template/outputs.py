"""The Outputs of a stack: the configuration of producers, and of workers outside of it."""

from __future__ import annotations

from typing import Any

from .intrinsics import arn_of, attribute, queue_id, ref
from .plan import Plan


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
