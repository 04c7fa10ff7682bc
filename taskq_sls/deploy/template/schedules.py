"""EventBridge Scheduler: the group, the role that sends, the queue of failed sends, and the declared schedules."""

from __future__ import annotations

import json
from typing import Any

from ...core.schedule_spec import ScheduleSpec
from ...scheduler.firing import scheduled_time
from .emitter import Commented
from .intrinsics import arn_of, literal, queue_id, ref, schedule_id, sub
from .plan import SCHEDULES_DEAD_LETTERS, Plan
from .policies import allow, document, queue_arns, role, use_key
from .queues import encryption, retention

_GROUP = "\x00group\x00"


def scheduling_resources(plan: Plan) -> dict[str, Any]:
    """Resources of all schedules: those declared in code, those made at run time, and long delays."""
    return {
        "ScheduleGroup": {"Type": "AWS::Scheduler::ScheduleGroup", "Properties": {"Name": ref("Prefix")}},
        "ScheduleRole": role(
            "scheduler.amazonaws.com",
            Commented(
                "Nobody else's schedules can send with it.",
                {
                    "StringEquals": {
                        "aws:SourceAccount": ref("AWS::AccountId"),
                        "aws:SourceArn": sub(
                            "arn:${AWS::Partition}:scheduler:${AWS::Region}:${AWS::AccountId}:schedule-group/${Prefix}"
                        ),
                    }
                },
            ),
            {
                "PolicyName": "send",
                "PolicyDocument": document(
                    allow("Send", ["sqs:SendMessage"], [*queue_arns(plan), arn_of("FailedSchedules")]),
                    use_key(),
                ),
            },
        ),
        "FailedSchedules": Commented(
            "Firings that could not be sent. Always a standard queue: schedules have no other dead-letter queues.",
            {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": sub(f"${{Prefix}}-{SCHEDULES_DEAD_LETTERS}"),
                    **retention(),
                    **encryption(),
                    "RedriveAllowPolicy": {"redrivePermission": "denyAll"},
                },
            },
        ),
    }


def schedule_resources(spec: ScheduleSpec) -> dict[str, Any]:
    """A declared schedule."""
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": spec.window} if spec.window else {"Mode": "OFF"}
    return {
        schedule_id(spec.name): {
            "Type": "AWS::Scheduler::Schedule",
            "Properties": {
                "Name": spec.name,
                "GroupName": ref("ScheduleGroup"),
                "ScheduleExpression": spec.expression,
                "ScheduleExpressionTimezone": spec.timezone,
                **({} if spec.start is None else {"StartDate": scheduled_time(spec.start)}),
                **({} if spec.end is None else {"EndDate": scheduled_time(spec.end)}),
                "FlexibleTimeWindow": window,
                "State": "ENABLED" if spec.enabled else "DISABLED",
                "Target": _target(spec),
            },
        }
    }


def _target(spec: ScheduleSpec) -> dict[str, Any]:
    return {
        "Arn": arn_of(f"{queue_id(spec.queue)}Queue"),
        "RoleArn": arn_of("ScheduleRole"),
        "Input": sub(_body(spec)),
        "DeadLetterConfig": {"Arn": arn_of("FailedSchedules")},
        **({} if spec.group is None else {"SqsParameters": {"MessageGroupId": spec.group}}),
    }


def _body(spec: ScheduleSpec) -> str:
    """The message with the stack's own group, and without the trace of the rendering process."""
    message = json.loads(spec.body)
    message.pop("trace", None)
    message["schedule"]["group"] = _GROUP
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return literal(text).replace(json.dumps(_GROUP)[1:-1], "${ScheduleGroup}")
