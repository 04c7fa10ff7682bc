"""Permissions of the roles: exact actions on exact resources."""

from __future__ import annotations

from typing import Any

from ...payloads.base import MESSAGES, RESULTS
from ...results.layout import INDEXES
from .emitter import Commented, Tag
from .intrinsics import NO_VALUE, arn_of, either, queue_id, ref, sub
from .plan import Plan

Statement = dict[str, Any]


def allow(sid: str, actions: list[str], resources: Any, condition: dict[str, Any] | None = None) -> Statement:
    """A statement that allows `actions` on `resources`."""
    more = {} if condition is None else {"Condition": condition}
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources, **more}


def document(*statements: Statement | Commented | Tag) -> dict[str, Any]:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def role(
    service: str, condition: dict[str, Any] | Commented | None = None, *policies: dict[str, Any]
) -> dict[str, Any]:
    """A role that an AWS service takes."""
    trust: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition is not None:
        trust["Condition"] = condition
    properties: dict[str, Any] = {"AssumeRolePolicyDocument": document(trust)}
    if policies:
        properties["Policies"] = list(policies)
    return {"Type": "AWS::IAM::Role", "Properties": properties}


def consume(queue: str) -> Statement:
    """Receive and settle the messages of a queue."""
    return allow(
        "Consume",
        [
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ChangeMessageVisibility",
        ],
        arn_of(f"{queue_id(queue)}Queue"),
    )


def bury(queue: str) -> Statement:
    """Send to the queue's dead-letter queue, and look up its URL."""
    return allow("Bury", ["sqs:SendMessage", "sqs:GetQueueUrl"], arn_of(f"{queue_id(queue)}DeadLetters"))


def write_logs(log_group: str) -> Statement:
    """Write to the streams of a log group; their ARN ends in ``:*``."""
    return allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], arn_of(log_group))


def run_tasks(plan: Plan) -> list[Statement | Commented | Tag]:
    """Permissions of a running task: store its state, enqueue others, schedule."""
    return [
        use_queues(plan),
        keep_state(),
        list_tasks(),
        allow("KeepPayloads", ["s3:GetObject", "s3:PutObject"], payload_arns(MESSAGES, RESULTS)),
        Commented(
            "Without it S3 answers 403 where there is no such object, and a lost payload looks like a lost permission.",
            allow("SeePayloads", ["s3:ListBucket"], arn_of("PayloadBucket")),
        ),
        allow(
            "Schedule",
            [
                "scheduler:CreateSchedule",
                "scheduler:DeleteSchedule",
                "scheduler:GetSchedule",
                "scheduler:UpdateSchedule",
            ],
            schedule_arns(),
        ),
        hand_over_schedule_role(),
        trace(),
        use_key(),
    ]


def send(plan: Plan) -> Statement:
    """Send to the app's queues."""
    return allow("Send", ["sqs:SendMessage"], queue_arns(plan))


def use_queues(plan: Plan) -> Statement:
    """Send to the app's queues and find them; in one statement, since a role holds 10,240 characters."""
    return allow("UseQueues", ["sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"], queue_arns(plan))


def keep_state() -> Statement:
    """Read and write records, locks and notes."""
    return allow(
        "KeepState",
        [
            "dynamodb:BatchGetItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        ],
        arn_of("TasksTable"),
    )


def list_tasks() -> Statement:
    """Look records up by status and by name."""
    return allow("ListTasks", ["dynamodb:Query"], [sub(f"${{TasksTable.Arn}}/index/{index.name}") for index in INDEXES])


def queue_arns(plan: Plan) -> list[Tag]:
    """ARNs of the app's queues."""
    return [arn_of(f"{queue_id(queue.name)}Queue") for queue in plan.queues]


def payload_arns(*prefixes: str) -> list[Tag]:
    """Objects of the bucket by the start of their key."""
    return [sub(f"${{PayloadBucket.Arn}}/{prefix}*") for prefix in prefixes]


def schedule_arns() -> Tag:
    """The schedules of the stack's group."""
    arn = "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule/${ScheduleGroup}/*"
    return sub(arn)


def hand_over_schedule_role() -> Statement:
    """Make schedules that send with the schedules' role."""
    return allow(
        "GiveSchedulesTheirRole",
        ["iam:PassRole"],
        arn_of("ScheduleRole"),
        {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}},
    )


def use_key() -> Tag:
    """Read and write data encrypted with the stack's key, if it has one.

    Part of a role's other policies: a function would be invoked before a policy of its own is attached, and
    CloudFormation takes no dependency on a resource that may not be there.
    """
    statement = allow("UseKey", ["kms:Decrypt", "kms:GenerateDataKey"], ref("KmsKeyArn"))
    return either("HasKey", statement, NO_VALUE)


def trace() -> Tag:
    """Send traces to X-Ray, while tracing is on; within other policies for the reason that `use_key` has."""
    statement = allow(
        "Trace",
        ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
        "*",
        {"StringEquals": {"aws:RequestedRegion": ref("AWS::Region")}},
    )
    note = "X-Ray knows no resources, so that these two actions cannot be allowed on less than *: only in this region."
    return either("IsTraced", Commented(note, statement), NO_VALUE)


def access_resources(plan: Plan) -> dict[str, Any]:
    """The rights of running tasks; nothing if no function runs any."""
    workers = [f"{queue_id(queue.name)}WorkerRole" for queue in plan.workers]
    if not workers:
        return {}
    return {
        "TaskPolicy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyName": "tasks",
                "PolicyDocument": document(*run_tasks(plan)),
                "Roles": [ref(role) for role in workers],
            },
        }
    }
