"""The function that makes tasks of EventBridge events, and the rules that send them."""

from __future__ import annotations

from typing import Any

from ...client.events import Route
from .emitter import Commented
from .intrinsics import arn_of, ref, route_id, sub
from .parameters import log_group
from .plan import Plan
from .policies import (
    allow,
    document,
    hand_over_schedule_role,
    payload_arns,
    role,
    schedule_arns,
    trace,
    use_key,
    use_queues,
    write_logs,
)
from .queues import build, retention

TIMEOUT = 30
"""Seconds: an event makes a handful of messages."""


def event_resources(plan: Plan) -> dict[str, Any]:
    """The function and its rules; empty if the app has no routes."""
    if not plan.routes:
        return {}
    rules = {route_id(name): route for name, route in _named(plan).items()}
    return {
        "EventsFunction": _function(plan),
        "EventsRole": role(
            "lambda.amazonaws.com",
            None,
            {"PolicyName": "events", "PolicyDocument": document(*_statements(plan))},
        ),
        "EventsLogs": log_group("eventbridge-events"),
        "FailedEvents": Commented(
            "Events that no try made a task of. Its name is CloudFormation's, so that it never is that of a queue of the "
            "app; its key is SQS's own, since EventBridge has no role here that could use another.",
            {
                "Type": "AWS::SQS::Queue",
                "Properties": {**retention(), "SqsManagedSseEnabled": True},
            },
        ),
        "FailedEventsPolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [ref("FailedEvents")],
                "PolicyDocument": document(
                    {
                        **allow(
                            "KeepEvents",
                            ["sqs:SendMessage"],
                            arn_of("FailedEvents"),
                            {"ArnEquals": {"aws:SourceArn": [arn_of(id) for id in rules]}},
                        ),
                        "Principal": {"Service": "events.amazonaws.com"},
                    }
                ),
            },
        },
        **{name: resource for id, route in rules.items() for name, resource in _rule(id, route).items()},
    }


def _function(plan: Plan) -> dict[str, Any]:
    return {
        "Type": "AWS::Serverless::Function",
        **build(plan),
        "Properties": {
            "Description": sub("Makes tasks of the EventBridge events that ${Prefix} takes"),
            "Handler": plan.options.event_handler,
            "Timeout": TIMEOUT,
            "Role": arn_of("EventsRole"),
            "LoggingConfig": {"LogGroup": ref("EventsLogs")},
            "EventInvokeConfig": {
                "MaximumRetryAttempts": Commented("Repeating an event is safe: its tasks get the same ids.", 2),
                "DestinationConfig": {"OnFailure": {"Type": "SQS", "Destination": arn_of("FailedEvents")}},
            },
        },
    }


def _statements(plan: Plan) -> list[Any]:
    return [
        write_logs("EventsLogs"),
        use_queues(plan),
        allow("KeepFailures", ["sqs:SendMessage"], arn_of("FailedEvents")),
        allow(
            "KeepState",
            ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            arn_of("TasksTable"),
        ),
        allow("KeepPayloads", ["s3:PutObject"], payload_arns("messages/")),
        allow("Delay", ["scheduler:CreateSchedule"], schedule_arns()),
        hand_over_schedule_role(),
        trace(),
        use_key(),
    ]


def _rule(id: str, route: Route) -> dict[str, Any]:
    return {
        id: {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Description": f"Events for task {route.task}"[:512],
                **({} if route.bus is None else {"EventBusName": route.bus}),
                "EventPattern": route.pattern(),
                "Targets": [
                    {
                        "Id": "events",
                        "Arn": arn_of("EventsFunction"),
                        "DeadLetterConfig": {"Arn": arn_of("FailedEvents")},
                    }
                ],
            },
        },
        f"{id}Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": ref("EventsFunction"),
                "Principal": "events.amazonaws.com",
                "SourceArn": arn_of(id),
            },
        },
    }


def _named(plan: Plan) -> dict[str, Route]:
    """Routes by a name that does not change when other routes are added."""
    named: dict[str, Route] = {}
    for route in plan.routes:
        name = route.task
        ordinal = 1
        while name in named:
            ordinal += 1
            name = f"{route.task}-{ordinal}"
        named[name] = route
    return named
