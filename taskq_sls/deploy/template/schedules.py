"""EventBridge Scheduler: the group, the role that sends, the queue of failed sends, and the declared schedules."""

from __future__ import annotations

import json
from typing import Any

from ...core.schedule_spec import ScheduleSpec
from ...scheduler.firing import scheduled_time
from .emitter import Commented
from .intrinsics import arn_of, literal, queue_id, ref, regional_arn, resource, schedule_id, sub
from .plan import SCHEDULES_DEAD_LETTERS, Plan
from .policies import allow, document, queue_arns, role, use_key
from .queues import encryption, retention

_GROUP = "\x00group\x00"


def scheduling_resources(plan: Plan) -> dict[str, Any]:
    """Resources of all schedules: those declared in code, those made at run time, and long delays."""
    condition = {
        "aws:SourceAccount": ref("AWS::AccountId"),
        "aws:SourceArn": regional_arn("scheduler", "schedule-group/${Prefix}"),
    }
    own_group = Commented("Schedules of other groups cannot send with it.", {"StringEquals": condition})
    send = document(
        allow("Send", ["sqs:SendMessage"], [*queue_arns(plan), arn_of("FailedSchedules")]),
        use_key(),
    )
    failed = {
        "QueueName": sub(f"${{Prefix}}-{SCHEDULES_DEAD_LETTERS}"),
        **retention(),
        **encryption(),
        "RedriveAllowPolicy": {"redrivePermission": "denyAll"},
    }
    return {
        "ScheduleGroup": resource("AWS::Scheduler::ScheduleGroup", {"Name": ref("Prefix")}),
        "ScheduleRole": role("scheduler.amazonaws.com", own_group, {"PolicyName": "send", "PolicyDocument": send}),
        "FailedSchedules": Commented(
            "Scheduled runs that could not be sent. Always a standard queue, as EventBridge Scheduler requires.",
            resource("AWS::SQS::Queue", failed),
        ),
        **{schedule_id(spec.name): _schedule(spec) for spec in plan.schedules},
    }


def _schedule(spec: ScheduleSpec) -> dict[str, Any]:
    """A declared schedule."""
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": spec.window} if spec.window else {"Mode": "OFF"}
    target = {
        "Arn": arn_of(f"{queue_id(spec.queue)}Queue"),
        "RoleArn": arn_of("ScheduleRole"),
        "Input": sub(_body(spec)),
        "DeadLetterConfig": {"Arn": arn_of("FailedSchedules")},
        **({} if spec.group is None else {"SqsParameters": {"MessageGroupId": spec.group}}),
    }
    properties = {
        "Name": spec.name,
        "GroupName": ref("ScheduleGroup"),
        "ScheduleExpression": spec.expression,
        "ScheduleExpressionTimezone": spec.timezone,
        **({} if spec.start is None else {"StartDate": scheduled_time(spec.start)}),
        **({} if spec.end is None else {"EndDate": scheduled_time(spec.end)}),
        "FlexibleTimeWindow": window,
        "State": "ENABLED" if spec.enabled else "DISABLED",
        "Target": target,
    }
    return resource("AWS::Scheduler::Schedule", properties)


def _body(spec: ScheduleSpec) -> str:
    """The message with the stack's own group, and without the trace of the rendering process."""
    message = json.loads(spec.body)
    message.pop("trace", None)
    message["schedule"]["group"] = _GROUP
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return literal(text).replace(json.dumps(_GROUP)[1:-1], "${ScheduleGroup}")
