"""Permissions of the roles: exact actions on exact resources."""

from __future__ import annotations

from typing import Any

from ...payloads.base import MESSAGES, RESULTS
from ...results.layout import INDEXES
from .emitter import Commented, Tag
from .intrinsics import NO_VALUE, arn_of, either, queue_id, ref, regional_arn, resource, sub
from .plan import Plan

Statement = dict[str, Any]


def allow(sid: str, allowed: list[str], resources: Any, condition: dict[str, Any] | None = None) -> Statement:
    """A statement that allows actions on `resources`."""
    more = {} if condition is None else {"Condition": condition}
    return {"Sid": sid, "Effect": "Allow", "Action": allowed, "Resource": resources, **more}


def actions(service: str, *operations: str) -> list[str]:
    return [f"{service}:{operation}" for operation in operations]


def document(*statements: Statement | Commented | Tag) -> dict[str, Any]:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def role(
    service: str, condition: dict[str, Any] | Commented | None = None, *policies: dict[str, Any]
) -> dict[str, Any]:
    """A role that an AWS service assumes."""
    trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition is not None:
        trust["Condition"] = condition
    attached = {"Policies": list(policies)} if policies else {}
    return resource("AWS::IAM::Role", {"AssumeRolePolicyDocument": document(trust), **attached})


def consume(queue: str) -> Statement:
    """Receive and settle the messages of a queue."""
    operations = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
    return allow("Consume", actions("sqs", *operations), arn_of(f"{queue_id(queue)}Queue"))


def dead_letter(queue: str) -> Statement:
    """Send to the queue's dead-letter queue, and get its URL."""
    return allow("Bury", actions("sqs", "SendMessage", "GetQueueUrl"), arn_of(f"{queue_id(queue)}DeadLetters"))


def write_logs(log_group: str) -> Statement:
    """Write to the streams of a log group; their ARN ends in ``:*``."""
    return allow("Log", actions("logs", "CreateLogStream", "PutLogEvents"), arn_of(log_group))


def use_queues(plan: Plan) -> Statement:
    """Send to the app's queues and find them; in one statement, since a role holds 10,240 characters."""
    return allow("UseQueues", actions("sqs", "SendMessage", "GetQueueAttributes", "GetQueueUrl"), queue_arns(plan))


def keep_state() -> Statement:
    """Read and write records, locks and notes."""
    operations = ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem")
    return allow("KeepState", actions("dynamodb", *operations), arn_of("TasksTable"))


def list_tasks() -> Statement:
    """Find records by status and by name."""
    return allow("ListTasks", ["dynamodb:Query"], [sub(f"${{TasksTable.Arn}}/index/{index.name}") for index in INDEXES])


def keep_payloads() -> Statement:
    """Read and write large arguments and results."""
    return allow("KeepPayloads", actions("s3", "GetObject", "PutObject"), payload_arns(MESSAGES, RESULTS))


def see_payloads() -> Statement | Commented:
    return Commented(
        "Without it S3 answers 403 for a missing object, so a lost payload looks like a missing permission.",
        allow("SeePayloads", ["s3:ListBucket"], arn_of("PayloadBucket")),
    )


def use_schedules(*more: str) -> Statement:
    """Create, read, change and delete the stack's schedules."""
    operations = sorted(("CreateSchedule", "DeleteSchedule", "GetSchedule", "UpdateSchedule", *more))
    return allow("Schedule", actions("scheduler", *operations), schedule_arns())


def queue_arns(plan: Plan) -> list[Tag]:
    """ARNs of the app's queues."""
    return [arn_of(f"{queue_id(queue.name)}Queue") for queue in plan.queues]


def payload_arns(*prefixes: str) -> list[Tag]:
    """Objects of the bucket by the start of their key."""
    return [sub(f"${{PayloadBucket.Arn}}/{prefix}*") for prefix in prefixes]


def schedule_arns() -> Tag:
    """The schedules of the stack's group."""
    return regional_arn("scheduler", "schedule/${ScheduleGroup}/*")


def pass_schedule_role() -> Statement:
    """Make schedules that send with the schedules' role."""
    condition = {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
    return allow("GiveSchedulesTheirRole", ["iam:PassRole"], arn_of("ScheduleRole"), condition)


def use_key() -> Tag:
    """Read and write data encrypted with the stack's key, if it has one.

    Part of a role's other policies: a function would be invoked before a policy of its own is attached, and
    CloudFormation allows no dependency on a resource with a condition.
    """
    return either("HasKey", allow("UseKey", actions("kms", "Decrypt", "GenerateDataKey"), ref("KmsKeyArn")), NO_VALUE)


def in_this_region() -> dict[str, Any]:
    """A condition for actions that cannot be limited to resources."""
    return {"StringEquals": {"aws:RequestedRegion": ref("AWS::Region")}}


def trace() -> Tag:
    """Send traces to X-Ray, while tracing is on; within other policies for the same reason as `use_key`."""
    names = actions("xray", "PutTraceSegments", "PutTelemetryRecords")
    note = "X-Ray has no resources, so these two actions need *; the condition limits them to this region."
    return either("IsTraced", Commented(note, allow("Trace", names, "*", in_this_region())), NO_VALUE)


def task_policy(plan: Plan) -> dict[str, Any]:
    """The permissions of running tasks: store their state, enqueue others, schedule. Empty if no function runs any."""
    if not plan.workers:
        return {}
    statements = [use_queues(plan), keep_state(), list_tasks(), keep_payloads(), see_payloads(), use_schedules()]
    properties = {
        "PolicyName": "tasks",
        "PolicyDocument": document(*statements, pass_schedule_role(), trace(), use_key()),
        "Roles": [ref(f"{queue_id(queue.name)}WorkerRole") for queue in plan.workers],
    }
    return {"TaskPolicy": resource("AWS::IAM::Policy", properties)}
